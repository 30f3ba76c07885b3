"""How the installation fares: what an administrator looks at first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peewee import fn

from postroom.admin.overdue import overdue
from postroom.api import codes
from postroom.credentials import credential_expiry, credentials
from postroom.leases import health
from postroom.mailboxes.ledger import needs_person
from postroom.outbox.stranded import Stranded, stranded
from postroom.store.database import now, rows
from postroom.store.models import Credential, Mailbox, Outbox, Question, Receipt, Side


def status() -> dict[str, Any]:
    """Return counts of mailboxes by state, questions, quarantine and outbox, and what is wrong."""
    states, wrong = _sides()
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
    ending = list(_credentials())
    late = list(overdue())
    return {
        "time": now(),
        "mailboxes": states,
        "problems": wrong,
        "overdue": late,
        "credentials": ending,
        "questions": questions,
        "quarantined": quarantine.get("quarantined", 0),
        "refused": quarantine.get("refused", 0),
        "outbox": outbox,
        "needs_person": bool(
            quarantine
            or late
            or outbox.get("failed")
            or outbox.get("unknown")
            or any(problem["state"] == "attention" for problem in wrong)
            or any(one["state"] == "attention" or one["is_urgent"] for one in ending)
        ),
    }


def problems() -> list[dict[str, Any]]:
    """Return what is wrong with sides of mailboxes now, as `status` has it."""
    return _sides()[1]


def _sides() -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Return how many incoming sides are in each state, and what is wrong with sides."""
    wrong: list[dict[str, Any]] = []
    states: dict[str, int] = dict.fromkeys(["ok", "failing", "attention", "never", "disabled"], 0)
    both = Side.direction.in_(["in", "out"])
    for mailbox in Mailbox.select().order_by(Mailbox.address_key):
        of_mailbox = Side.select().where(both & (Side.mailbox == mailbox.id))
        for side in of_mailbox.order_by(Side.direction):
            state = health.state_of(side, enabled=mailbox.enabled or side.direction == "out")
            if side.direction == "in":
                states[state] += 1
            if state in ("failing", "attention"):
                wrong.append(_problem(mailbox, side, state))
    return states, [*wrong, *map(_stranded, stranded())]


def _counts(query: Any) -> dict[str, int]:
    return dict(rows(query))


def _credentials() -> Iterator[dict[str, Any]]:
    """Yield the credentials that are refused, or whose secret ends soon."""
    instant = now()
    for credential in Credential.select().order_by(Credential.name_key):
        state = credentials.state_of(credential)
        is_ending = credential_expiry.is_ending(credential, instant)
        if state not in ("failing", "attention") and not is_ending:
            continue
        told = {name: getattr(credential, name) for name in ("code", "sentence", "next_step")}
        if is_ending and credential.failed_at is None:
            told = {**credential_expiry.described(credential, instant)}
        yield {
            "credential": credential.name,
            "state": state,
            **told,
            "expires_at": credential_expiry.ends_at(credential),
            "is_urgent": credential_expiry.is_urgent(credential, instant),
        }


def _stranded(what: Stranded) -> dict[str, Any]:
    return {
        "mailbox": what.mailbox,
        "direction": "out",
        "state": "attention",
        "code": codes.OUTGOING_MISSING.name,
        "sentence": what.sentence,
        "next_step": what.next_step,
        "since": what.since,
    }


def _problem(mailbox: Mailbox, side: Side, state: str) -> dict[str, Any]:
    trouble = health.open_trouble(side)
    return {
        "mailbox": mailbox.address,
        "direction": side.direction,
        "state": state,
        "code": trouble.code if trouble else None,
        "sentence": trouble.sentence if trouble else None,
        "next_step": trouble.next_step if trouble else None,
        "since": health.lasts_since(trouble, side) if trouble else side.down_since,
    }
