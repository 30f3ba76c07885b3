"""What the ledger wants to be downloaded, and what waits for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom import plugins
from postroom.admin import quarantine
from postroom.api.transport import Listed
from postroom.intake.listing import Listing
from postroom.intake.records import ReceiptRow, insert_receipts
from postroom.mailboxes import mailboxes, sides
from postroom.mailboxes.ledger import BEFORE_START, awaits_first_retrieval
from postroom.store import raws
from postroom.store.database import now, transaction
from postroom.store.models import Mailbox, Question, Receipt, Side

pytestmark = pytest.mark.usefixtures("store", "pigeons")

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
MAIL = b"From: ann@customer.example\r\nSubject: Brake\r\n\r\nIt squeals.\r\n"


@pytest.fixture
def mailbox(store: Any, pigeons: Any) -> Mailbox:
    mailbox = mailboxes.add("info@example.org", start="2026-04-01")
    settings = {"host": "127.0.0.1", "username": "info", "password": "secret"}
    sides.save(mailbox, "in", "pigeon", settings)
    return Mailbox.get_by_id(mailbox.id)


def _insert(mailbox: Mailbox, **values: Any) -> None:
    with transaction():
        row = ReceiptRow(**{"ref": "a", "ref_key": "a", "listed_size": 10} | values)
        insert_receipts(mailbox.id, [row], now())


def _wants(mailbox: Mailbox, item: Listed) -> bool:
    return item.ref in Listing(mailbox).wanted([item])


def test_what_has_a_receipt_is_not_wanted_again(mailbox: Mailbox) -> None:
    _insert(mailbox, outcome="stored", received_at=MARCH)

    assert not _wants(mailbox, Listed("a", MARCH, 10))


@pytest.mark.parametrize(
    "item", [Listed("a", MARCH, 11), Listed("a", MARCH + timedelta(days=60), 10)], ids=str
)
def test_the_same_ref_with_another_size_or_date_is_another_message(
    mailbox: Mailbox, item: Listed
) -> None:
    mailbox.start_at = None
    _insert(mailbox, outcome="stored", received_at=MARCH)

    assert _wants(mailbox, item)


def test_old_mail_is_wanted_once_the_start_is_moved_back(mailbox: Mailbox) -> None:
    _insert(mailbox, outcome="ignored", reason=BEFORE_START, received_at=MARCH)
    assert not _wants(mailbox, Listed("a", MARCH, 10))

    mailbox.start_at = MARCH - timedelta(days=1)

    assert _wants(mailbox, Listed("a", MARCH, 10))


def test_old_mail_without_a_date_stays_old_until_everything_is_wanted(mailbox: Mailbox) -> None:
    _insert(mailbox, outcome="ignored", reason=BEFORE_START, received_at=None)
    mailbox.baseline_at = mailbox.start_at = MARCH
    assert not _wants(mailbox, Listed("a", None, 10))

    mailbox.start_at = None

    assert _wants(mailbox, Listed("a", None, 10))


def test_what_a_filter_ignored_stays_ignored(mailbox: Mailbox) -> None:
    mailbox.start_at = None
    _insert(mailbox, outcome="ignored", reason="newsletter", received_at=MARCH)

    assert not _wants(mailbox, Listed("a", MARCH, 10))


def test_a_quarantined_message_waits_also_when_it_was_moved_away(mailbox: Mailbox) -> None:
    with transaction():
        raw_id = raws.save(MAIL)
    _insert(mailbox, outcome="quarantined", received_at=MARCH + timedelta(days=60), raw_id=raw_id)
    Receipt.update(gone_at=now(), settled_at=now()).execute()

    (entry,) = quarantine.entries()
    quarantine.release(entry["id"], plugins.load())

    assert [question.subject for question in Question.select()] == ["Brake"]
    assert list(quarantine.entries()) == []
    assert Receipt.select().where(Receipt.gone_at.is_null()).count() == 0


def test_a_new_mailbox_awaits_its_first_retrieval(mailbox: Mailbox) -> None:
    assert awaits_first_retrieval()


@pytest.mark.parametrize(
    ("of", "values"),
    [(Mailbox, {"baseline_at": MARCH}), (Mailbox, {"enabled": False}), (Side, {"failures": 1})],
    ids=["retrieved before", "disabled", "tried in vain"],
)
def test_nothing_is_expected_of_any_other(
    mailbox: Mailbox, of: type[Mailbox] | type[Side], values: dict[str, Any]
) -> None:
    of.update(**values).execute()

    assert not awaits_first_retrieval()
