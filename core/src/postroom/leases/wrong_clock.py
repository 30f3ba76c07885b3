"""When a wrong clock was put right, nothing may wait for a time that was never meant.

A machine that starts in 2076 and learns the year a minute later would else retrieve again in 2076.
Times are compared with what they can be at most; only moves backwards matter, for what is due too
early is merely done once more.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from postroom.leases.leases import LEASE_SECONDS
from postroom.store.database import transaction
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
        # Its holder, if it lives, renews it soon; whoever takes it over raises the generation.
        longest = timedelta(seconds=2 * LEASE_SECONDS)
        Side.update(leased_until=instant + longest / 2).where(
            Side.leased_until > instant + longest
        ).execute()
        for table in (Outbox, Receipt):
            table.update(next_try_at=instant).where(
                table.next_try_at > instant + _LONGEST_PAUSE
            ).execute()
