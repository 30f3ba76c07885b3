"""How the installation fares: what an administrator looks at first."""

from __future__ import annotations

from typing import Any

from peewee import fn

from postroom import health
from postroom.ledger import needs_person
from postroom.store.database import now, rows
from postroom.store.models import Mailbox, Outbox, Question, Receipt, Side


def status() -> dict[str, Any]:
    """Return counts of mailboxes by state, questions, quarantine and outbox, and what is wrong."""
    problems: list[dict[str, Any]] = []
    states: dict[str, int] = dict.fromkeys(["ok", "failing", "attention", "never", "disabled"], 0)
    for mailbox in Mailbox.select().order_by(Mailbox.address_key):
        both = Side.direction.in_(["in", "out"])
        for side in (
            Side.select().where(both & (Side.mailbox == mailbox.id)).order_by(Side.direction)
        ):
            enabled = mailbox.enabled or side.direction == "out"
            state = health.state_of(side, enabled=enabled)
            if side.direction == "in":
                states[state] += 1
            if state in ("failing", "attention"):
                problems.append(_problem(mailbox, side, state))
    quarantine = _counts(
        Receipt.select(Receipt.outcome, fn.COUNT(Receipt.id))
        .where(needs_person())
        .group_by(Receipt.outcome)
    )
    outbox = _counts(
        Outbox.select(Outbox.state, fn.COUNT(Outbox.id))
        .where(Outbox.state.not_in(["sent", "cancelled"]))
        .group_by(Outbox.state)
    )
    questions = _counts(
        Question.select(Question.status, fn.COUNT(Question.id))
        .where(Question.merged_into.is_null())
        .group_by(Question.status)
    )
    return {
        "time": now(),
        "mailboxes": states,
        "problems": problems,
        "questions": questions,
        "quarantined": quarantine.get("quarantined", 0),
        "refused": quarantine.get("refused", 0),
        "outbox": outbox,
        "needs_person": bool(
            quarantine
            or outbox.get("failed")
            or outbox.get("unknown")
            or any(problem["state"] == "attention" for problem in problems)
        ),
    }


def _counts(query: Any) -> dict[str, int]:
    return dict(rows(query))


def _problem(mailbox: Mailbox, side: Side, state: str) -> dict[str, Any]:
    trouble = health.open_trouble(side)
    return {
        "mailbox": mailbox.address,
        "direction": side.direction,
        "state": state,
        "code": trouble.code if trouble else None,
        "sentence": trouble.sentence if trouble else None,
        "next_step": trouble.next_step if trouble else None,
        "since": side.down_since,
    }
