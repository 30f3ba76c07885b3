"""Leases: a runner's time-limited right to work on one side of a mailbox.

A claim raises the side's generation; every later write of the holder names that generation, so a
worker that slept through its lease changes nothing when it wakes (invariant 8). The database is
the coordinator: any number of processes on any number of machines may claim.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from postroom.errors import LeaseLostError, PostroomError
from postroom.leases.owners import is_dead
from postroom.leases.pulse import Pulse
from postroom.store.database import (
    connection,
    execute,
    is_sqlite,
    now,
    transaction,
)
from postroom.store.errors import database_errors
from postroom.store.fields import to_micros
from postroom.store.models import Side

LEASE_SECONDS = 60.0
RENEW_SECONDS = 15.0
WIRE_MARGIN_SECONDS = 10.0
"""So much of the lease must be left before the server is asked to do anything."""


@dataclass(slots=True)
class Lease:
    """A held lease. Thread-safe."""

    side_id: int
    mailbox_id: int
    generation: int
    owner: str
    deadline: float
    """When it ends, by this process's monotonic clock; early rather than late."""
    on_lost: Callable[[], None] = field(default=lambda: None)
    rescue: Callable[[], None] = field(default=lambda: None)
    """Stores what a plugin handed out before it hung; called by another thread than the holder's,
    before the lease is taken from it."""
    lost: bool = False
    released: bool = False
    pulse: Pulse = field(default_factory=Pulse, repr=False)
    """Whether the plugin that its holder works with is alive."""
    is_awaited: bool = False
    """Somebody waits for the work, and is told how it ends: the log need not tell that, too."""

    def remaining(self) -> float:
        """Return the seconds that are surely left."""
        return 0.0 if self.lost else self.deadline - time.monotonic()

    def check(self) -> None:
        """Refuse to go on when too little is left; called right before the wire is touched.

        :raises LeaseLostError:
        """
        if self.remaining() < WIRE_MARGIN_SECONDS:
            raise LeaseLostError("The lease on the mailbox ended; another runner goes on.")

    def hold(self) -> None:
        """Make the caller's transaction depend on the lease: locks the row, checks generation.

        :raises LeaseLostError: another holds it now; let it undo the transaction
        """
        held = execute(
            "UPDATE side SET generation = generation "
            "WHERE id = %s AND generation = %s AND lease_owner = %s RETURNING id",
            [self.side_id, self.generation, self.owner],
        )
        if not held:
            self.lost = True
            raise LeaseLostError("Another runner took the mailbox over.")

    def wanted_by_another(self) -> bool:
        """Say whether a command asked for the mailbox."""
        asked = "SELECT id FROM side WHERE id = %s AND give_way_at IS NOT NULL"
        return bool(execute(asked, [self.side_id]))

    def renew(self) -> bool:
        """Prolong it; False if it is lost."""
        begun = time.monotonic()
        changed = (
            Side.update(leased_until=now() + timedelta(seconds=LEASE_SECONDS))
            .where(
                (Side.id == self.side_id)
                & (Side.generation == self.generation)
                & (Side.lease_owner == self.owner)
            )
            .execute()
        )
        if changed:
            self.deadline = begun + LEASE_SECONDS
        else:
            self.lost = True
        return bool(changed)

    def release(self) -> None:
        """Give it back."""
        self.lost = True
        Side.update(leased_until=None, lease_owner=None, give_way_at=None).where(
            (Side.id == self.side_id)
            & (Side.generation == self.generation)
            & (Side.lease_owner == self.owner)
        ).execute()
        self.released = True


class NoLease(Lease):
    """For a look at a server that writes nothing; and for a single commit that nobody else could do
    in our place, and that reads nothing it would be wrong to find changed: one message from a pipe.
    It never ends, and keeps nobody away."""

    def __init__(self, mailbox_id: int, side_id: int = 0) -> None:
        super().__init__(side_id, mailbox_id, 0, "", math.inf)

    def hold(self) -> None:
        """Let the transaction go on."""


def claim(
    owner: str,
    direction: str,
    *,
    limit: int = 1,
    sides: Sequence[int] | None = None,
    only_due: bool = True,
) -> list[Lease]:
    """Claim up to `limit` free sides of enabled mailboxes that are due, the longest due first.

    :param sides: only these (ids)
    :param only_due: False: also what is not due yet, and of mailboxes that are disabled
    """
    begun = time.monotonic()
    instant = to_micros(now())
    until = instant + int(LEASE_SECONDS * 1_000_000)
    conditions = ["s.direction = %s", "(s.leased_until IS NULL OR s.leased_until < %s)"]
    values: list[object] = [owner, until, direction, instant]
    if only_due:
        is_due, bound = _due(direction, instant)
        conditions.append(is_due)
        values += bound
    if sides is not None:
        conditions.append(f"s.id IN ({', '.join(['%s'] * len(sides)) or 'NULL'})")
        values.extend(sides)
    values.append(limit)
    lock = "" if is_sqlite() else " FOR UPDATE OF s SKIP LOCKED"
    statement = (  # the parts are ours, what comes from outside is bound
        "UPDATE side SET generation = generation + 1, lease_owner = %s, leased_until = %s, "  # noqa: S608
        "give_way_at = NULL WHERE id IN (SELECT s.id FROM side s JOIN mailbox m "
        f"ON m.id = s.mailbox_id WHERE {' AND '.join(conditions)} "
        f"ORDER BY s.next_try_at LIMIT %s{lock}) RETURNING id, mailbox_id, generation"
    )
    with transaction():
        claimed = execute(statement, values)
    deadline = begun + LEASE_SECONDS
    return [Lease(side, mailbox, number, owner, deadline) for side, mailbox, number in claimed]


def _due(direction: str, instant: int) -> tuple[str, list[object]]:
    """Return the condition that a side is due, and what is bound in it."""
    if direction == "in":  # `enabled` is a toggle for retrieval; answers go out all the same
        return "s.next_try_at <= %s AND m.enabled", [instant]
    has_mail = (
        "EXISTS (SELECT 1 FROM outbox o WHERE o.mailbox_id = m.id AND ("
        "(o.state = 'queued' AND (o.next_try_at IS NULL OR o.next_try_at <= %s)) "
        "OR (o.state = 'unknown' AND o.next_try_at <= %s) "  # evidence is looked for
        "OR o.state = 'sending'))"  # whoever was sending is gone: the lease is free
    )
    return f"s.next_try_at <= %s AND {has_mail}", [instant, instant, instant]


def free_dead() -> None:
    """Free what processes of this host held that are no more; nobody has to wait for those."""
    held = Side.select(Side.lease_owner).where(Side.lease_owner.is_null(False)).distinct()
    for owner in [side.lease_owner for side in held]:
        if owner and is_dead(owner):
            Side.update(leased_until=None, lease_owner=None).where(
                Side.lease_owner == owner
            ).execute()


def ask_to_give_way(side_id: int) -> None:
    """Ask the holder to release at its next batch."""
    Side.update(give_way_at=now()).where(
        (Side.id == side_id) & Side.lease_owner.is_null(False)
    ).execute()


class Keeper:
    """Renews leases from a thread of its own; one that is lost interrupts its work."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self._thread.start()

    def keep(self, lease: Lease) -> None:
        """Renew it from now on."""
        with self._lock:
            self._leases[id(lease)] = lease

    def drop(self, lease: Lease) -> None:
        """Renew it no more."""
        with self._lock:
            self._leases.pop(id(lease), None)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            with self._lock:
                leases = list(self._leases.values())
            for lease in leases:
                if not self._stop.is_set():
                    self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        try:
            with connection(), database_errors():
                kept = lease.renew()
        except PostroomError:
            kept = lease.remaining() > WIRE_MARGIN_SECONDS
        if not kept:
            lease.on_lost()
