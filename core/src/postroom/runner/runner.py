"""The runner: takes due mailboxes, in and out, until it is told to stop; or all of them once.

Blocking libraries, so threads: a bounded crew for visits; a waiting mailbox costs a thread only
where its server can push. Any number of runners share the mailboxes through leases.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from peewee import PeeweeException

from postroom.credentials import credential_expiry
from postroom.errors import (
    KeyUnusableError,
    LeaseLostError,
    PostroomError,
    SchemaError,
    StoreError,
)
from postroom.intake.tally import Progress, Tally, no_progress
from postroom.intake.understanding.pool import Pool, in_workers
from postroom.leases import wrong_clock
from postroom.leases.leases import LEASE_SECONDS, Keeper, Lease, claim, free_dead
from postroom.leases.owners import new_owner
from postroom.outbox.outbox import is_due
from postroom.plugins import Plugins
from postroom.runner import outage
from postroom.runner.crew import Crew
from postroom.runner.outcome import Outcome
from postroom.runner.visits import visit_incoming, visit_outgoing
from postroom.runner.watch import Watchers
from postroom.store import schema
from postroom.store.database import connection, now, transaction
from postroom.store.errors import database_errors
from postroom.store.models import Mailbox, Outbox, Side

logger = logging.getLogger(__name__)

WORKERS = 8
WARN_SECONDS = 3600.0
"""How often is looked for secrets that end soon."""
LOOK_SECONDS = 1.0
"""How often the database is asked for what is due."""
PROBE_SECONDS = 2.0
"""How often a database that does not answer is asked again."""


class Runner:
    """Works on mailboxes through leases.

    :param progress: told of all retrievals
    :param pool: what understands messages, if it was started already; closed in the end
    """

    def __init__(
        self,
        plugins: Plugins,
        *,
        workers: int = WORKERS,
        progress: Progress = no_progress,
        pool: Pool | None = None,
    ) -> None:
        self._plugins = plugins
        self._progress = progress
        self._owner = new_owner()
        self._pool = pool or Pool()
        self._understanding = in_workers(plugins, self._pool)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._keeper = Keeper()
        self._crew = Crew(workers, plugins, self._keeper, self._wake)
        self._core_error: PostroomError | None = None
        """Why `run_once` cannot go on."""
        self._outage = outage.Outage()
        self._unreleased: list[Lease] = []
        """Leases of visits that are over and could not give them back."""
        self._under_way: dict[int, tuple[str, Tally]] = {}
        """Each visit's mailbox, and what it did so far; by the identity of its lease."""
        self._counting = threading.Lock()
        self._warn_at = 0.0
        self._gave_way: set[int] = set()
        """Sides that a command asked for in the middle: `run_once` goes back to them."""
        self._once_since: datetime | None = None
        """When `run_once` began, which does not heed our own back-off: what was not tried since
        then only its server may put off."""
        self._latest: datetime | None = None
        """The time at the last look: a clock that goes back is noticed."""
        self.outcome = Outcome()

    def stop(self) -> None:
        """Finish the batches in flight and end; from any thread or signal handler."""
        self._stop.set()
        self._wake.set()

    # ------------------------------------------------------------------ for ever

    def run(self) -> None:
        """Work until `stop`. A database that goes away is waited for.

        :raises SchemaError: the database was upgraded
        """
        watchers = Watchers(self._plugins, self._wake)
        try:
            while not self._stop.is_set():
                self._look(watchers)
                self._wake.wait(LOOK_SECONDS)
                self._wake.clear()
        finally:
            watchers.stop()
            self._end()
            watchers.close()

    def _look(self, watchers: Watchers) -> None:
        """Look once at what is due and at what goes on, and start visits."""
        self._crew.tend()
        if seconds := self._outage.pause():
            self._stop.wait(seconds)
        try:
            with connection(), database_errors():
                self._watch_clock()
                free_dead()
                self._release_left()
                self._start_due("in")
                self._start_due("out")
                watchers.adjust()
                self._warn_of_ends()
        except SchemaError:
            raise
        except StoreError as error:
            self._wait_for_database(error)

    def _warn_of_ends(self) -> None:
        """Look now and then for secrets that end soon."""
        if time.monotonic() >= self._warn_at:
            self._warn_at = time.monotonic() + WARN_SECONDS
            credential_expiry.warn(self._plugins)

    def _watch_clock(self) -> None:
        instant = now()
        if self._latest is None or instant < self._latest - wrong_clock.TOLERANCE:
            wrong_clock.mend(instant)
        self._latest = instant

    def _start_due(self, direction: str) -> None:
        if self._crew.free > 0:
            for lease in claim(self._owner, direction, limit=self._crew.free):
                self._start(lease, direction)

    def _release_left(self) -> None:
        """Give back what visits could not, so that nobody waits for the leases to end."""
        while self._unreleased:
            lease = self._unreleased.pop()
            try:
                lease.release()
            except PeeweeException:
                self._unreleased.append(lease)
                raise

    def _wait_for_database(self, error: StoreError) -> None:
        self._outage.begin(error)
        while not self._stop.wait(PROBE_SECONDS):
            try:
                with connection(), transaction():
                    self._free_unknown()
            except StoreError:
                continue
            self._outage.unrecorded = None  # what ended visits meanwhile was the same
            self._outage.end()
            return

    def _free_unknown(self) -> None:
        """Free what was claimed by a commit that nobody heard of."""
        Side.update(leased_until=None, lease_owner=None).where(
            (Side.lease_owner == self._owner) & Side.id.not_in(self._crew.sides)
        ).execute()

    # ------------------------------------------------------------------ once

    def run_once(self) -> Outcome:
        """Take every enabled mailbox until its server has no more, send what is due, and end.

        :raises StoreError, KeyUnusableError: it could not work at all
        """
        with connection(), database_errors():
            try:
                self._warn_of_ends()
                self._watch_clock()
                begun = self._once_since = now()
                self._take_all("in", self._enabled_sides)
                self._take_all("out", self._sides_with_mail)
                for visit in list(self._under_way):  # their plugins hang
                    self._count(visit)
                self.outcome.judge(begun, was_stopped=self._stop.is_set())
            finally:
                self._end()
        return self.outcome

    def _enabled_sides(self) -> list[int]:
        """Return the incoming sides to take."""
        sides = (
            Side.select(Side.id, Side.paused_by_server, Side.next_try_at)
            .join(Mailbox)
            .where((Side.direction == "in") & Mailbox.enabled)
        )
        return _unpaused(sides)

    def _sides_with_mail(self) -> list[int]:
        """Return the outgoing sides to take."""
        may_go = is_due(now(), untried_since=self._once_since)
        sides = (
            Side.select(Side.id, Side.paused_by_server, Side.next_try_at)
            .join(Mailbox)
            .join(Outbox, on=(Outbox.mailbox == Mailbox.id))
            .where((Side.direction == "out") & (Outbox.state.in_(["sending", "unknown"]) | may_go))
            .distinct()
        )
        return _unpaused(sides)

    def _take_all(self, direction: str, find: Callable[[], list[int]]) -> None:
        """Visit each side once, and once more where a command came between; what another process
        holds is waited for, one lease at most."""
        waiting = set(find())
        deadline = time.monotonic() + LEASE_SECONDS + 5
        while not self._stop.is_set() and self._core_error is None:
            started = self._start_some(waiting, direction)
            self._crew.tend()
            if not self._crew.is_busy:
                if not waiting:
                    waiting, self._gave_way = self._gave_way, set()
                    if not waiting:
                        return
                    continue
                if time.monotonic() > deadline:
                    self.outcome.try_later = True
                    return
            if not started:
                self._wake.wait(0.1)
                self._wake.clear()
        self._crew.end()
        if self._core_error is not None:
            raise self._core_error

    def _start_some(self, waiting: set[int], direction: str) -> bool:
        """Visit sides of `waiting` that are free, and take them out of it."""
        if not waiting or self._crew.free <= 0:
            return False
        free_dead()
        leases = claim(
            self._owner, direction, limit=self._crew.free, sides=sorted(waiting), only_due=False
        )
        for lease in leases:
            waiting.discard(lease.side_id)
            self._start(lease, direction)
        return bool(leases)

    # ------------------------------------------------------------------ visits

    def _start(self, lease: Lease, direction: str) -> None:
        try:
            schema.check()  # behind the claim: an upgrade that comes later takes the lease away
            self._crew.start(lease, lambda: self._visit(lease, direction))
        except (StoreError, PeeweeException):
            self._unreleased.append(lease)
            raise

    def _visit(self, lease: Lease, direction: str) -> None:
        """Visit a side, in a thread of the crew's; what concerns the runner is noted for it."""
        try:
            with connection(), database_errors():
                visit = self._visit_incoming if direction == "in" else self._visit_outgoing
                result = visit(lease)
        except StoreError as error:
            self._core_error = self._outage.unrecorded = error
        except BaseException:
            logger.exception("A visit failed in a way it should not")
            self._put_off(lease)
        else:
            if isinstance(result, StoreError | KeyUnusableError):
                self._core_error = result
            elif not isinstance(result, BaseException):
                self._outage.end()
        finally:
            if not lease.released:
                self._unreleased.append(lease)

    def _put_off(self, lease: Lease) -> None:
        """Leave a side alone for a while whose trouble could not be recorded; the lease may be
        given back, but not with another."""
        is_mine = (Side.id == lease.side_id) & (Side.generation == lease.generation)
        try:
            with connection(), transaction():
                due = now() + timedelta(seconds=outage.REST_SECONDS[1])
                Side.update(next_try_at=due).where(is_mine).execute()
        except StoreError as error:
            self._outage.unrecorded = error

    def _count_sent(self) -> None:
        with self._counting:
            self.outcome.sent += 1

    def _visit_outgoing(self, lease: Lease) -> object:
        result = visit_outgoing(
            lease,
            self._plugins,
            self._keeper,
            stop=self._stop,
            untried_since=self._once_since,
            on_sent=self._count_sent,
        )
        mailbox = Mailbox.get_or_none(Mailbox.id == lease.mailbox_id) if result else None
        if isinstance(result, int) and mailbox is not None:
            self._log(f"{mailbox.address}: {result} sent")
        return result

    def _visit_incoming(self, lease: Lease) -> object:
        address, tally = Mailbox.get_by_id(lease.mailbox_id).address, Tally()
        self._under_way[id(lease)] = address, tally
        result: Tally | BaseException | None = None
        try:
            result = visit_incoming(
                lease,
                self._plugins,
                self._keeper,
                stop=self._stop,
                progress=self._progress,
                understanding=self._understanding,
                tally=tally,
                only_due=self._once_since is None,
            )
        finally:
            self._count(id(lease), even_nothing=isinstance(result, Tally))
        if isinstance(result, Tally) and not result.complete:
            self._gave_way.add(lease.side_id)
        elif isinstance(result, LeaseLostError) and self._once_since is not None:
            self.outcome.try_later = True
            self.outcome.remarks.append(f"{address}: {result.sentence}")
        return result

    def _count(self, visit: int, *, even_nothing: bool = False) -> None:
        """Take what a visit did into the outcome, once, also if it ended in an error or hangs."""
        address, tally = self._under_way.pop(visit, ("", Tally()))
        if address and (even_nothing or tally.did_something()):
            self.outcome.tallies.setdefault(address, Tally()).add(tally)
        if tally.did_something():
            self._log(f"{address}: {tally.in_words()}")

    def _log(self, line: str) -> None:
        """Tell of it as it happens where nothing sums it up in the end."""
        if self._once_since is None:
            logger.info("%s", line)

    def _end(self) -> None:
        self._crew.end()
        self._keeper.close()
        self._pool.close()


def _unpaused(sides: Iterable[Side]) -> list[int]:
    """Leave out those that their server, or a refused password, told us to leave alone for a
    while."""
    instant = now()
    return [one.id for one in sides if not (one.paused_by_server and one.next_try_at > instant)]
