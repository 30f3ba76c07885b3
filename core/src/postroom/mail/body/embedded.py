"""Files that stand inside a text: uuencode and yEnc, from before MIME, and the data of a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from postroom.mail.decoding import uuencode

_YENC = re.compile(rb"^=ybegin [^\r\n]*?name=([^\r\n]{1,255})\r?\n", re.MULTILINE)
_YENC_END = re.compile(rb"^=yend[^\r\n]*\r?$\n?", re.MULTILINE)
_BEGIN = re.compile(rb"^(?:begin(?:-base64)? [0-7]{3,4} |=ybegin )", re.MULTILINE)
_LONGEST_BEGIN = 30
_MOST = 100
DATA = b";base64,"
"""What comes before the data in a URL that is a file (RFC 2397)."""
_CODED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"


@dataclass(frozen=True, slots=True)
class Embedded:
    """A file found in a text: `name` is raw."""

    name: bytes
    content: bytes


def extract(body: bytes) -> tuple[bytes, list[Embedded]]:
    """Return the text without the files in it, and the files."""
    files: list[Embedded] = []
    if b"begin" not in body:
        return body, files
    if b"begin " in body or b"begin-base64 " in body:
        body = _take(body, uuencode.BEGIN, uuencode.END, uuencode.decode_block, files)
    if b"=ybegin " in body:
        body = _take(body, _YENC, _YENC_END, _yenc_content, files)
    return body, files


def is_any_in(pieces: Iterable[bytes]) -> bool:
    """Tell whether a file may begin in a text that comes in pieces."""
    left = b""
    for piece in pieces:
        left += piece
        if b"begin" in left and _BEGIN.search(left):
            return True
        left = left[-_LONGEST_BEGIN:]
    return False


def without_data(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the page that comes in pieces, with nothing after each `DATA`."""
    left, is_in = b"", False
    for piece in pieces:
        first, *others = (left + piece).split(DATA)
        kept = [first.lstrip(_CODED) if is_in else first, *(one.lstrip(_CODED) for one in others)]
        is_in = not kept[-1] and (is_in or bool(others))
        page = DATA.join(kept)
        end = len(page) if is_in else max(0, len(page) - len(DATA) + 1)  # it may begin there
        yield page[:end]
        left = page[end:]
    yield left


def _take(
    body: bytes,
    start: re.Pattern[bytes],
    stop: re.Pattern[bytes],
    read: Callable[[re.Match[bytes], bytes], bytes | None],
    files: list[Embedded],
) -> bytes:
    """Move every block between `start` and `stop` from the body to `files`."""
    kept: list[bytes] = []
    done = 0
    end: re.Match[bytes] | None = None
    while len(files) < _MOST and (begin := start.search(body, done)):
        if end is None or end.start() < begin.end():
            end = stop.search(body, begin.end())
        if end is None:
            break  # an open block stays text: it may be prose, and nothing may be lost
        if inner := start.search(body, begin.end(), end.start()):
            # no block has another in it: what began first is prose
            kept.append(body[done : inner.start()])
            done = inner.start()
            continue
        content = read(begin, body[begin.end() : end.start()])
        if content is None:
            kept.append(body[done : begin.end()])
            done = begin.end()
            continue
        kept.append(body[done : begin.start()])
        files.append(Embedded(begin[1], content))
        done = end.end()
    return b"".join(kept) + body[done:] if files else body


def _yenc_content(_begin: re.Match[bytes], block: bytes) -> bytes:
    lines = [line for line in block.split(b"\n") if not line.startswith(b"=ypart ")]
    data = b"".join(line.rstrip(b"\r") for line in lines)
    pieces = data.split(b"=")
    out = [pieces[0].translate(_YENC_PLAIN)]
    for piece in pieces[1:]:
        if piece:
            out.append(bytes([(piece[0] - 64 - 42) & 255]) + piece[1:].translate(_YENC_PLAIN))
    return b"".join(out)


_YENC_PLAIN = bytes((value - 42) & 255 for value in range(256))
