"""What a server asks for when there is too much: a pause, and so many requests at once.

Several sessions of several processes may work on one mailbox: retrieval, sending, a watcher, the
doctor. So a `Gate` keeps what they share in a file: byte locks for the requests that are under
way, and until when to wait. Locks end with the process that holds them; the time outlives it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # no such locks on Windows: there the gate is the process's own
    fcntl = None  # type: ignore[assignment]

LONGEST_PAUSE: Final = 24 * 3600.0
"""Seconds; a server that asks for more is asked again then."""
MARGIN: Final = 0.25
"""Seconds more than the server asked for: it may count from when its answer has left, and tick a
little slower than we do."""
REST: Final = 1.0
"""Seconds for which the slot of a request stays taken that was left without its whole answer: the
server may be at work on it yet."""
_DATE_RESOLUTION: Final = 1.0
_STEP: Final = 5.0
"""After a pause one request at a time passes; every so many seconds one more. What is on its way
when the server begins to throttle comes too early, and nobody can call it back."""
_POLL: Final = 0.02
SHARED: Final = Path("/dev/shm")  # noqa: S108 - only a folder of this user's own is used in it
_USUAL: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108
_MOST_AT_ONCE: Final = 15
_PAUSE_LOCK: Final = 15
_PAUSE: Final = struct.Struct("=dd")
_PAUSE_AT: Final = 16
_MARK: Final = struct.Struct("=d")
_MARKS_AT: Final = 32
"""For each slot: from when it may be taken; infinite while a request is under way."""
_SIZE: Final = _MARKS_AT + _MOST_AT_ONCE * _MARK.size


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds of Retry-After (RFC 9110 section 10.2.3), None without a usable one.

    A date has whole seconds, and so has the Date that it is compared with: what both may lack is
    added.

    :param headers: of an answer; looked up by the names ``Retry-After`` and ``Date``
    :param now: for answers without a Date
    """
    value = str(headers.get("Retry-After") or "").strip()
    try:
        seconds = float(value)
    except ValueError:
        moment = _date(value)
        if moment is None:
            return None
        answered = _date(str(headers.get("Date") or "")) or now
        seconds = max((moment - answered).total_seconds(), 0.0) + _DATE_RESOLUTION
    return min(seconds, LONGEST_PAUSE) if 0 <= seconds < math.inf else None


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return found if found.tzinfo else None


class PausedError(Exception):
    """It is not time yet. `seconds`: how long to wait, 0 if only others have to end first."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s")
        self.seconds = seconds


class InterruptedGateError(Exception):
    """The session was interrupted while it waited."""


class Passage:
    """The right to make one request, of which others are told by `begin` and `end`."""

    def __init__(self, gate: Gate, slot: int) -> None:
        self._gate, self._slot = gate, slot
        self.has_begun = False
        """Whether the request may have reached the server."""
        self.has_ended = False

    def begin(self) -> None:
        """Say that the request's first byte is written now: to be called when the connection
        stands, for while it was made the server may have asked for a pause.

        :raises PausedError: not now
        """
        self._gate._begin(self._slot)
        self.has_begun = True

    def end(self) -> None:
        """Say that the server has answered and is done. Without it the slot rests for a while."""
        self.has_ended = True


class Gate:
    """What all requests about one thing pass, a mailbox say. Safe to use from any thread.

    Get one by `borrow`.

    :param at_once: how many requests may be under way at once, 15 at most
    """

    def __init__(self, key: str, at_once: int) -> None:
        self.key, self.at_once = key, min(at_once, _MOST_AT_ONCE)
        self.users = 0
        self._lock = threading.Lock()
        self._free = list(range(self.at_once))
        self._pause = (0.0, 0.0)
        self._file = _open_file(key)
        self._memory = bytearray(_SIZE)
        """Instead of the file, where there is none."""

    @contextlib.contextmanager
    def passed(self, interrupted: threading.Event) -> Iterator[Passage]:
        """Hold one of the slots for the block.

        :raises PausedError: it is not time yet
        :raises InterruptedGateError: `interrupted` was set
        """
        while (slot := self._take()) is None:
            if interrupted.wait(_POLL):
                raise InterruptedGateError
        passage = Passage(self, slot)
        try:
            if interrupted.is_set():
                raise InterruptedGateError
            yield passage
        finally:
            self._give_back(slot, rests=passage.has_begun and not passage.has_ended)

    def check(self) -> None:
        """Do nothing, unless a pause is on: for requests that need no slot.

        :raises PausedError: it is not time yet
        """
        if (left := self.remaining()) > 0:
            raise PausedError(left)

    def pause(self, seconds: float) -> None:
        """Let nobody pass for so long; a longer pause that was set before stays."""
        with self._lock, self._pause_locked():
            now = time.monotonic()
            until = now + min(seconds, LONGEST_PAUSE) + MARGIN
            if until > self._paused_until():
                self._pause = (now, until)
                self._write(_PAUSE_AT, _PAUSE.pack(now, until))

    def remaining(self) -> float:
        """Return for how many seconds nobody may pass."""
        with self._lock:
            return self._remaining()

    def _close(self) -> None:
        """Close the file; what it says stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def _is_needed(self) -> bool:
        """Whether the object holds what no file does."""
        return self.users > 0 or (self._file is None and self.remaining() > 0)

    # ------------------------------------------------------------------ slots

    def _take(self) -> int | None:
        with self._lock:
            if (left := self._remaining()) > 0:
                raise PausedError(left)
            allowed = self._allowed()
            for slot in self._free:
                if slot < allowed and self._is_locked(slot):
                    self._free.remove(slot)
                    return slot
        return None

    def _is_locked(self, slot: int) -> bool:
        """Lock a slot that neither another process holds nor an abandoned request."""
        if not self._lock_byte(slot):
            return False
        if self._has_rested(slot):
            return True
        self._unlock_byte(slot)
        return False

    def _has_rested(self, slot: int) -> bool:
        now = time.monotonic()
        (free_at,) = _MARK.unpack(self._read(_MARKS_AT + slot * _MARK.size, _MARK.size))
        if math.isinf(free_at):  # its holder died in the middle of a request
            self._mark(slot, now + REST)
            return False
        return not now < free_at <= now + REST

    def _begin(self, slot: int) -> None:
        with self._lock:
            left = self._remaining()
            if left > 0 or slot >= self._allowed():
                raise PausedError(left)
            self._mark(slot, math.inf)

    def _give_back(self, slot: int, *, rests: bool) -> None:
        with self._lock:
            self._mark(slot, time.monotonic() + REST if rests else 0.0)
            self._unlock_byte(slot)
            self._free.append(slot)

    def _mark(self, slot: int, free_at: float) -> None:
        self._write(_MARKS_AT + slot * _MARK.size, _MARK.pack(free_at))

    # ------------------------------------------------------------------ the pause

    def _remaining(self) -> float:
        return max(self._paused_until() - time.monotonic(), 0.0)

    def _allowed(self) -> int:
        until = self._paused_until()
        return self.at_once if not until else 1 + int((time.monotonic() - until) / _STEP)

    def _paused_until(self) -> float:
        """Return when the last pause is over, or was; 0 if there was none."""
        now = time.monotonic()
        pauses = [self._pause, _PAUSE.unpack(self._read(_PAUSE_AT, _PAUSE.size))]
        # monotonic time is the machine's; what was set later than now is from before its start
        return max(until if set_at <= now else 0.0 for set_at, until in pauses)

    # ------------------------------------------------------------------ the file

    @contextlib.contextmanager
    def _pause_locked(self) -> Iterator[None]:
        """Let no other process write the pause meanwhile: the longest has to stay."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _PAUSE_LOCK)
        try:
            yield
        finally:
            self._unlock_byte(_PAUSE_LOCK)

    def _lock_byte(self, slot: int) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        return True

    def _unlock_byte(self, slot: int) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)

    def _read(self, at: int, size: int) -> bytes:
        found = b"" if self._file is None else os.pread(self._file, size, at)
        return found if len(found) == size else bytes(self._memory[at : at + size])

    def _write(self, at: int, data: bytes) -> None:
        self._memory[at : at + len(data)] = data
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: this process knows at least
                os.pwrite(self._file, data, at)


_gates: dict[str, Gate] = {}
_gates_lock = threading.Lock()


def borrow(key: str, *, at_once: int = _MOST_AT_ONCE) -> Gate:
    """Return the gate of what `key` names, to be given back.

    :param key: the server's URL and the mailbox, say; the same for all who are to share the gate,
        in whatever process of this user
    :param at_once: how many requests may be under way at once, 15 at most
    """
    with _gates_lock:
        gate = _gates.get(key) or _gates.setdefault(key, Gate(key, at_once))
        gate.users += 1
        return gate


def give_back(gate: Gate) -> None:
    """Forget a gate that nobody uses any more."""
    with _gates_lock:
        gate.users -= 1
        if not gate._is_needed:
            gate._close()
            _gates.pop(gate.key, None)


def _folder() -> Path | None:
    """Return the folder of this user's files, None where there is none that only they may use."""
    if fcntl is None:
        return None
    folder = _shared_place() / f"postroom-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_ours and folder.is_dir() and not folder.is_symlink() else None


def _shared_place() -> Path:
    """Return the folder for temporary files; where none was chosen, one that a service whose /tmp
    is its own (systemd's PrivateTmp) shares with all others."""
    chosen = Path(tempfile.gettempdir())
    is_better = chosen in _USUAL and os.access(SHARED, os.W_OK | os.X_OK)
    return SHARED if is_better else chosen


def _open_file(key: str) -> int | None:
    folder = _folder()
    if folder is None:
        return None
    path = folder / hashlib.sha256(f"{_boot()}|{key}".encode()).hexdigest()[:32]
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.ftruncate(file, _SIZE)
    return file


def _boot() -> str:
    """Return what names this start of the machine, whose clock the times in a file are by."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
