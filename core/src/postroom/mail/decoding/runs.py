"""Finds runs of base 64 in large messages, and decodes them on the way.

What makes a message large is nearly always a file in base 64: lines that are all as long, and hold
nothing but its letters. Such a run can be put back from what it says, byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from postroom.mail.decoding.transfer import decode_letters
from postroom.mail.search import Source, find_line

PIECE = 1 << 20
"""So many bytes are decoded at once: they are in the processor's cache for what comes next."""
NEAR = 65_536
"""A stretch of a message between delimiters that is shorter is not looked at."""
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FIRST_LINE = re.compile(rb"([A-Za-z0-9+/]{4,1000})(\r?\n)")


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of a run, where they are and what they say."""

    start: int
    end: int
    line_bytes: int
    line_end: bytes
    decoded: bytes


@dataclass(slots=True)
class Run:
    """Lines of base64 that are all as long, with a digest made while they were recognised."""

    start: int
    line_end: bytes
    end: int = 0
    size: int = 0
    content: hashlib._Hash = field(default_factory=hashlib.sha256)
    """Of the `size` bytes that the lines say."""

    def add(self, piece: Piece) -> None:
        """Take in the piece that follows."""
        self.end = piece.end
        self.size += len(piece.decoded)
        self.content.update(piece.decoded)


def find_runs(source: Source) -> Iterator[Piece]:
    """Yield the pieces of all runs, in order; reads each byte of the source once or twice.

    A run begins behind the blank line that ends the head of a part, and ends with its last whole
    line at the latest. There is no hyphen in it, so no delimiter.
    """
    begin = 0
    while len(source) - begin > NEAR:
        near = source[begin : begin + NEAR + 3]
        line = near.rfind(b"\n--")
        if line >= 0:  # what ends there, or before, is not long
            begin += line + 3
            continue
        behind = begin + len(near) - 3
        for piece in _pieces(source, begin, near):
            yield piece
            behind = max(behind, piece.end - 1)
        found = find_line(source, b"\n--", behind, len(source))
        if found < 0:
            return
        begin = found + 3


def _pieces(source: Source, begin: int, near: bytes) -> Iterator[Piece]:
    """Yield the run of one part: in large pieces, and towards its end in ever smaller ones."""
    blank = _END_OF_HEAD.search(near)
    first = blank and _FIRST_LINE.match(near, blank.end())
    if not blank or not first or len(first[1]) % 4:
        return
    line_bytes, line_end = len(first[0]), first[2]
    at = begin + blank.end()
    size = PIECE // line_bytes * line_bytes
    while size:
        lines = _before_hyphen(source[at : at + size], line_bytes)
        decoded = _decoded(lines, line_bytes, line_end)
        if decoded is None:
            size = len(lines) // line_bytes // 2 * line_bytes
            continue
        yield Piece(at, at + len(lines), line_bytes, line_end, decoded)
        at += len(lines)


def _before_hyphen(some: bytes, line_bytes: int) -> bytes:
    """Return the whole lines before what is surely no part of a run."""
    hyphen = some.find(b"-")
    end = len(some) if hyphen < 0 else hyphen
    return some[: end // line_bytes * line_bytes]


def _decoded(lines: bytes, line_bytes: int, line_end: bytes) -> bytes | None:
    """Return what the lines say; None if there are none, or they are not all as long, or anything
    but base 64."""
    count = len(lines) // line_bytes
    if not count:
        return None
    letters = line_bytes - len(line_end)
    ends = (lines[letters + place :: line_bytes] for place in range(len(line_end)))
    if any(found != line_end[place : place + 1] * count for place, found in enumerate(ends)):
        return None
    try:
        decoded = decode_letters(_without_ends(lines, letters, line_bytes))
    except ValueError:
        return None
    return decoded if len(decoded) == count * letters // 4 * 3 else None


def _without_ends(lines: bytes, letters: int, line_bytes: int) -> bytearray:
    """Take the ends out, which takes a fifth of the time of skipping them while decoding."""
    left = bytearray(lines)
    for length in range(line_bytes, letters, -1):
        del left[letters::length]
    return left
