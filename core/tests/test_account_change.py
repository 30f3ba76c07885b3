"""A mailbox that is pointed to another account: equal refs there are other messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from postroom.api.transport import Fetched, Listed, Spool
from postroom.errors import DiskFullError
from postroom.intake import recognition
from postroom.intake.records import ReceiptRow, insert_receipts
from postroom.intake.understanding.understood import IN_PLACE
from postroom.mailboxes import mailboxes, sides
from postroom.store.database import now, transaction
from postroom.store.models import Mailbox, Receipt

pytestmark = pytest.mark.usefixtures("store", "pigeons")

SETTINGS = {"host": "one.example", "username": "info", "password": "secret"}


@pytest.fixture
def mailbox(store: Any, pigeons: Any) -> Mailbox:
    mailbox = mailboxes.add("info@example.org", start="all")
    sides.save(mailbox, "in", "pigeon", SETTINGS)
    with transaction():
        row = ReceiptRow("uidl-1", "uidl-1", "ignored", 100, None, reason="test")
        insert_receipts(mailbox.id, [row], now())
    return mailbox


def _live() -> int:
    return int(Receipt.select().where(Receipt.gone_at.is_null()).count())


@pytest.mark.parametrize("change", [{"host": "two.example"}, {"username": "other"}], ids=str)
def test_another_account_closes_the_receipts_of_the_old_one(
    mailbox: Mailbox, change: dict[str, str]
) -> None:
    sides.save(mailbox, "in", "pigeon", SETTINGS | change)

    assert _live() == 0


@pytest.mark.parametrize("change", [{"password": "new"}, {"port": 11}], ids=["password", "port"])
def test_the_same_account_keeps_them(mailbox: Mailbox, change: dict[str, Any]) -> None:
    sides.save(mailbox, "in", "pigeon", SETTINGS | change)

    assert _live() == 1


class _Other:
    def __init__(self, raw: Spool) -> None:
        self._raw = raw

    def fetch(self, cursor: None, *, limits: Any, wanted: Any) -> Iterator[Fetched]:
        wanted([Listed("1")])
        yield Fetched("1", self._raw)


def test_a_file_without_a_byte_is_looked_at_as_any_other_message(mailbox: Mailbox) -> None:
    receiver: Any = _Other(Spool())

    found = recognition.survey(receiver, mailbox, IN_PLACE)

    assert found is not None
    assert [one.listed.ref for one in found.seen] == ["1"]


def test_a_temporary_folder_that_loses_bytes_ends_looking(mailbox: Mailbox) -> None:
    spool = Spool()
    spool.write(b"Subject: x\r\n\r\nx")
    os.ftruncate(spool.fileno(), 3)
    receiver: Any = _Other(spool)

    with pytest.raises(DiskFullError, match="does not give a large message back"):
        recognition.survey(receiver, mailbox, IN_PLACE)
