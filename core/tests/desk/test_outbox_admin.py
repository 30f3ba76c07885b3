"""What a person may do with outgoing mail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from postroom.admin import outbox_admin
from postroom.admin.overdue import overdue
from postroom.admin.status import status
from postroom.errors import InputError, NotFoundError
from postroom.outbox import answers
from postroom.runner.outcome import Outcome
from postroom.store.database import now
from postroom.store.models import Attempt, Mailbox, Outbox, Side

Desk = Any
ACTIONS: dict[str, tuple[Callable[..., None], set[str], str]] = {
    "retry": (outbox_admin.retry, {"queued", "failed", "held"}, "queued"),
    "hold": (outbox_admin.hold, {"queued"}, "held"),
    "cancel": (outbox_admin.cancel, {"queued", "held", "failed"}, "cancelled"),
    "mark-sent": (outbox_admin.mark_sent, {"unknown"}, "sent"),
}


@pytest.fixture
def queued(desk: Desk) -> Outbox:
    """An answer to two recipients, on its way."""
    question = desk.receive(more="Cc: bob@customer.example").question
    message = answers.answer(question, "Five.", author="Eve", reply_all=True)
    row: Outbox = Outbox.get(Outbox.message == message.id)
    return row


def put(row: Outbox, **values: Any) -> None:
    Outbox.update(values).where(Outbox.id == row.id).execute()


def state_of(row: Outbox) -> str:
    return str(Outbox.get_by_id(row.id).state)


@pytest.mark.parametrize("action", ACTIONS)
def test_action_takes_only_the_states_it_is_for(queued: Outbox, action: str) -> None:
    act, allowed, after = ACTIONS[action]
    for state in outbox_admin.STATES:
        put(queued, state=state)
        if state in allowed:
            act(queued.id, author="Eve")
            assert state_of(queued) == after
        else:
            with pytest.raises(InputError):
                act(queued.id, author="Eve")
            assert state_of(queued) == state


def test_unknown_is_only_sent_again_at_ones_own_risk(queued: Outbox) -> None:
    put(queued, state="unknown")

    with pytest.raises(InputError, match="arrive twice") as caught:
        outbox_admin.retry(queued.id, author="Eve")
    assert "--yes" in caught.value.next_step

    outbox_admin.retry(queued.id, author="Eve", accept_risk=True)
    assert state_of(queued) == "queued"


def test_retry_is_for_those_who_have_not_accepted(queued: Outbox) -> None:
    ann, bob = queued.recipients
    recipients = [{**ann, "state": "accepted"}, {**bob, "state": "refused", "reply": "550 no"}]
    put(queued, state="failed", recipients=recipients, code="X", sentence="No.", next_step="?")

    outbox_admin.retry(queued.id, author="Eve")

    row = Outbox.get_by_id(queued.id)
    assert [r["state"] for r in row.recipients] == ["accepted", "queued"]
    assert (row.code, row.sentence, row.next_step) == (None, None, None)


def test_marked_as_sent_has_a_time_and_leaves_refusals(queued: Outbox) -> None:
    ann, bob = queued.recipients
    put(queued, state="unknown", recipients=[ann, {**bob, "state": "refused"}])

    outbox_admin.mark_sent(queued.id, author="Eve")

    row = Outbox.get_by_id(queued.id)
    assert row.sent_at is not None
    assert [r["state"] for r in row.recipients] == ["accepted", "refused"]


def test_what_was_done_is_recorded(queued: Outbox) -> None:
    outbox_admin.hold(queued.id, author="Eve")
    outbox_admin.cancel(queued.id, author="Bob")

    shown = outbox_admin.shown(queued.id)

    assert [(t["outcome"], t["detail"]) for t in shown["tries"]] == [
        ("held", "by Eve"),
        ("cancelled", "by Bob"),
    ]


def test_refused_action_records_nothing(queued: Outbox) -> None:
    with pytest.raises(InputError):
        outbox_admin.mark_sent(queued.id, author="Eve")

    assert Attempt.select().count() == 0


def test_listing(desk: Desk, queued: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_admin, "_PAGE", 2)
    for _ in range(4):
        answers.answer(desk.receive().question, "Five.", author="Eve")
    put(queued, state="failed")

    assert [e["id"] for e in outbox_admin.entries()] == [5, 4, 3, 2, 1]
    assert [e["id"] for e in outbox_admin.entries(state="failed")] == [queued.id]
    assert len(list(outbox_admin.entries(mailbox="info@example.org"))) == 5
    assert outbox_admin.shown(queued.id)["message"] == queued.message_id


@pytest.mark.parametrize("act", [outbox_admin.shown, outbox_admin.hold, outbox_admin.retry])
def test_no_such_mail(desk: Desk, act: Callable[..., Any]) -> None:
    options = {} if act is outbox_admin.shown else {"author": "Eve"}
    with pytest.raises(NotFoundError):
        act(99, **options)


def test_mail_that_nobody_sends_is_told(queued: Outbox) -> None:
    assert [*overdue()] == []

    put(queued, queued_at=now() - timedelta(hours=2))

    Mailbox.update(poll_seconds=86_400).execute()  # cron comes once a day
    assert [*overdue()] == []
    Mailbox.update(poll_seconds=60).execute()
    [late] = overdue()
    assert (late["mailbox"], late["direction"]) == ("info@example.org", "out")
    assert "should have been sent" in late["sentence"]
    put(queued, next_try_at=now())  # our own back-off
    assert [*overdue()] == []
    put(queued, state="held", next_try_at=None)
    assert [*overdue()] == []


def test_mail_of_a_mailbox_that_lost_its_outgoing_side_needs_a_person(queued: Outbox) -> None:
    assert status()["problems"] == []
    Side.delete().execute()

    [problem] = status()["problems"]
    outcome = Outcome()
    outcome.judge(now(), was_stopped=False)

    assert (problem["code"], problem["state"]) == ("OUTGOING-MISSING", "attention")
    assert "1 mail waits" in problem["sentence"]
    assert status()["needs_person"]
    assert outcome.exit_code == 3
    assert "info@example.org (out): The mailbox has no outgoing side" in outcome.remarks[0]
    put(queued, state="cancelled")
    assert status()["problems"] == []
