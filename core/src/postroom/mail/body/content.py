"""What a part says: all of it, its beginning, or size and digest of a file that is not held."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroom.mail.body.structure import Part
from postroom.mail.decoding.transfer import BASE64, SAMPLE, Decoding, decode_in_pieces

if TYPE_CHECKING:
    from postroom.mail.decoding.runs import Run

HELD = 1 << 20
"""A part of a message on disk that is longer, as it came, is not held."""

Runs = Mapping[int, "Run"]
"""Runs of base 64 in a message on disk, by the places where they begin."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file's; `data` is empty where it is not held."""

    size: int
    sha256: str
    data: bytes = b""


def whole(data: bytes) -> Content:
    """Return a content that is held."""
    return Content(len(data), hashlib.sha256(data).hexdigest(), data)


def is_held(part: Part) -> bool:
    """Tell whether a part is to be read whole."""
    return isinstance(part.source, bytes) or part.end - part.start <= HELD


def as_it_is(part: Part) -> Content:
    """Return the content that the bytes of the part are, its transfer encoding aside."""
    if is_held(part):
        return whole(part.raw_body)
    decoding = decode_in_pieces(part.source, part.start, part.end, "")
    return _digested(decoding, hashlib.sha256(), 0)


def digested(part: Part, runs: Runs) -> tuple[Content, str]:
    """Return the content of a part that is not held, and what is wrong with its encoding."""
    run = runs.get(part.start) if part.encoding in BASE64 else None
    done = run.end - len(run.line_end) if run else part.end + 1
    if run is None or done > part.end or done - part.start < SAMPLE:
        decoding = decode_in_pieces(part.source, part.start, part.end, part.encoding)
        return _digested(decoding, hashlib.sha256(), 0), decoding.problem
    decoding = decode_in_pieces(part.source, part.start, part.end, part.encoding, done=done)
    return _digested(decoding, run.content.copy(), run.size), decoding.problem


def _digested(decoding: Decoding, digest: hashlib._Hash, size: int) -> Content:
    for piece in decoding.pieces:
        digest.update(piece)
        size += len(piece)
    return Content(size, digest.hexdigest())


def beginning(pieces: Iterable[bytes], size: int) -> bytes:
    """Return so many of the bytes that come in pieces."""
    return b"".join(taken(iter(pieces), size))[:size]


def taken(pieces: Iterator[bytes], size: int) -> list[bytes]:
    """Take pieces that have so many bytes together, or more; all, if they have fewer."""
    found: list[bytes] = []
    while size > 0 and (piece := next(pieces, None)) is not None:
        found.append(piece)
        size -= len(piece)
    return found


def joined(pieces: Iterable[bytes]) -> bytes:
    """Return all of the bytes that come in pieces."""
    all_of_it = io.BytesIO()  # a join would hold them twice
    all_of_it.writelines(pieces)
    return all_of_it.getvalue()
