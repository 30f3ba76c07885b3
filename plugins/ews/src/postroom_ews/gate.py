"""How many connections this process holds with a server, whatever number of mailboxes is there.

Exchange counts connections for each account (EWSMaxConcurrency, 27 by default) and open streams
(HangingConnectionLimit, 10 by default; 3 in Exchange 2013).
"""

from __future__ import annotations

import threading
import time
from typing import Final

WORKING: Final = 10
WAITING: Final = 10
"""For sessions that wait for notifications; who gets none polls."""
_POLL: Final = 0.05


class Gate:
    """A number of slots. Safe to use from any thread."""

    def __init__(self, slots: int) -> None:
        self._free = threading.BoundedSemaphore(slots)

    def enter(self, interrupted: threading.Event, timeout: float) -> bool:
        """Take a slot, within `timeout` seconds unless interrupted; tell whether there was one."""
        deadline = time.monotonic() + timeout
        while not self._free.acquire(blocking=False):
            if interrupted.wait(_POLL) or time.monotonic() >= deadline:
                return False
        return True

    def leave(self) -> None:
        """Give the slot back."""
        self._free.release()


_gates: dict[tuple[str, int, bool], Gate] = {}
_lock = threading.Lock()


def gate_of(host: str, port: int, *, waiting: bool = False) -> Gate:
    """Return the gate of a server, one for work and one for waiting."""
    with _lock:
        key = (host.lower(), port, waiting)
        if key not in _gates:
            _gates[key] = Gate(WAITING if waiting else WORKING)
        return _gates[key]
