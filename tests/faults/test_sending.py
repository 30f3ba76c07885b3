"""What may have been sent is never sent again by itself, what was not is tried until its time is
up, and loops end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom import clock
from postroom.api import OutcomeUnknown, SendResult, TransientError, codes
from postroom.api.transport import Outgoing
from postroom.leases.leases import claim
from postroom.leases.owners import new_owner
from postroom.outbox import answers
from postroom.outbox.outbox import Dispatch
from postroom.plugins import load
from postroom.questions import questions
from postroom.store.models import Attempt, Outbox, Question, Side
from postroom_test_servers.desk import mail
from postroom_test_servers.points import say
from postroom_test_servers.shelf import Shelf
from postroom_test_servers.shelves import look, shelf_mailbox, visit

BUSY = TransientError(codes.SERVER_BUSY, "450 4.2.0 greylisted")
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Clock:
    """Goes when it is told."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def go(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def times() -> Iterator[Clock]:
    told = Clock()
    clock.replace(lambda: told.time)
    yield told
    clock.replace(None)


def _answer(text: str = "Hello") -> Outbox:
    found: Any = answers.answer(questions.find(Question.get().id), text, author="eve")
    row: Outbox = Outbox.get(Outbox.message == found.id)
    return row


@only_sqlite
def test_what_is_put_off_for_ever_has_an_end(store: str, times: Clock) -> None:
    with shelf_mailbox() as (shelf, runner):
        shelf.put(mail("q"))
        visit(runner)
        row = _answer()
        tries: list[datetime] = []

        def put_off(outgoing: Outgoing) -> SendResult:
            tries.append(times.time)
            raise BUSY

        shelf.on_send = put_off
        for _ in range(7 * 24 * 3):
            times.go(1200)
            look(runner)

    pauses = [(b - a).total_seconds() for a, b in itertools.pairwise(tries)]
    assert Outbox.get_by_id(row.id).state == "failed"
    assert timedelta(days=4) < tries[-1] - tries[0] < timedelta(days=6)
    assert pauses[0] <= 1200 and max(pauses) < 6 * 3600 and len(tries) < 60
    assert shelf.sent == []
    say(f"greylisted for ever: {len(tries)} tries in five days, then failed")


@pytest.mark.parametrize("accepted", [True, False])
def test_a_sender_that_lost_its_lease_leaves_evidence_and_no_state(
    store: str, accepted: bool
) -> None:
    with shelf_mailbox() as (shelf, runner):
        shelf.put(mail("q"))
        visit(runner)
        row = _answer()
        side = Side.get(Side.direction == "out")

        def slow(outgoing: Outgoing) -> SendResult:
            # While it sends, its lease ends, and another runner finds the message `sending`.
            Side.update(leased_until=0).where(Side.id == side.id).execute()
            [other] = claim(new_owner(), "out", sides=[side.id], only_due=False)
            Dispatch(other, load()).run()
            assert Outbox.get_by_id(row.id).state == "unknown"
            if not accepted:
                raise BUSY
            return SendResult(accepted=outgoing.recipients, reply="250 taken")

        shelf.on_send = slow
        look(runner)

        assert Outbox.get_by_id(row.id).state == ("sent" if accepted else "unknown")
        assert len(shelf.sent) == accepted
        assert Attempt.select().where(Attempt.outbox == row.id).count() >= 3


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_to_a_send_nothing_is_sent_twice(store: str, seed: int) -> None:
    chance = random.Random(seed)
    taken: list[tuple[str, str]] = []
    told: list[tuple[str, str]] = []
    with shelf_mailbox() as (shelf, runner):
        shelf.put(mail("q", "Cc: b@customer.example, c@customer.example"))
        visit(runner)
        for number in range(5):
            answers.answer(questions.find(1), f"A{number}", author="eve", reply_all=True)

        def send(outgoing: Outgoing) -> SendResult:
            some = tuple(r for r in outgoing.recipients if chance.random() < 0.5)
            rest = tuple(r for r in outgoing.recipients if r not in some)
            match chance.randrange(4):
                case 0:
                    raise BUSY
                case 1:  # the server took it, and nobody hears of it
                    taken.extend((outgoing.message_id, r) for r in some)
                    raise OutcomeUnknown("cut after the dot")
                case 2:
                    taken.extend((outgoing.message_id, r) for r in some)
                    raise ValueError("a bug after the dot")
            taken.extend((outgoing.message_id, r) for r in some)
            told.extend((outgoing.message_id, r) for r in some)
            return SendResult(accepted=some, deferred=_deferred(rest), reply="250 taken")

        shelf.on_send = send
        for _ in range(200):
            if not Outbox.update(next_try_at=None).where(Outbox.state == "queued").execute():
                break
            visit(runner)

    assert len(set(taken)) == len(taken), "sent twice"
    assert {row.state for row in Outbox.select()} <= {"sent", "unknown"}
    for row in Outbox.select():
        if row.state == "sent":
            wanted = {(row.internet_id, r["address"]) for r in row.recipients}
            assert wanted <= set(told)


def _deferred(addresses: tuple[str, ...]) -> Any:
    from postroom.api.transport import RecipientProblem

    return tuple(RecipientProblem(address, "SERVER-BUSY", "450 later") for address in addresses)


# ---------------------------------------------------------------------- loops

Partner = Callable[[Outgoing, int], bytes | None]


def _with_marks(outgoing: Outgoing, number: int) -> bytes:
    """A vacation program, as RFC 3834 wants it."""
    return mail(
        f"v{number}",
        "Auto-Submitted: auto-replied",
        f"In-Reply-To: <{outgoing.message_id}>",
        sender="Ann <ann@customer.example>",
        subject="Out of office",
    )


def _without_marks(outgoing: Outgoing, number: int) -> bytes:
    """A machine that says of itself nothing at all, and starts a new conversation each time."""
    return mail(f"p{number}", sender="Ann <ann@customer.example>", subject="Thanks for your mail")


def _to_itself(outgoing: Outgoing, number: int) -> bytes:
    """A forward that brings our own mail back."""
    return b"Received: from a by b; Tue, 03 Mar 2026 09:15:00 +0100\r\n" + outgoing.raw


def _bounce(outgoing: Outgoing, number: int) -> bytes:
    return mail(
        f"b{number}", "Auto-Submitted: auto-replied", "Return-Path: <>",
        sender="MAILER-DAEMON@customer.example", subject="Undelivered Mail Returned to Sender",
        text=f"failed\n\nMessage-ID: <{outgoing.message_id}>",
    )  # fmt: skip


@only_sqlite
@pytest.mark.parametrize(
    ("partner", "most"),
    [(_with_marks, 1), (_to_itself, 1), (_bounce, 1), (_without_marks, 5)],
    ids=["vacation", "forward to itself", "bounce of bounce", "no marks"],
)
def test_a_loop_ends(store: str, times: Clock, partner: Partner, most: int) -> None:
    created = times.time - timedelta(minutes=1)
    with shelf_mailbox(acknowledge=True, created_at=created) as (shelf, runner):
        shelf.put(mail("start", sender="Ann <ann@customer.example>"), received_at=times.time)
        answered = 0

        for _ in range(24):
            times.go(3600)
            visit(runner)
            for outgoing in shelf.sent[answered:]:
                answered += 1
                raw = partner(outgoing, answered)
                if raw is not None:
                    _put(shelf, raw, times)
            visit(runner)

    assert 1 <= len(shelf.sent) <= most
    say(f"{partner.__name__.strip('_')}: {len(shelf.sent)} automatic answers in 24 hours")


def _put(shelf: Shelf, raw: bytes, times: Clock) -> None:
    shelf.put(raw, received_at=times.time)
