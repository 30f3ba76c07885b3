"""Watches mailboxes whose servers can push: a wake-up for the runner, never truth.

A watcher has a session of its own and holds no lease: when its server has news it makes the
mailbox due, and whichever runner is free retrieves.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from postroom.api.transport import Capability, Receiver
from postroom.credentials.context import SessionContext
from postroom.leases.pulse import interrupt_aside
from postroom.mailboxes import sides
from postroom.plugins import Plugins
from postroom.store.database import connection, now
from postroom.store.models import Mailbox, Side

logger = logging.getLogger(__name__)

MOST_WATCHED = 200
WAIT_SECONDS = 540.0
"""So long one call to a receiver's `wait` may take."""
PAUSE_SECONDS = 60.0
"""So long a watcher rests whose session ended."""
END_SECONDS = 1.0


class Watchers:
    """The watchers of this runner. Used from the runner's thread."""

    def __init__(self, plugins: Plugins, wake: threading.Event) -> None:
        self._plugins = plugins
        self._wake = wake
        self._running: dict[int, Watcher] = {}

    def adjust(self) -> None:
        """Watch what should be watched by now, and nothing else."""
        wanted = {side.id: side for side in self._healthy_sides()}
        for side_id, watcher in list(self._running.items()):
            side = wanted.get(side_id)
            if side is None or watcher.settings != _settings_of(side):
                self._running.pop(side_id).stop()
        for side_id, side in wanted.items():
            if side_id not in self._running and len(self._running) < MOST_WATCHED:
                self._running[side_id] = Watcher(side, self._plugins, self._wake)

    def _healthy_sides(self) -> list[Side]:
        pushing = [
            name
            for name, transport in self._plugins.transports.items()
            if Capability.PUSH in transport.capabilities
        ]
        return list(
            Side.select()
            .join(Mailbox)
            .where(
                (Side.direction == "in")
                & Mailbox.enabled
                & Side.transport.in_(pushing)
                & Side.down_since.is_null()
                & Side.last_success_at.is_null(False)
            )
        )

    def close(self) -> None:
        """End all of them; one whose plugin hangs is not waited for."""
        self.stop()
        deadline = time.monotonic() + END_SECONDS
        for watcher in self._running.values():
            watcher.join(deadline - time.monotonic())
        self._running.clear()

    def stop(self) -> None:
        """Ask all of them to end; returns at once."""
        for watcher in self._running.values():
            watcher.stop()


def _settings_of(side: Side) -> tuple[Any, ...]:
    return side.transport, side.settings, bytes(side.sealed or b"")


class Watcher:
    """Waits for news of one mailbox in a thread of its own."""

    def __init__(self, side: Side, plugins: Plugins, wake: threading.Event) -> None:
        self.settings = _settings_of(side)
        self._side = side
        self._plugins = plugins
        self._wake = wake
        self._stop = threading.Event()
        self._receiver: Receiver | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch-{side.id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; returns at once."""
        self._stop.set()
        receiver = self._receiver
        if receiver is not None:
            interrupt_aside(receiver)

    def join(self, seconds: float = 5.0) -> None:
        """Wait for its end, not for ever."""
        self._thread.join(timeout=max(seconds, 0))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except (Exception, SystemExit):  # the mailbox's own visits record what is wrong with it
                logger.debug("Watching %s ended", self._side.transport, exc_info=True)
            self._stop.wait(PAUSE_SECONDS)

    def _watch(self) -> None:
        with connection():
            mailbox = Mailbox.get_by_id(self._side.mailbox_id)
            settings = sides.load(self._side, self._plugins)
        transport = self._plugins.transport(self._side.transport)
        context = SessionContext(mailbox.address, transport.name, settings)
        with transport.open_receiver(settings, context) as receiver:
            self._receiver = receiver
            try:
                receiver.wait(0)  # from here on the server tells what comes …
                self._make_due()  # … and what came since the last visit is fetched now
                while not self._stop.is_set():
                    if receiver.wait(WAIT_SECONDS) and not self._stop.is_set():
                        self._make_due()
            finally:
                self._receiver = None

    def _make_due(self) -> None:
        with connection():
            Side.update(next_try_at=now()).where(
                (Side.id == self._side.id) & Side.down_since.is_null()
            ).execute()
        self._wake.set()
