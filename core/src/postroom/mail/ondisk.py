"""A message that is a file, read in pieces: no more of it is in memory than is looked at."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Protocol

_PIECE = 1 << 20
_FIRST_PIECE = 32_768
_WINDOW = 65_536
"""So many bytes are read for a few, and kept: what is looked at next is most often near."""
_BEFORE = 1_024


class OnDisk(Protocol):
    """A message that is a file, as a `Spool` is; see there."""

    def __len__(self) -> int: ...
    def fileno(self) -> int: ...


class FileBytes:
    """The bytes of a file, read when they are asked for.

    :param more: so many bytes behind the message as well
    :raises OSError: by all that reads: the disk is broken
    """

    def __init__(self, file: OnDisk, more: int = 0) -> None:
        self._file = file
        self._size = len(file) + more
        self._window = b""
        self._window_at = 0

    def __len__(self) -> int:
        return self._size

    def fileno(self) -> int:
        """Return the number of the open file."""
        return self._file.fileno()

    def __getitem__(self, key: slice, /) -> bytes:
        start, stop, _ = key.indices(self._size)
        if stop <= start:
            return b""
        if stop - start > _WINDOW:
            return self._load(start, stop)
        if start < self._window_at or stop > self._window_at + len(self._window):
            at = max(0, start - _BEFORE)
            self._window, self._window_at = self._load(at, min(self._size, start + _WINDOW)), at
        return self._window[start - self._window_at : stop - self._window_at]

    def _load(self, start: int, stop: int) -> bytes:
        # not from a map: what that shows counts as ours, and a disk's error would be a signal
        read = _read(self.fileno(), stop - start, start)
        if len(read) < stop - start:
            raise OSError(errno.EIO, "a temporary file gives less than was written to it")
        return read

    def find(self, sub: bytes, start: int, end: int, /) -> int:
        """As `bytes.find`. What is looked for is often near: the first pieces are small."""
        at = self._window_at
        if at <= start < min(end, at + len(self._window)):
            found = self._window.find(sub, start - at, end - at)
            if found >= 0:
                return at + found
            start = max(start, at + len(self._window) - len(sub) + 1)
        size = _FIRST_PIECE
        while start < end:
            found = self[start : min(end, start + size + len(sub) - 1)].find(sub)
            if found >= 0:
                return start + found
            start += size
            size = min(size * 8, _PIECE)
        return -1

    def pieces(self, start: int, end: int, size: int = _PIECE) -> Iterator[bytes]:
        """Yield the bytes of a range in pieces of so many bytes."""
        for at in range(start, end, size):
            yield self[at : min(end, at + size)]


def _read(number: int, size: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(number, size, start)
    os.lseek(number, start, os.SEEK_SET)
    return os.read(number, size)
