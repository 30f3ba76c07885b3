"""At most four requests at once for a mailbox, and none before the server's time is over.

Exchange Online allows an application four concurrent requests to a mailbox, and counts what is
sent while it throttles (https://learn.microsoft.com/graph/throttling-limits). Several sessions of
several processes may work on one mailbox: retrieval, sending, a watcher, the doctor. So what they
share is kept in a file for each mailbox: four byte locks, and until when to wait. Locks end with
the process that holds them; the time outlives it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # no such locks on Windows: there the gate is the process's own
    fcntl = None  # type: ignore[assignment]

AT_ONCE: Final = 4
LONGEST_PAUSE: Final = 24 * 3600.0
"""Seconds; a server that asks for more is asked again then."""
MARGIN: Final = 0.05
"""Seconds more than the server asked for: its clock may tick a little slower than ours."""
_STEP: Final = 5.0
"""After a pause one request at a time passes; every so many seconds one more. What is on its way
when the server begins to throttle comes too early, and nobody can call it back."""
_POLL: Final = 0.02
_PAUSE: Final = struct.Struct("=dd")
_PAUSE_AT: Final = 16
"""Behind the bytes that are locked."""


class PausedError(Exception):
    """The server asked not to be asked before `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s")
        self.seconds = seconds


class InterruptedGateError(Exception):
    """The session was interrupted while it waited."""


class Gate:
    """What all requests to one mailbox pass. Safe to use from any thread."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.users = 0
        self._lock = threading.Lock()
        self._free = list(range(AT_ONCE))
        self._pause = (0.0, 0.0)
        self._file = _open_file(key)

    @contextlib.contextmanager
    def passed(self, interrupted: threading.Event) -> Iterator[None]:
        """Hold one of the four slots for the block.

        :raises PausedError: it is not time yet
        :raises InterruptedGateError: `interrupted` was set
        """
        while (slot := self._take()) is None:
            if interrupted.wait(_POLL):
                raise InterruptedGateError
        try:
            if interrupted.is_set():
                raise InterruptedGateError
            yield
        finally:
            self._give_back(slot)

    def pause(self, seconds: float) -> None:
        """Let nobody pass for so long; a longer pause that was set before stays."""
        now = time.monotonic()
        until = now + min(seconds, LONGEST_PAUSE) + MARGIN
        with self._lock:
            if until > now + self._remaining():
                self._pause = (now, until)
                self._write()

    def remaining(self) -> float:
        """Return for how many seconds nobody may pass."""
        with self._lock:
            return self._remaining()

    def close(self) -> None:
        """Close the file; what it says stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def is_needed(self) -> bool:
        """Whether the object holds what no file does."""
        return self.users > 0 or (self._file is None and self.remaining() > 0)

    def _take(self) -> int | None:
        with self._lock:
            if (left := self._remaining()) > 0:
                raise PausedError(left)
            allowed = self._allowed()
            for slot in self._free:
                if slot < allowed and self._lock_byte(slot):
                    self._free.remove(slot)
                    return slot
        return None

    def _give_back(self, slot: int) -> None:
        with self._lock:
            if self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)
            self._free.append(slot)

    def _lock_byte(self, slot: int) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        return True

    def _remaining(self) -> float:
        return max(self._paused_until() - time.monotonic(), 0.0)

    def _allowed(self) -> int:
        until = self._paused_until()
        return AT_ONCE if not until else 1 + int((time.monotonic() - until) / _STEP)

    def _paused_until(self) -> float:
        """Return when the last pause is over, or was; 0 if there was none."""
        now = time.monotonic()
        pauses = [self._pause]
        if self._file is not None:
            written = os.pread(self._file, _PAUSE.size, _PAUSE_AT)
            if len(written) == _PAUSE.size:
                pauses.append(_PAUSE.unpack(written))
        # monotonic time is the machine's; what was set later than now is from before its start
        return max(until if set_at <= now else 0.0 for set_at, until in pauses)

    def _write(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: this process knows at least
                os.pwrite(self._file, _PAUSE.pack(*self._pause), _PAUSE_AT)


_gates: dict[str, Gate] = {}
_gates_lock = threading.Lock()


def borrow(key: str) -> Gate:
    """Return the gate of a mailbox, to be given back."""
    with _gates_lock:
        gate = _gates.get(key) or _gates.setdefault(key, Gate(key))
        gate.users += 1
        return gate


def give_back(gate: Gate) -> None:
    """Forget a gate that nobody uses any more."""
    with _gates_lock:
        gate.users -= 1
        if not gate.is_needed:
            gate.close()
            _gates.pop(gate.key, None)


def _folder() -> Path | None:
    """Return the folder of this user's files, None where there is none that only they may use."""
    if fcntl is None:
        return None
    folder = Path(tempfile.gettempdir()) / f"postroom-graph-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_ours and folder.is_dir() and not folder.is_symlink() else None


def _open_file(key: str) -> int | None:
    folder = _folder()
    if folder is None:
        return None
    path = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
