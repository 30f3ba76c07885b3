"""A worker whose mailbox was taken over changes nothing when it wakes (invariant 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postroom import plugins
from postroom.admin import quarantine
from postroom.api import codes
from postroom.api.errors import AuthError, TransientError
from postroom.api.transport import CANNOT_TELL, Lookup, Outgoing, SendResult
from postroom.errors import LeaseLostError
from postroom.intake.intake import Retrieval
from postroom.leases import health
from postroom.leases.leases import Keeper, claim
from postroom.leases.owners import new_owner
from postroom.mailboxes import sides
from postroom.outbox import answers
from postroom.runner import visits
from postroom.runner.visits import visit_incoming, visit_outgoing
from postroom.store.database import now
from postroom.store.models import (
    Attempt,
    Mailbox,
    Message,
    Outbox,
    Question,
    Receipt,
    Side,
    Trouble,
)
from postroom_test_servers.desk import mail
from postroom_test_servers.shelf import Shelf, ShelfSender
from postroom_test_servers.shelves import look, shelf_mailbox

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A mailbox whose messages are to be marked; two were retrieved."""
    with shelf_mailbox(disposition="seen") as (shelf, _):
        shelf.put(mail("a"), mail("b"))
        assert not isinstance(visit("in"), BaseException)
        yield shelf


def visit(direction: str, **options: Any) -> object:
    """Visit a side as the runner does."""
    keeper = Keeper()
    try:
        [lease] = claim(new_owner(), direction, only_due=False)
        work = visit_incoming if direction == "in" else visit_outgoing
        return work(lease, plugins.load(), keeper, **options)
    finally:
        keeper.close()


def take_over(*_: object) -> None:
    """Do what another runner does to a lease that ended."""
    Side.update(generation=Side.generation + 1, lease_owner="another").execute()


def settled() -> int:
    """Return how many receipts are settled."""
    return Receipt.select().where(Receipt.settled_at.is_null(False)).count()


def test_it_stores_nothing_and_keeps_no_cursor(shelf: Shelf) -> None:
    cursor = Mailbox.get().cursor
    shelf.put(mail("c"))
    shelf.on_fetch = take_over

    assert isinstance(visit("in"), LeaseLostError)

    assert Receipt.select().count() == Message.select().count() == 2
    assert (Mailbox.get().cursor, shelf.settled) == (cursor, ["shelf;1", "shelf;2"])


def test_it_closes_no_receipt(shelf: Shelf) -> None:
    sides.forget_cursor(Mailbox.get())
    del shelf.items["shelf;1"]
    shelf.put(mail("c"))

    def committed(done: int, _more: int) -> None:
        if done:
            take_over()

    assert isinstance(visit("in", progress=committed), LeaseLostError)

    assert not Receipt.select().where(Receipt.gone_at.is_null(False)).exists()


def test_it_notes_nothing_as_settled(shelf: Shelf) -> None:
    shelf.put(mail("c"))
    shelf.on_settle = take_over

    assert isinstance(visit("in"), LeaseLostError)

    assert (settled(), len(shelf.settled)) == (2, 3)


@pytest.fixture
def row(shelf: Shelf) -> Outbox:
    """An answer on its way."""
    answers.answer(Question.get(), "Five.", author="Eve")
    found: Outbox = Outbox.get()
    return found


def test_it_sends_nothing(shelf: Shelf, row: Outbox) -> None:
    keeper = Keeper()
    [lease] = claim(new_owner(), "out", only_due=False)
    take_over()

    assert isinstance(visit_outgoing(lease, plugins.load(), keeper), LeaseLostError)

    keeper.close()
    assert (Outbox.get_by_id(row.id).state, shelf.sent) == ("queued", [])


def test_it_keeps_no_draft(shelf: Shelf, row: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_: object) -> str:
        take_over()
        return "draft 1"

    monkeypatch.setattr(ShelfSender, "prepare", prepare)

    assert isinstance(visit("out"), LeaseLostError)

    assert Outbox.get_by_id(row.id).handle is None


def test_a_command_that_lost_the_mailbox_releases_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Retrieval.prepare

    def fail(self: Retrieval, fetched: Any, _: object) -> Any:
        return prepare(self, fetched, ValueError("a bug of the reader"))

    def prepare_slowly(self: Retrieval, *arguments: Any) -> Any:
        take_over()
        return prepare(self, *arguments)

    shelf.put(mail("c"))
    monkeypatch.setattr(Retrieval, "prepare", fail)
    visit("in")
    monkeypatch.setattr(Retrieval, "prepare", prepare_slowly)
    [entry] = quarantine.entries()

    with pytest.raises(LeaseLostError):
        quarantine.release(entry["id"], plugins.load())

    assert [one["id"] for one in quarantine.entries()] == [entry["id"]]


def test_it_does_not_give_up_what_another_is_sending(shelf: Shelf, row: Outbox) -> None:
    """That it found it half sent means nothing: whoever sends it is alive."""
    keeper = Keeper()
    [lease] = claim(new_owner(), "out", only_due=False)
    take_over()
    Outbox.update(state="sending", generation=lease.generation + 1).execute()

    assert isinstance(visit_outgoing(lease, plugins.load(), keeper), LeaseLostError)

    keeper.close()
    assert Outbox.get_by_id(row.id).state == "sending"


def test_it_does_not_say_when_to_look_again(shelf: Shelf, row: Outbox) -> None:
    Outbox.update(state="unknown").execute()

    def find(_: str) -> Lookup:
        take_over()
        return CANNOT_TELL

    shelf.on_find = find

    assert isinstance(visit("out"), LeaseLostError)

    assert Outbox.get_by_id(row.id).next_try_at is None


def test_it_changes_no_state_but_what_it_did_is_known(shelf: Shelf, row: Outbox) -> None:
    """It is evidence: what was unknown to whoever took over was sent."""

    def send(outgoing: Outgoing) -> SendResult:
        take_over()
        Outbox.update(state="unknown", generation=Outbox.generation + 1).execute()
        return SendResult(accepted=outgoing.recipients, reply="250 taken")

    shelf.on_send = send

    visit("out")

    assert Outbox.get_by_id(row.id).state == "sent"
    assert "accepted" in [attempt.outcome for attempt in Attempt.select()]


def test_it_does_not_fail_what_another_queued_again(shelf: Shelf, row: Outbox) -> None:
    def send(outgoing: Outgoing) -> SendResult:
        take_over()
        Outbox.update(state="queued", generation=Outbox.generation + 1).execute()
        raise RuntimeError("a bug")

    shelf.on_send = send

    visit("out")

    assert Outbox.get_by_id(row.id).state == "queued"


def test_what_it_did_takes_no_decision_back_that_a_person_made_since(
    shelf: Shelf, row: Outbox
) -> None:
    def send(outgoing: Outgoing) -> SendResult:
        take_over()
        Outbox.update(state="held").execute()
        return SendResult(accepted=outgoing.recipients, reply="250 taken")

    shelf.on_send = send

    visit("out")

    assert Outbox.get_by_id(row.id).state == "held"
    assert "accepted" in [attempt.outcome for attempt in Attempt.select()]


@pytest.mark.parametrize(
    ("state", "after"), [("sending", "queued"), ("unknown", "unknown"), ("held", "held")]
)
def test_what_it_surely_did_not_send_is_queued_unless_it_is_another_s_by_now(
    shelf: Shelf, row: Outbox, state: str, after: str
) -> None:
    def send(outgoing: Outgoing) -> SendResult:
        take_over()
        Outbox.update(state=state).execute()
        raise AuthError(codes.AUTH_REFUSED, "The password is wrong.")

    shelf.on_send = send

    visit("out")

    assert Outbox.get_by_id(row.id).state == after
    assert "not-sent" in [attempt.outcome for attempt in Attempt.select()]


def test_it_records_no_failure(shelf: Shelf) -> None:
    """What failed, perhaps with settings that were changed since, is for the new holder to see."""

    def break_off(*_: object) -> None:
        take_over()
        raise TransientError(codes.CONNECTION_LOST, "The connection broke.")

    shelf.put(mail("c"))
    shelf.on_fetch = break_off
    before = Side.get(Side.direction == "in")

    visit("in")

    after = Side.get(Side.direction == "in")
    assert (after.failures, after.next_try_at) == (0, before.next_try_at)
    assert not Trouble.select().exists()


def test_it_records_no_success(shelf: Shelf, row: Outbox) -> None:
    def send(outgoing: Outgoing) -> SendResult:
        take_over()
        Side.update(failures=2).execute()
        return SendResult(accepted=outgoing.recipients, reply="250 taken")

    shelf.on_send = send

    assert visit("out") == 1

    assert Side.get(Side.direction == "out").failures == 2


def test_it_puts_off_nothing_after_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise LookupError

    monkeypatch.setattr(health, "note_success", fail)
    monkeypatch.setattr(visits, "_release", take_over)
    with shelf_mailbox() as (shelf, runner):
        look(runner)

        assert shelf.visits == 1
        assert Side.get(Side.direction == "in").next_try_at <= now()
