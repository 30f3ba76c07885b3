"""Calls foreign code with a limit on its time. A thread cannot be stopped, so one that does not
come back is left behind; when several are, the code is not called again before one ends."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_LEFT_BEHIND: Final = 4
_DAY: Final = 86_400
logger = logging.getLogger(__name__)


def patience() -> float:
    """Return for how many seconds nothing may be heard of a plugin's session."""
    return _seconds(os.environ.get("POSTROOM_STALL_SECONDS") or "120")


@cache  # and so what is wrong is told once
def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 1 <= (seconds := float(text)) <= _DAY:
            return seconds
    logger.warning(
        "POSTROOM_STALL_SECONDS has to be a number of seconds from 1 to %d; 120 is used", _DAY
    )
    return 120.0


class LateError(TimeoutError):
    """The code did not come back in time.

    :param was_called: False: it was passed over, because several calls before still run
    :param is_last: it is passed over from now on
    """

    def __init__(self, *, was_called: bool, is_last: bool = False) -> None:
        super().__init__()
        self.was_called = was_called
        self.is_last = is_last


class TimeLimit:
    """A limit for one piece of code, shared by the threads that call it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._late = 0

    def call(self, function: Callable[[], T]) -> T:
        """Return what the function returns, or raise what it raises.

        :raises LateError: it did not come back in time, or several calls before it still run
        """
        if self._late >= _LEFT_BEHIND:
            raise LateError(was_called=False)
        call = Call(function)
        thread = threading.Thread(target=self._work, args=(call,), name="postroom-plugin")
        thread.daemon = True  # else one that hangs would keep the process from ending
        thread.start()
        if not call.done.wait(self._seconds):
            with self._lock:
                if not call.done.is_set():
                    call.is_late = True
                    self._late += 1
                    raise LateError(was_called=True, is_last=self._late >= _LEFT_BEHIND)
        return call.result()

    def _work(self, call: Call[T]) -> None:
        call.run()
        with self._lock:
            call.done.set()
            self._late -= call.is_late


class Call(Generic[T]):
    """A call of a function in another thread, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.done = threading.Event()
        self.is_late = False
        self._function = function
        self._value: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Call it."""
        try:
            self._value.append(self._function())
        except BaseException as error:  # raised again in the caller's thread
            self._error = error

    def result(self) -> T:
        """Return what the function returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._value[0]
