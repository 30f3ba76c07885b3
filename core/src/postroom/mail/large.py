"""Reads a message whatever its size.

A large message is read from its file, never held whole. What makes it large is nearly always a file
in base 64: the reader gets a copy of the message in which most of each such run is replaced by one
line that occurs nowhere else, a *mark*. Where the marks come back, in attachments, size and digest
are those of the bytes that belong there. Where a mark comes back anywhere else, or not once, the
message is read whole instead: the result is the same for every message, only the memory differs.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from postroom.mail import identity, parsing
from postroom.mail.cms import is_signed
from postroom.mail.message import Attachment, ParsedMessage
from postroom.mail.ondisk import FileBytes, OnDisk
from postroom.mail.runs import Piece, find_runs
from postroom.mail.transfer import decode_base64

CUT_ABOVE = 1 << 20
"""A run of base 64 longer than this is cut; a message that is not even so long is read whole."""
_KEPT = 131_072
"""Bytes that stay at the beginning of a run: more than anyone looks at the beginning of a part."""
_PIECE = 1 << 20
_LOOKED_INTO = (
    *("text/", "message/delivery-status", "message/partial", "application/pgp"),
    *("application/ms-tnef", "application/vnd.ms-tnef"),
)


def opened(raw: bytes | OnDisk | Pages) -> bytes | Pages:
    """Return what `parse` and `fingerprint` read; both of the same, so that it is read once."""
    return raw if isinstance(raw, bytes) else as_pages(raw)


def as_pages(raw: OnDisk | Pages) -> Pages:
    """Return pages of a file; pages as they are, with what they know of it by now."""
    return raw if isinstance(raw, Pages) else Pages(raw)


def parse(raw: bytes | OnDisk | Pages) -> ParsedMessage:
    """Return what the message says; of one on disk, large attachments have no content."""
    source = opened(raw)
    if isinstance(source, bytes) or len(source) <= CUT_ABOVE:
        return parsing.parse(source[:])
    cuts = list(_cuts(source))
    parsed = _parsed_abridged(source, cuts) if cuts else None
    return parsed or parsing.parse(source[:])


def fingerprint(raw: bytes | OnDisk | Pages) -> str:
    """Return the key of the message's content, see `identity`."""
    source = opened(raw)
    if isinstance(source, bytes):
        return identity.fingerprint(source)
    begun = {run.start: (run.end - len(run.line_end), run.content) for run in source.runs}
    return identity.fingerprint(source if len(source) > CUT_ABOVE else source[:], begun)


@dataclass(slots=True)
class _Run:
    """Lines of base 64 that are all as long, with a digest made while they were recognised."""

    start: int
    line_bytes: int
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


class Pages(FileBytes):
    """A message that is a file, with its digest and the runs of base 64 in it.

    The digest is made of what is read anyway, while it is in the processor's cache.
    """

    def __init__(self, file: OnDisk) -> None:
        super().__init__(file)
        self._digest = hashlib.sha256()
        self._digested = 0
        self._found: list[_Run] = []
        self._is_all_found = False

    def __getitem__(self, key: slice, /) -> bytes:
        read = super().__getitem__(key)
        start = key.indices(len(self))[0]
        if start <= self._digested < start + len(read):
            self._digest.update(memoryview(read)[self._digested - start :])
            self._digested = start + len(read)
        return read

    @property
    def sha256(self) -> str:
        """Hex digest of all bytes; reads those at the end that were not read yet."""
        for _ in self.pieces(self._digested, len(self)):
            pass  # it is enough that they are read
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
                found.append(_Run(piece.start, piece.line_bytes, piece.line_end))
            found[-1].add(piece)
            yield piece
        self._is_all_found = True

    @property
    def runs(self) -> list[_Run]:
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

    def _run_behind(self, place: int) -> _Run | None:
        """Return the first run, of those that are known by now, that ends behind a place."""
        number = bisect_right(self._found, place, key=lambda run: run.end)
        return self._found[number] if number < len(self._found) else None


@dataclass(frozen=True, slots=True)
class _Cut:
    """The lines of a run that the copy lacks; `token` (48 bytes) stands for what they say."""

    run: _Run
    start: int
    token: bytes

    @property
    def mark(self) -> bytes:
        """The line that stands in their place."""
        return b2a_base64(self.token, newline=False) + self.run.line_end

    def lines(self, pages: Pages) -> Iterator[bytes]:
        """Yield the bytes that were cut out."""
        line_bytes = self.run.line_bytes
        return pages.pieces(self.start, self.run.end, _PIECE // line_bytes * line_bytes)

    def decoded(self, pages: Pages) -> Iterator[bytes]:
        """Yield what they say."""
        return map(decode_base64, self.lines(pages))

    def is_all_before(self, content: bytes, pages: Pages) -> bool:
        """Tell whether the content is what the run says before the cut."""
        return content == decode_base64(pages[self.run.start : self.start])


def _cuts(pages: Pages) -> Iterator[_Cut]:
    """Yield what can be cut: of each long run, what is well behind its beginning."""
    for run in pages.runs:
        start = run.start + -(-_KEPT // run.line_bytes) * run.line_bytes
        if run.end - start > CUT_ABOVE:
            token = hashlib.sha384(f"{pages.sha256} {start}".encode()).digest()
            yield _Cut(run, start, token)


def _parsed_abridged(pages: Pages, cuts: Sequence[_Cut]) -> ParsedMessage | None:
    """Return what the message says, read from a copy without the cuts; None if that is not sure."""
    edges = [0, *(edge for cut in cuts for edge in (cut.start, cut.run.end)), len(pages)]
    kept = [pages[start:end] for start, end in list(pairwise(edges))[::2]]
    marks = [cut.mark for cut in cuts] + [b""]
    parsed = parsing.parse(
        b"".join(part for pair in zip(kept, marks, strict=True) for part in pair)
    )
    left = list(cuts)
    attachments = [_restored(attachment, left, pages) for attachment in parsed.attachments]
    if left or None in attachments:
        return None
    return replace(parsed, attachments=tuple(filter(None, attachments)))


def _restored(attachment: Attachment, left: list[_Cut], pages: Pages) -> Attachment | None:
    """Return the attachment as it is without cuts, and take those in it out of `left`; None if
    more than its size depends on what was cut."""
    count = len(left)
    digest, size = _digested(attachment.content, left, pages)
    if len(left) == count:
        return attachment
    if _is_looked_into(attachment):
        return None
    return replace(attachment, size=size, sha256=digest.hexdigest(), content=b"")


def _is_looked_into(attachment: Attachment) -> bool:
    """Tell whether it may be read for text, or for files or a signed mail in it; see `bodies`."""
    if attachment.content_type.startswith(_LOOKED_INTO):
        return True
    return attachment.filename.lower() == "winmail.dat" or is_signed(attachment.content)


def _digested(content: bytes, left: list[_Cut], pages: Pages) -> tuple[hashlib._Hash, int]:
    """Return digest and size of the content with what was cut out in its place: decoded, or as
    lines where the part was not in base 64 itself (a forwarded message, say)."""
    digest, size, done = hashlib.sha256(), 0, 0
    while left:
        cut = left[0]
        mark, missing = cut.token, cut.decoded
        place = content.find(mark, done)
        is_known = place >= 0 and not done and cut.is_all_before(content[:place], pages)
        if place < 0:
            mark, missing = cut.mark, cut.lines
            place = content.find(mark, done)
        if place < 0:
            break
        del left[0]
        if is_known:
            digest, size = cut.run.content.copy(), cut.run.size
        else:
            for piece in (content[done:place], *missing(pages)):
                digest.update(piece)
                size += len(piece)
        done = place + len(mark)
    digest.update(content[done:])
    return digest, size + len(content) - done


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
