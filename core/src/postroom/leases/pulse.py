"""Tells whether a plugin still comes back: what a session's plugin does, and since when nothing was
heard of it.

Every call that a visit makes into a plugin goes through `WatchedReceiver` or `WatchedSender`. Signs
of life are: it returns, it yields, it asks `wanted`, it writes into a `Spool`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from postroom.api import codes
from postroom.api.errors import TransientError
from postroom.api.transport import (
    CheckStep,
    Delivery,
    Disposition,
    Limits,
    Listed,
    Lookup,
    Outgoing,
    Receiver,
    Sender,
    SendResult,
    Session,
    Settled,
    Unsettled,
    Wanted,
    heart,
)
from postroom.errors import LeaseLostError
from postroom.time_limit import patience

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
_END: Final = object()


class Pulse:
    """Written by the thread of the visit, read by the one that watches it."""

    def __init__(self) -> None:
        self.who = "The plugin"
        """For people: which plugin it is."""
        self.call = ""
        """The plugin's method that runs, or ran last."""
        self.patience = patience()
        self._heard_at: float | None = None
        """By the monotonic clock; None while the plugin has nothing to do."""
        self._given_up: TransientError | None = None
        self._lock = threading.Lock()
        self._is_left_alone = False

    def adapt(self, settings: Any) -> None:
        """Be more patient where an administrator lets the server take its time."""
        timeout = getattr(settings, "timeout_seconds", None)
        if isinstance(timeout, int | float):
            self.patience = max(self.patience, 2.0 * timeout)

    @contextmanager
    def inside(self, call: str) -> Iterator[None]:
        """Watch the block, which calls the plugin."""
        self.call = call
        heart.beat = self.beat
        self._heard_at = time.monotonic()
        try:
            yield
        finally:
            self._came_back()

    def _came_back(self) -> None:
        with self._lock:
            self._heard_at = None
            if self._is_left_alone:
                raise LeaseLostError(f"{self.who} came back after its session was given up.")

    def leave_alone(self) -> bool:
        """Part with a call that does not come back: if it does later, LeaseLostError is raised
        there, and its thread touches nothing.

        :returns: False if no call runs: the thread is at work
        """
        with self._lock:
            self._is_left_alone = self._heard_at is not None
            return self._is_left_alone

    @contextmanager
    def outside(self) -> Iterator[None]:
        """The plugin called the core: what that takes is not the plugin's time."""
        self._came_back()
        try:
            yield
        finally:
            self._heard_at = time.monotonic()

    def silence(self) -> float:
        """Return for how many seconds a call runs of which nothing was heard."""
        heard_at = self._heard_at
        return 0.0 if heard_at is None else time.monotonic() - heard_at

    def stalls(self) -> bool:
        """Say whether nothing was heard of a call for too long."""
        return self.silence() > self.patience

    def give_up(self) -> None:
        """Note that the session is interrupted because nothing was heard of it."""
        self._given_up = TransientError(
            codes.TIMEOUT,
            f"{self.who} gave no sign of life in {self.call} for {self.silence():.0f} s, "
            "so its session was interrupted.",
        )

    def reason(self, error: BaseException) -> BaseException:
        """Return why a visit ended: an interrupted session says only that it was interrupted."""
        if self._given_up is None:
            return error
        self._given_up.__cause__ = error if error is not self._given_up else None
        return self._given_up

    def check(self) -> None:
        """Refuse to take for a success what was interrupted.

        :raises TransientError:
        """
        if self._given_up is not None:
            raise self._given_up

    def beat(self) -> None:
        """Note a sign of life in the middle of a call."""
        if self._heard_at is not None:
            self._heard_at = time.monotonic()

    def each(self, call: str, start: Callable[[], Iterable[Item]]) -> Iterator[Item]:
        """Yield what the plugin yields; between two of them the plugin has nothing to do."""
        with self.inside(call):
            items = iter(start())
        try:
            while True:
                self._heard_at = time.monotonic()  # as `inside`, which costs more for each item
                try:
                    item = next(items, _END)
                finally:
                    self._came_back()
                if item is _END:
                    self.check()
                    return
                yield item  # type: ignore[misc]  # only `_END` is none of the plugin's
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                with self.inside(call):
                    close()


class _Watched:
    """What both kinds of sessions have in common."""

    _session: Session

    def __init__(self, session: Any, pulse: Pulse) -> None:
        self._session = session
        self._pulse = pulse
        self._interruption: threading.Thread | None = None

    def check(self) -> Iterator[CheckStep]:
        return self._pulse.each("check", self._session.check)

    def interrupt(self) -> None:
        """Ask the plugin to; returns at once, for it may hang in this too."""
        if self._interruption is None or not self._interruption.is_alive():
            self._interruption = interrupt_aside(self._session)

    def close(self) -> None:
        with self._pulse.inside("close"):
            self._session.close()


class WatchedReceiver(_Watched, Receiver):
    """A receiver as it is, with every call into it timed."""

    _session: Receiver

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        def ask(page: Sequence[Listed]) -> Collection[str]:
            with self._pulse.outside():
                return wanted(page)

        def start() -> Iterator[Delivery]:
            return self._session.fetch(cursor, limits=limits, wanted=ask)

        return self._pulse.each("fetch", start)

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        return self._pulse.each("settle", lambda: self._session.settle(refs, disposition))

    def list_refs(self) -> Iterator[Listed]:
        return self._pulse.each("list_refs", self._session.list_refs)


class WatchedSender(_Watched, Sender):
    """A sender as it is, with every call into it timed."""

    _session: Sender

    def prepare(self, outgoing: Outgoing) -> str | None:
        with self._pulse.inside("prepare"):
            return self._session.prepare(outgoing)

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        with self._pulse.inside("send"):
            return self._session.send(outgoing, handle)

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        with self._pulse.inside("find_sent"):
            return self._session.find_sent(message_id, handle)


def interrupt_aside(session: Session) -> threading.Thread:
    """Interrupt a session from a thread of its own: nobody waits for a plugin that hangs."""

    def interrupt() -> None:
        try:
            session.interrupt()
        except BaseException:  # a plugin's; nothing is left to be done about it
            logger.exception("A session could not be interrupted")

    thread = threading.Thread(target=interrupt, name="interrupt", daemon=True)
    thread.start()
    return thread
