"""Reads a message whatever its size.

A large message is read from its file, never held whole. What makes it large is nearly always a file
in base 64: the reader gets a copy of the message in which most of each such run is replaced by one
line that occurs nowhere else, a *mark*. Where the marks come back, in attachments, size and digest
are those of the bytes that belong there. Where a mark comes back anywhere else, or not once, the
message is read whole instead: the result is the same for every message, only the memory differs.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from postroom.mail import identity, parsing
from postroom.mail.message import Attachment, ParsedMessage
from postroom.mail.search import find_line
from postroom.mail.transfer import decode_base64

CUT_ABOVE = 1 << 20
"""A run of base 64 longer than this is cut."""
_KEPT = 131_072
"""Bytes that stay at the beginning of a run: more than anyone looks at the beginning of a part."""
_FIRST_PIECE = 512
_PIECE = 1 << 20
_LONGEST_HEAD = 65_536
_LOOKED_INTO = (
    *("text/", "message/delivery-status", "message/partial", "application/pgp"),
    *("application/ms-tnef", "application/vnd.ms-tnef"),
)
"""What attachments are read for text or for files in them; see `bodies`."""
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FIRST_LINE = re.compile(rb"([A-Za-z0-9+/]{4,1000})(\r?\n)")


class OnDisk(Protocol):
    """A message that is a file, as a `Spool` is; see there."""

    @property
    def sha256(self) -> str: ...
    def __len__(self) -> int: ...
    def map(self) -> mmap.mmap: ...
    def pieces(self, size: int = ..., /) -> Iterator[bytes]: ...


def parse(raw: bytes | OnDisk) -> ParsedMessage:
    """Return what the message says; of one on disk, large attachments have no content."""
    if isinstance(raw, bytes) or not len(raw):  # what is empty cannot be mapped
        return parsing.parse(raw if isinstance(raw, bytes) else b"")
    pages = _Pages(raw.map())
    cuts = list(_cuts(pages, raw.sha256))
    parsed = _parsed_abridged(pages, cuts) if cuts else None
    return parsed or parsing.parse(pages[:])


def fingerprint(raw: bytes | OnDisk) -> str:
    """Return the key of the message's content, see `identity`."""
    if isinstance(raw, bytes) or not len(raw):
        return identity.fingerprint(raw if isinstance(raw, bytes) else b"")
    return identity.fingerprint(_Pages(raw.map()))


class _Pages:
    """A mapped file, read in pieces; what was read does not stay in memory."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._read = 0

    def __len__(self) -> int:
        return len(self._mapped)

    def __getitem__(self, key: slice, /) -> bytes:
        start, stop, _ = key.indices(len(self))
        read = self._mapped[start:stop]
        self._read += len(read)
        if self._read >= _PIECE:
            self._let_go()
        return read

    def find(self, sub: bytes, start: int, end: int, /) -> int:
        """As `bytes.find`. What is looked for is often near: the first pieces are small."""
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

    def _let_go(self) -> None:
        self._read = 0
        if hasattr(mmap, "MADV_DONTNEED"):  # Linux counts mapped pages as ours until told
            self._mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Whole lines of base 64 that the copy lacks; `token` (48 bytes) stands for what they say."""

    start: int
    end: int
    line_bytes: int
    line_end: bytes
    token: bytes

    @property
    def mark(self) -> bytes:
        """The line that stands in their place."""
        return b2a_base64(self.token, newline=False) + self.line_end

    def lines(self, pages: _Pages) -> Iterator[bytes]:
        """Yield the bytes that were cut out."""
        return pages.pieces(self.start, self.end, _PIECE // self.line_bytes * self.line_bytes)

    def decoded(self, pages: _Pages) -> Iterator[bytes]:
        """Yield what they say."""
        return map(decode_base64, self.lines(pages))


def _cuts(pages: _Pages, seed: str) -> Iterator[_Cut]:
    """Yield what can be cut: within a part, well behind the blank line that begins its body."""
    for start, end in _stretches(pages):
        head = pages[start : min(end, start + _LONGEST_HEAD)]
        blank = _END_OF_HEAD.search(head)
        first = blank and _FIRST_LINE.match(head, blank.end())
        if not blank or not first or len(first[1]) % 4:
            continue
        line_bytes, line_end = len(first[0]), first[2]
        begin = start + blank.end() + -(-_KEPT // line_bytes) * line_bytes
        stop = _end_of_run(pages, start + blank.end(), end, line_bytes, line_end)
        if stop - begin > CUT_ABOVE:
            token = hashlib.sha384(f"{seed} {begin}".encode()).digest()
            yield _Cut(begin, stop, line_bytes, line_end, token)


def _stretches(pages: _Pages) -> Iterator[tuple[int, int]]:
    """Yield the long stretches between lines that could be delimiters."""
    begin = 0
    while len(pages) - begin > CUT_ABOVE:
        near = pages[begin : begin + CUT_ABOVE + 3].rfind(b"\n--")
        if near >= 0:  # what ends there, or before, is not long
            begin += near + 3
            continue
        found = find_line(pages, b"\n--", begin, len(pages))
        end = found if found >= 0 else len(pages)
        yield begin, end
        begin = end + 3


def _end_of_run(pages: _Pages, start: int, end: int, line_bytes: int, line_end: bytes) -> int:
    """Return where the lines end that are all as long, and nothing but base 64."""
    size = _PIECE // line_bytes * line_bytes
    at = start
    while size:
        while at + size <= end and _is_run(pages[at : at + size], line_bytes, line_end):
            at += size
        size = size // line_bytes // 2 * line_bytes
    return at


def _is_run(lines: bytes, line_bytes: int, line_end: bytes) -> bool:
    count = len(lines) // line_bytes
    letters = line_bytes - len(line_end)
    ends = (lines[letters + place :: line_bytes] for place in range(len(line_end)))
    if any(found != line_end[place : place + 1] * count for place, found in enumerate(ends)):
        return False
    try:  # what is no letter of base 64 is skipped
        return len(decode_base64(lines)) == count * letters // 4 * 3
    except ValueError:
        return False


def _parsed_abridged(pages: _Pages, cuts: Sequence[_Cut]) -> ParsedMessage | None:
    """Return what the message says, read from a copy without the cuts; None if that is not sure."""
    edges = [0, *(edge for cut in cuts for edge in (cut.start, cut.end)), len(pages)]
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


def _restored(attachment: Attachment, left: list[_Cut], pages: _Pages) -> Attachment | None:
    """Return the attachment as it is without cuts, and take those in it out of `left`; None if
    more than its size depends on what was cut."""
    content, count = attachment.content, len(left)
    digest, size = hashlib.sha256(), 0
    for piece in _whole(content, left, pages):
        digest.update(piece)
        size += len(piece)
    if len(left) == count:
        return attachment
    is_looked_into = attachment.content_type.startswith(_LOOKED_INTO)
    if is_looked_into or attachment.filename.lower() == "winmail.dat":
        return None
    return replace(attachment, size=size, sha256=digest.hexdigest(), content=b"")


def _whole(content: bytes, left: list[_Cut], pages: _Pages) -> Iterator[bytes]:
    """Yield the content in pieces, what was cut out in its place: decoded, or as lines where the
    part was not in base 64 itself (a forwarded message, say)."""
    done = 0
    while left:
        cut = left[0]
        mark, missing = cut.token, cut.decoded
        place = content.find(mark, done)
        if place < 0:
            mark, missing = cut.mark, cut.lines
            place = content.find(mark, done)
        if place < 0:
            break
        del left[0]
        yield content[done:place]
        yield from missing(pages)
        done = place + len(mark)
    yield content[done:]


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
