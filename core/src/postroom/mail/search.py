"""What is searched, bytes or a file of them, and finding lines that begin with hyphens in it: the
delimiters of parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

_STRIDE = 16_384
_FIRST_PIECE = 4_096
_PIECE = 1 << 20


class Source(Protocol):
    """Bytes, or a file of them."""

    def find(self, sub: bytes, start: int, end: int, /) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __len__(self) -> int: ...


def find_line(source: Source, mark: bytes, start: int, end: int) -> int:
    """Return what `source.find(mark, start, end)` does.

    One byte is looked for twenty times as fast as several, and a file in base 64 has no hyphen:
    so only what follows one is searched.

    :param mark: begins with a line end and a hyphen
    """
    while True:
        hyphen = source.find(b"-", start, end)
        if hyphen < 0:
            return -1
        start = max(start, hyphen - 1)
        found = source.find(mark, start, min(end, start + _STRIDE + len(mark) - 1))
        if found >= 0:
            return found
        start += _STRIDE


def search(
    pattern: re.Pattern[bytes], source: Source, start: int, end: int, *, reach: int
) -> tuple[int, int, re.Match[bytes]] | None:
    """Return where begins and ends what `pattern.search(source, start, end)` finds, and that.

    :param reach: no match is longer, what it looks ahead included
    """
    if isinstance(source, bytes):
        match = pattern.search(source, start, end)
        return (match.start(), match.end(), match) if match else None
    size = _FIRST_PIECE
    while start < end:
        before = min(start, 1)  # the start of a piece is not that of the source
        piece = source[start - before : min(end, start + size + reach)]
        match = pattern.search(piece, before)
        if match and match.start() < before + size:
            first = start - before + match.start()
            return first, first + len(match[0]), match
        start += size
        size = min(size * 8, _PIECE)
    return None


def pieces(source: Source, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a range, 1 MiB at once."""
    for at in range(start, end, _PIECE):
        yield source[at : min(end, at + _PIECE)]


def is_nothing_but(these: bytes, source: Source, start: int, end: int) -> bool:
    """Tell whether a range holds no other bytes."""
    if source[start : min(end, start + 1)].strip(these):  # most often
        return False
    return not any(piece.strip(these) for piece in pieces(source, start, end))
