"""The lease of a command: it cannot come again later, so it asks the holder to give way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from postroom.errors import BusyError
from postroom.leases.leases import Keeper, Lease, ask_to_give_way, claim, free_dead
from postroom.leases.owners import new_owner
from postroom.store.models import Side

PATIENCE_SECONDS = 75.0
"""Longer than a lease: a holder that died has lost it by then."""


@contextmanager
def claimed(
    side: Side, patience_seconds: float = PATIENCE_SECONDS, *, asks: bool = True
) -> Iterator[Lease]:
    """Hold a side for a command, and renew the lease; else as `claim_for_command`."""
    keeper = Keeper()
    try:
        lease = claim_for_command(new_owner(), side.id, patience_seconds, asks=asks)
        keeper.keep(lease)
        try:
            yield lease
        finally:
            keeper.drop(lease)
            lease.release()
    finally:
        keeper.close()


def claim_for_command(
    owner: str, side_id: int, patience_seconds: float = PATIENCE_SECONDS, *, asks: bool = True
) -> Lease:
    """Claim a side for a command, asking its holder to give way.

    :param asks: False: wait for the holder to end
    :raises BusyError: the holder did not give way in time
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        free_dead()
        leases = claim(owner, _direction(side_id), sides=[side_id], only_due=False)
        if leases:
            return leases[0]
        if time.monotonic() >= deadline:
            raise BusyError(
                "Another process works on this mailbox and did not give way.",
                next_step="Try again in a minute.",
            )
        if asks:
            ask_to_give_way(side_id)
        time.sleep(0.25)


def _direction(side_id: int) -> str:
    return str(Side.get_by_id(side_id).direction)
