"""Finds the messages of an mbox file in one pass, without ever holding more than a piece of it.

A message begins with a line that begins with ``From `` and follows an empty line or the beginning
of the file; such a line either has a time and a year in it or is bare, as Thunderbird writes it. So
a paragraph that begins with the word From tears no message apart. Lines end with LF or CRLF.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz

_PIECE = 1 << 20
_LONGEST_LINE = 1000
"""Bytes of a From_ line that are looked at."""
HEAD_BYTES = 4096
"""So much of a From_ line and header tells a message from others."""
_BEFORE = b"\n\n"
"""What stands before the first message, so to say: an empty line."""
_FROM = re.compile(rb"From [^\n]*")
_TIME = re.compile(rb"\b\d?\d:\d\d\b")
_YEAR = re.compile(rb"\b(?:19|20)\d\d\b")
_DATE = re.compile(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b.*")
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Entry:
    """A message in the file: offsets in bytes."""

    start: int
    """Of its From_ line."""
    body: int
    """Of the message itself."""
    end: int
    """Behind it; the empty line that separates it from the next one is not part of it."""
    digest: str
    received_at: datetime | None

    @property
    def ref(self) -> str:
        """Stable while the file grows; another one where the file was rewritten."""
        return f"{self.start};{self.digest}"

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return self.end - self.body


def entries(file: int, begin: int = 0, check: Callable[[], None] = lambda: None) -> Iterator[Entry]:
    """Yield the messages of an open file in its order.

    :param file: a file descriptor; its position is not used
    :param begin: the offset of a From_ line, or 0
    :param check: called now and then; may raise
    """
    starts = from_lines(file, begin, check)
    start = next(starts, None)
    while start is not None:
        following = next(starts, None)
        yield _entry(file, start, following)
        start = following


def from_lines(
    file: int, begin: int = 0, check: Callable[[], None] = lambda: None
) -> Iterator[int]:
    """Yield the offset of every From_ line from `begin` on."""
    window, offset, searched = _BEFORE, begin - len(_BEFORE), 0
    while piece := os.pread(file, _PIECE, offset + len(window)):
        check()
        window += piece
        # A line at the end of the window may go on: it is looked at with the next piece.
        whole = len(window) - _LONGEST_LINE if len(piece) == _PIECE else len(window)
        at = window.find(b"\nFrom ", searched)
        while 0 <= at < whole:
            if _ends_empty_line(window, at) and is_from_line(window[at + 1 : at + _LONGEST_LINE]):
                yield offset + at + 1
            at = window.find(b"\nFrom ", at + 1)
        drop = max(whole - 2, 0)  # two bytes tell whether a line break ends an empty line
        window, offset, searched = window[drop:], offset + drop, whole - drop


def is_from_line(text: bytes) -> bool:
    """Say whether a text begins with a line that begins a message."""
    line = _FROM.match(text)
    if line is None:
        return False
    rest = line[0][5:].strip()
    return not rest or bool(_TIME.search(rest) and _YEAR.search(rest))


def digest(head: bytes) -> str:
    """Return what tells a message from another at the same place: of its From_ line and header."""
    empty_line = _EMPTY_LINE.search(head)
    header = head[: empty_line.end()] if empty_line else head
    return hashlib.sha256(header[:HEAD_BYTES]).hexdigest()[:16]


def received_at(line: bytes) -> datetime | None:
    """Return the date of a From_ line (RFC 4155: in UTC, unless a zone stands there)."""
    date = _DATE.search(line.decode("ascii", "replace"))
    try:
        parsed = parsedate_tz(date[0].strip()) if date else None
        found = datetime.fromtimestamp(mktime_tz(parsed), UTC) if parsed else None
    except (ValueError, OverflowError, OSError):
        return None
    return found if found is not None and 1970 <= found.year < 2100 else None


def _entry(file: int, start: int, following: int | None) -> Entry:
    """Return the message between two From_ lines; the last one ends with the file."""
    end = os.fstat(file).st_size if following is None else following
    end -= _separator(os.pread(file, 4, max(end - 4, start)))
    head = os.pread(file, min(HEAD_BYTES, end - start), start)
    line = head[: head.find(b"\n") + 1] or head
    return Entry(start, start + len(line), end, digest(head), received_at(line))


def _ends_empty_line(window: bytes, at: int) -> bool:
    return window[at - 1 : at] == b"\n" or window[max(at - 2, 0) : at] == b"\n\r"


def _separator(tail: bytes) -> int:
    """Return how many bytes the empty line at the end of a message takes."""
    if tail.endswith((b"\n\n", b"\n\r\n")):
        return 2 if tail.endswith(b"\r\n") else 1
    return 0
