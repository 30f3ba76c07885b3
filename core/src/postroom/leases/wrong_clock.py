"""When a wrong clock was put right, nothing may wait for a time that was never meant.

A machine that starts in 2076 and learns the year a minute later would else retrieve again in 2076.
Times are compared with what they can be at most; only moves backwards matter, for what is due too
early is merely done once more.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from postroom.leases.leases import LEASE_SECONDS
from postroom.store.database import execute, transaction
from postroom.store.fields import to_micros
from postroom.store.models import Outbox, Receipt, Side

TOLERANCE = timedelta(seconds=5)
"""Clocks are adjusted by less all the time."""
_LONGEST_PAUSE = timedelta(days=1)


def mend(instant: datetime) -> None:
    """Make due what was put off before the clock went back.

    :param instant: the time by now
    """
    later = instant + TOLERANCE
    with transaction():
        Side.update(next_try_at=instant, last_tried_at=instant).where(
            (Side.last_tried_at > later) & (Side.next_try_at > instant)
        ).execute()
        _mend_changed(instant, later)
        # Its holder, if it lives, renews it soon; whoever takes it over raises the generation.
        longest = timedelta(seconds=2 * LEASE_SECONDS)
        Side.update(leased_until=instant + longest / 2).where(
            Side.leased_until > instant + longest
        ).execute()
        for table in (Outbox, Receipt):
            table.update(next_try_at=instant).where(
                table.next_try_at > instant + _LONGEST_PAUSE
            ).execute()


def _mend_changed(instant: datetime, later: datetime) -> None:
    """Make due the sides that an administrator changed by the wrong clock: they were due from then
    on. Without a trouble, a side waits for as long as its pace is at most."""
    execute(
        "UPDATE side SET next_try_at = %s WHERE next_try_at > %s AND failures = 0 "
        "AND NOT paused_by_server AND (last_tried_at IS NULL OR next_try_at > last_tried_at "
        "+ (SELECT m.poll_seconds FROM mailbox m WHERE m.id = side.mailbox_id) "
        "* CAST(1000000 AS BIGINT) + %s) RETURNING id",
        [to_micros(instant), to_micros(later), TOLERANCE // timedelta(microseconds=1)],
    )
