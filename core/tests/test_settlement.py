"""When it is noted what the server confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

import pytest
from postroom.api.transport import Disposition, Receiver, Settled
from postroom.intake import settlement
from postroom.intake.records import ReceiptRow, insert_receipts
from postroom.leases.leases import NoLease
from postroom.mailboxes import mailboxes
from postroom.store.database import now, transaction
from postroom.store.models import Mailbox, Receipt

pytestmark = pytest.mark.usefixtures("store")

MESSAGES = 60


class Snail(Receiver):
    """Marks a message each second of the clock it has."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting: list[int] = []
        """How many confirmations were not in the database yet, each time."""

    def settle(self, refs: Sequence[str], disposition: Disposition) -> Iterator[Settled]:
        for done, ref in enumerate(refs):
            noted = Receipt.select().where(Receipt.settled_at.is_null(False)).count()
            self.waiting.append(done - noted)
            self.now += 1
            yield Settled(ref)

    def fetch(self, cursor: Any, *, limits: Any, wanted: Any) -> Any:
        raise NotImplementedError

    def list_refs(self) -> Any:
        raise NotImplementedError

    def check(self) -> Any:
        raise NotImplementedError

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


def mailbox_with_receipts(disposition: str) -> Mailbox:
    """Return one with `MESSAGES` messages to settle."""
    mailbox: Mailbox = Mailbox.get_by_id(
        mailboxes.add("info@example.org", disposition=disposition).id
    )
    with transaction():
        receipts = [
            ReceiptRow(f"{i}", f"{i}", "ignored", 10, None, reason="test") for i in range(MESSAGES)
        ]
        insert_receipts(mailbox.id, receipts, now())
    Receipt.update(settle=True, settled_at=None).execute()
    return mailbox


class Sloth(Snail):
    """Removes every other message; the others it marks, and lists them on."""

    def settle(self, refs: Sequence[str], disposition: Disposition) -> Iterator[Settled]:
        for ref in refs:
            yield Settled(ref, ref if int(ref) % 2 else None)


def test_what_is_settled_and_still_listed_keeps_its_receipt() -> None:
    mailbox = mailbox_with_receipts("delete")

    visit = settlement.Settlement(mailbox, NoLease(mailbox.id), Event())
    visit.run(Sloth())

    assert visit.settled == Receipt.select().where(Receipt.settled_at.is_null(False)).count()
    assert Receipt.select().count() == MESSAGES
    assert not Receipt.select().where(Receipt.settle).exists()
    live = Receipt.select().where(Receipt.gone_at.is_null())
    assert sorted(int(one.ref) for one in live) == list(range(1, MESSAGES, 2))


def test_what_a_slow_server_confirmed_is_noted_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A runner that is killed in the middle does not mark and move everything again."""
    mailbox = mailbox_with_receipts("seen")
    snail = Snail()
    monkeypatch.setattr(settlement, "monotonic", lambda: snail.now)

    visit = settlement.Settlement(mailbox, NoLease(mailbox.id), Event())
    visit.run(snail)

    assert max(snail.waiting) <= settlement.CONFIRM_SECONDS
    assert visit.settled == MESSAGES
    assert not Receipt.select().where(Receipt.settle).exists()
