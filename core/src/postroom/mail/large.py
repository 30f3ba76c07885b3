"""Reads a message whatever its size.

A large message is read from its file, never held whole: its parts are found in the file, of a text
no more is read than is kept, and of files in it size and digest are made in pieces. What it says
comes to the same as if it was read whole.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

from postroom.mail import identity, parsing
from postroom.mail.decoding.runs import PIECE, Piece, Run, find_runs
from postroom.mail.message import ParsedMessage
from postroom.mail.ondisk import FileBytes, OnDisk

WHOLE = 1 << 20
"""A message that is no longer is read whole."""


def opened(raw: bytes | OnDisk | Pages) -> bytes | Pages:
    """Return what `parse` and `fingerprint` read; both of the same, so that it is read once."""
    return raw if isinstance(raw, bytes) else as_pages(raw)


def as_pages(raw: OnDisk | Pages) -> Pages:
    """Return pages of a file; pages as they are, with what they know of it by now."""
    return raw if isinstance(raw, Pages) else Pages(raw)


def parse(raw: bytes | OnDisk | Pages) -> ParsedMessage:
    """Return what the message says; of one on disk, large attachments have no content."""
    source = opened(raw)
    if isinstance(source, bytes) or len(source) <= WHOLE:
        return parsing.parse(source[:])
    return parsing.parse_on_disk(source, {run.start: run for run in source.runs})


def fingerprint(raw: bytes | OnDisk | Pages) -> str:
    """Return the key of the message's content, see `identity`."""
    source = opened(raw)
    if isinstance(source, bytes):
        return identity.fingerprint(source)
    begun = {run.start: (run.end - len(run.line_end), run.content) for run in source.runs}
    return identity.fingerprint(source if len(source) > WHOLE else source[:], begun)


class Pages(FileBytes):
    """A message that is a file, with its digest and the runs of base 64 in it.

    The digest is made of what is read anyway, while it is in the processor's cache.
    """

    def __init__(self, file: OnDisk) -> None:
        super().__init__(file)
        self._digest = hashlib.sha256()
        self._digested = 0
        self._found: list[Run] = []
        self._is_all_found = False

    def _load(self, start: int, stop: int) -> bytes:
        read = super()._load(start, stop)
        if start <= self._digested < start + len(read):
            self._digest.update(memoryview(read)[self._digested - start :])
            self._digested = start + len(read)
        return read

    @property
    def sha256(self) -> str:
        """Hex digest of all bytes; reads those at the end that were not read yet."""
        while self._digested < len(self):
            self._load(self._digested, min(len(self), self._digested + PIECE))
        return self._digest.hexdigest()

    def find_runs(self) -> Iterator[Piece]:
        """Yield the pieces of all runs, in order; the first time, the runs are noted."""
        if self._is_all_found:
            yield from find_runs(self)
            return
        found = self._found
        found.clear()
        for piece in find_runs(self):
            if not found or found[-1].end != piece.start:
                found.append(Run(piece.start, piece.line_end))
            found[-1].add(piece)
            yield piece
        self._is_all_found = True

    @property
    def runs(self) -> list[Run]:
        """All of them, in order."""
        if not self._is_all_found:
            for _ in self.find_runs():
                pass  # it is enough that they are noted
        return self._found

    def find(self, sub: bytes, start: int, end: int, /) -> int:
        """As `bytes.find`."""
        while sub == b"-" and (run := self._run_behind(start)) and run.start < end:
            found = super().find(sub, start, run.start)
            if found >= 0:
                return found
            start = run.end  # there is none in it
        return super().find(sub, start, end)

    def _run_behind(self, place: int) -> Run | None:
        """Return the first run, of those that are known by now, that ends behind a place."""
        number = bisect_right(self._found, place, key=lambda run: run.end)
        return self._found[number] if number < len(self._found) else None


def unreadable() -> ParsedMessage:
    """Return a stand-in for a message that cannot be understood: its raw bytes are kept."""
    text = "This message could not be converted. Its raw bytes are kept as they came."
    return replace(
        parsing.parse(b""),
        subject="A message that could not be converted",
        text=text,
        reply_text=text,
        may_auto_reply=False,
        problems=("It could not be converted.",),
    )
