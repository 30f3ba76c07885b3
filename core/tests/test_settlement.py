"""When it is noted what the server confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

import pytest
from postroom import plugins
from postroom.api import TransientError, codes
from postroom.api.transport import Capability, Disposition, Receiver, Settled, Unsettled
from postroom.intake import settlement
from postroom.intake.records import ReceiptRow, insert_receipts
from postroom.leases import health
from postroom.leases.leases import NoLease
from postroom.mailboxes import mailboxes, sides
from postroom.store.database import now, transaction
from postroom.store.models import Mailbox, Receipt, Trouble
from postroom_test_servers.pigeon import FakePlugins, Homing

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


# ---------------------------------------------------------------- refused


class Mule(Snail):
    """Refuses what it is told to; notes what it was asked for."""

    def __init__(self, refuses: Sequence[str] = (), **more: Any) -> None:
        super().__init__()
        self.refuses, self.asked = set(refuses), [""]
        self.error = TransientError(codes.DISPOSITION_REFUSED, "The mule will not.", **more)

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        self.asked = sorted(refs, key=int)
        for ref in refs:
            yield Unsettled(ref, self.error) if ref in self.refuses else Settled(ref)


class Marking(Homing):
    """A transport that can mark messages."""

    capabilities = Capability.SEEN


ALL = [f"{i}" for i in range(MESSAGES)]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    plugins.use(FakePlugins([Marking()]))
    mailbox = mailbox_with_receipts("seen")
    sides.save(mailbox, "in", "homing", {"host": "loft"})  # another account closes receipts
    Receipt.update(gone_at=None, settle=True).execute()
    yield mailbox
    plugins.use(None)


def visit(mailbox: Mailbox, mule: Mule, *, only_due: bool = True) -> settlement.Settlement:
    """Settle as `run` does, or, without `only_due`, as `run --once` does."""
    mule.asked = []
    side = sides.incoming(mailbox)
    lease = NoLease(mailbox.id, side.id)
    settling = settlement.Settlement(mailbox, lease, Event(), only_due=only_due)
    settling.run(mule)
    return settling


def pass_time() -> None:
    Receipt.update(next_try_at=0).where(Receipt.next_try_at.is_null(False)).execute()


def test_what_the_server_keeps_refusing_is_one_trouble_until_it_works(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mule = Mule(ALL)

    assert visit(mailbox, mule).unsettled == MESSAGES
    pass_time()
    visit(mailbox, mule)

    [trouble] = mailboxes.errors(mailbox)
    assert (trouble["code"], trouble["sentence"]) == ("DISPOSITION-REFUSED", "The mule will not.")
    assert trouble["next_step"] == codes.DISPOSITION_REFUSED.next_step
    assert trouble["count"] == 2
    assert trouble["first_seen_at"] <= trouble["last_seen_at"] < trouble["next_try_at"]
    assert health.state_of(sides.incoming(mailbox)) == "failing"
    mule.refuses.clear()
    pass_time()

    assert visit(mailbox, mule).settled == MESSAGES

    assert [one["cleared_at"] is None for one in mailboxes.errors(mailbox)] == [False]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"info@example.org (in): The mule will not. {codes.DISPOSITION_REFUSED.next_step} "
        "[DISPOSITION-REFUSED]",
        "info@example.org (in): messages are marked, moved or deleted again.",
    ]


def test_what_was_refused_waits_and_the_rest_does_not(mailbox: Mailbox) -> None:
    Receipt.update(settle=False).where(Receipt.ref == "7").execute()
    mule = Mule(["3"])
    visit(mailbox, mule)
    Receipt.update(settle=True).where(Receipt.ref == "7").execute()

    visit(mailbox, mule)

    assert mule.asked == ["7"]
    [trouble] = mailboxes.errors(mailbox)
    assert (trouble["count"], trouble["cleared_at"]) == (1, None)


def test_run_once_does_not_wait(mailbox: Mailbox) -> None:
    mule = Mule(["3"])
    visit(mailbox, mule)

    visit(mailbox, mule, only_due=False)

    assert mule.asked == ["3"]


def test_pause_grows(mailbox: Mailbox) -> None:
    mule, pauses = Mule(ALL), []
    for _ in range(12):
        visit(mailbox, mule)
        pauses.append(Receipt.get().next_try_at - now())
        pass_time()

    shortest, longest = health.TRANSIENT_PAUSES
    assert shortest * 0.7 < pauses[0] < shortest * 1.3
    assert longest * 0.7 < pauses[-1] < longest * 1.3


def test_another_disposition_is_tried_at_once(mailbox: Mailbox) -> None:
    mule = Mule(ALL)
    visit(mailbox, mule)

    mailboxes.put(mailbox.address, {"disposition": "leave"})
    visit(Mailbox.get_by_id(mailbox.id), mule)

    assert mule.asked == ALL


def test_trouble_that_lasts_needs_a_person(mailbox: Mailbox) -> None:
    """Also where the side itself was down and up again since."""
    visit(mailbox, Mule(ALL))
    Trouble.update(first_seen_at=now() - health.ATTENTION_AFTER).execute()
    side = sides.incoming(mailbox)
    health.note_failure(side, TransientError(codes.TIMEOUT, "Too late."))
    health.note_success(side)

    assert health.state_of(sides.incoming(mailbox)) == "attention"
    assert [one["code"] for one in mailboxes.errors(mailbox) if one["cleared_at"] is None] == [
        "DISPOSITION-REFUSED"
    ]


def test_server_that_names_a_time_is_left_alone(mailbox: Mailbox) -> None:
    mule = Mule(["3"], retry_after=60)

    with pytest.raises(TransientError) as caught:
        visit(mailbox, mule)

    assert caught.value is mule.error
    assert Receipt.select().where(Receipt.settle).count() == 1
