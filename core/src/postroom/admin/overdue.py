"""What nobody looks after: no runner runs, and cron starts none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from postroom.store.database import execute, now
from postroom.store.fields import from_micros
from postroom.store.models import Mailbox, Side

OVERDUE_AFTER: Final = timedelta(hours=1)
"""So much later than it was due, or by the pace of the mailbox if that is slower: `run --once` is
in time every hour, and once a day where `poll_seconds` says so."""
_SENTENCES: Final = {
    "in": "It should have been retrieved long ago: no runner seems to run.",
    "out": "It has mail that should have been sent long ago: no runner seems to run.",
}
_NEXT_STEP: Final = (
    "See that `postroom run` runs, or that cron starts `postroom run --once`. If cron does so less "
    "often than every hour, set poll_seconds of the mailbox to that pace."
)


def overdue() -> Iterator[dict[str, Any]]:
    """Yield the sides of mailboxes that were due long ago and that nobody is at work on."""
    instant, mail_due_at = now(), _mail_due_at()
    sides = Side.select(Side, Mailbox).join(Mailbox)
    for side in sides.order_by(Mailbox.address_key, Side.direction):
        due_at = _due_at(side.mailbox, side, mail_due_at.get(side.mailbox_id))
        is_held = side.leased_until is not None and side.leased_until > instant
        if due_at is None or is_held or instant < due_at + OVERDUE_AFTER:
            continue
        yield {
            "mailbox": side.mailbox.address,
            "direction": side.direction,
            "due_at": due_at,
            "last_success_at": side.last_success_at,
            "sentence": _SENTENCES[side.direction],
            "next_step": _NEXT_STEP,
        }


def _due_at(mailbox: Mailbox, side: Side, mail_due_at: datetime | None) -> datetime | None:
    """Return since when a side is due, None if there is nothing to do.

    :param mail_due_at: since when the mailbox has mail that could be sent

    `Side.next_try_at` alone does not tell: news of the server, say, makes a side due at once.
    """
    wanted_at = None
    if side.direction == "in" and mailbox.enabled:
        wanted_at = mailbox.created_at
        if side.last_tried_at is not None:
            wanted_at = side.last_tried_at + timedelta(seconds=mailbox.poll_seconds)
    elif side.direction == "out" and mail_due_at is not None:
        pace = max(timedelta(seconds=mailbox.poll_seconds) - OVERDUE_AFTER, timedelta(0))
        wanted_at = max(mail_due_at, side.last_tried_at or mail_due_at) + pace
    return None if wanted_at is None else max(wanted_at, side.next_try_at)


def _mail_due_at() -> dict[int, datetime]:
    """Return, by mailbox, since when the first of what is queued could be sent."""
    found = execute(
        "SELECT mailbox_id, MIN(COALESCE(next_try_at, queued_at)) FROM outbox "
        "WHERE state = 'queued' GROUP BY mailbox_id",
        [],
    )
    return {mailbox_id: from_micros(first) for mailbox_id, first in found}
