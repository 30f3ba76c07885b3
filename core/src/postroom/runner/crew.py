"""Does visits in threads of their own, and leaves behind those whose plugin does not come back.

A thread cannot be stopped. One that hangs in a plugin is interrupted, as the contract has it; if it
does not end then, its lease is taken from it, so that it changes nothing should it wake up, and its
mailbox says which plugin hangs. When several sessions of a transport hang, no more are opened
before one of them ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from postroom.api import codes
from postroom.api.errors import TransientError
from postroom.errors import PostroomError
from postroom.leases import health
from postroom.leases.leases import Keeper, Lease
from postroom.leases.pulse import Pulse
from postroom.plugins import Plugins
from postroom.store.database import connection, transaction
from postroom.store.errors import database_errors
from postroom.store.models import Side

logger = logging.getLogger(__name__)

GRACE_SECONDS = 6.0
"""At the end, the batch in flight may take that long before it is interrupted."""
END_SECONDS = 2.0
"""So long an interrupted session may take to end."""
MOST_LEFT_BEHIND: Final = 4
"""Sessions of one transport that hang; each keeps a thread and perhaps a connection."""


class HangsError(TransientError):
    """A plugin did not come back, not even when it was interrupted."""

    def __init__(self, sentence: str) -> None:
        super().__init__(codes.PLUGIN_HANGS, sentence)

    @classmethod
    def of(cls, pulse: Pulse) -> HangsError:
        """Return the error of a plugin that hangs at this moment."""
        sentence = f"{pulse.who} did not come back from {pulse.call} for {pulse.silence():.0f} s"
        return cls(f"{sentence}, nor when it was interrupted.")


class Visit:
    """One visit to one side of a mailbox, in a thread of its own.

    :param wake: set when it is over
    """

    def __init__(
        self,
        lease: Lease,
        work: Callable[[], None],
        transport: str = "",
        wake: threading.Event | None = None,
    ) -> None:
        self.lease = lease
        self.transport = transport
        self.interrupted_at: float | None = None
        self._over = threading.Event()

        def work_and_tell() -> None:
            try:
                work()
            finally:
                self._over.set()
                if wake is not None:
                    wake.set()

        # A daemon: one that hangs must not keep the process from ending.
        thread = threading.Thread(target=work_and_tell, name=f"visit-{lease.side_id}", daemon=True)
        thread.start()

    def is_over(self) -> bool:
        """Say whether the work has ended; whoever was woken by it does not wait for the thread."""
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end, not for longer; say whether it has ended."""
        return self._over.wait(seconds)

    def tend(self) -> bool:
        """Interrupt it if its plugin stalls; False if it does not end by that."""
        if self.ignores_interruption():
            return False
        if self.interrupted_at is None and self.lease.pulse.stalls():
            self.lease.pulse.give_up()
            self.interrupt()
        return True

    def interrupt(self) -> None:
        """Ask the session to end; returns at once."""
        self.interrupted_at = time.monotonic()
        self.lease.on_lost()

    def ignores_interruption(self) -> bool:
        """Say whether it still hangs although it was interrupted a while ago."""
        at = self.interrupted_at
        return at is not None and time.monotonic() - at >= END_SECONDS


class Crew:
    """The visits under way, at most `size` at a time. Used from one thread.

    :param wake: set when a visit ends
    """

    def __init__(self, size: int, plugins: Plugins, keeper: Keeper, wake: threading.Event) -> None:
        self._size = size
        self._plugins = plugins
        self._keeper = keeper
        self._wake = wake
        self._working: list[Visit] = []
        self._left_behind: list[Visit] = []

    @property
    def free(self) -> int:
        """How many visits may be started."""
        return self._size - len(self._working)

    @property
    def is_busy(self) -> bool:
        """Whether any visit is under way."""
        return bool(self._working)

    @property
    def sides(self) -> list[int]:
        """Return the ids of the sides that are worked on."""
        return [visit.lease.side_id for visit in self._working]

    @property
    def has_left_behind(self) -> bool:
        """Whether threads of plugins hang."""
        return bool(self._left_behind)

    def start(self, lease: Lease, work: Callable[[], None]) -> None:
        """Start a visit, unless its transport's sessions all hang."""
        side = Side.get_or_none(Side.id == lease.side_id)
        if side is None:  # its mailbox was deleted since the claim
            return
        hanging = sum(visit.transport == side.transport for visit in self._left_behind)
        if hanging >= MOST_LEFT_BEHIND:
            who = self._plugins.who_offers(side.transport)
            sentence = f"{who} is not asked any more: {hanging} of its sessions hang."
            give_back(lease, HangsError(sentence), self._plugins, self._keeper)
            return
        self._working.append(Visit(lease, work, side.transport, self._wake))

    def tend(self) -> None:
        """Forget what ended, interrupt what stalls, leave behind what does not end."""
        self._working = [visit for visit in self._working if not visit.is_over()]
        self._left_behind = [visit for visit in self._left_behind if not visit.is_over()]
        for visit in list(self._working):
            if not visit.tend():
                self._leave_behind(visit)

    def end(self) -> None:
        """Wait for what is in flight; interrupt what takes too long, leave behind what then still
        hangs. Takes `GRACE_SECONDS` and `END_SECONDS` at most."""
        self._wait(GRACE_SECONDS)
        for visit in self._working:
            visit.interrupt()
        self._wait(END_SECONDS)
        for visit in list(self._working):
            self._leave_behind(visit)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._working and time.monotonic() < deadline:
            self._wake.wait(0.05)
            self._wake.clear()
            self._working = [visit for visit in self._working if not visit.is_over()]

    def _leave_behind(self, visit: Visit) -> None:
        self._working.remove(visit)
        self._left_behind.append(visit)
        leave_behind(visit)
        if visit.lease.pulse.silence():  # else it is the core that takes its time
            error = HangsError.of(visit.lease.pulse)
            give_back(visit.lease, error, self._plugins, self._keeper)


_left_behind: list[Visit] = []


def leave_behind(visit: Visit) -> None:
    """Take care that a visit whose plugin does not come back changes nothing should it wake up.

    What came before is stored first: the next visit may hang at the same message.
    """
    try:
        with connection():
            visit.lease.rescue()
    except Exception:  # it is fetched again
        logger.exception("What came before a plugin hung could not be stored")
    visit.lease.lost = True
    _left_behind[:] = [*(one for one in _left_behind if not one.is_over()), visit]


def threads_hang() -> bool:
    """Say whether threads of plugins hang in this process."""
    return any(not visit.is_over() for visit in _left_behind)


def give_back(lease: Lease, error: HangsError, plugins: Plugins, keeper: Keeper) -> None:
    """Record what happened and let others have the mailbox, whatever the thread still does."""
    keeper.drop(lease)
    lease.on_lost = lambda: None
    try:
        with connection(), database_errors():
            side, event = Side.get_or_none(Side.id == lease.side_id), None
            if side is not None:
                with transaction():
                    lease.hold()
                    event = health.note_failure(side, error, is_told=lease.is_awaited)
            lease.release()
        if event is not None:
            plugins.tell(event)
    except PostroomError as trouble:  # the lease ends by itself
        logger.error("%s %s", error.sentence, trouble.sentence)
