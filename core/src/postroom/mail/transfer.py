"""Undo transfer encodings (RFC 2045 section 6), whatever is left of them."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from postroom.mail.embedded import decode_uu

decode_base64: Callable[[bytes], bytes]
encode_base64: Callable[[bytes], bytes]
try:
    import pybase64

    decode_base64, encode_base64 = pybase64.b64decode, pybase64.b64encode
except ImportError:  # no wheel for this platform: the standard library does it, more slowly
    import base64

    decode_base64, encode_base64 = binascii.a2b_base64, base64.b64encode

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]")
_LARGE = 4096
_MOST_PIECES = 100_000


@dataclass(frozen=True, slots=True)
class Decoded:
    content: bytes
    problem: str = ""


def decode_body(body: bytes, encoding: str) -> Decoded:
    """Return the bytes that `encoding` (lower case) stands for; unknown ones stay as they are."""
    if encoding in ("", "7bit", "8bit", "binary"):
        return Decoded(body)
    if encoding in ("base64", "b64", "x-base64"):
        return _base64(body)
    if encoding in ("quoted-printable", "qp", "quotedprintable"):
        return Decoded(binascii.a2b_qp(body.replace(b"\r\r\n", b"\r\n")))
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        found = decode_uu(body)
        return Decoded(body if found is None else found)
    return Decoded(body, f"The transfer encoding {encoding[:40]!r} is not known.")


def _base64(body: bytes) -> Decoded:
    if len(body) > _LARGE:
        try:
            content = decode_base64(body)
        except (binascii.Error, ValueError):
            content = b""
        skipped = len(body) - (len(content) + 2) // 3 * 4
        if skipped == _regular_line_ends(body) or skipped == _line_ends(body):
            return Decoded(content)
    whole, body = body, body.partition(b"\n--")[0]  # a delimiter that lost its end
    dirty = _NOT_BASE64.search(body) is not None
    if (dirty or b" " in body) and not looks_like_base64(body):
        return Decoded(whole, "A part says it is base64 and is not.")
    problem = "A part's base64 has foreign characters in it; they were skipped." if dirty else ""
    return Decoded(_lenient_base64(body), problem)


def _line_ends(lines: bytes) -> int:
    """Return how many bytes the line ends are, LF or CR and LF each."""
    return lines.count(b"\n") + lines.count(b"\r\n")


def _regular_line_ends(body: bytes) -> int:
    """Return as many as there are at least; all of them where every line is as long as the first.

    Counting takes longer than decoding does; this takes a tenth.
    """
    line_bytes = body.find(b"\n") + 1
    if not line_bytes:
        return 0
    line_end = b"\r\n" if body[:line_bytes].endswith(b"\r\n") else b"\n"
    count = len(body) // line_bytes
    whole = count * line_bytes
    for place in range(-len(line_end), 0):
        if body[line_bytes + place : whole : line_bytes] != line_end[place:][:1] * count:
            return 0
    return count * len(line_end) + _line_ends(body[whole:])


def looks_like_base64(body: bytes) -> bool:
    """Tell encoded data with some dirt in it from text that was labelled wrongly."""
    sample = body[:4000]
    words = sample.split()
    longest = max((len(word.translate(None, b"=!#-")) for word in words), default=20)
    several_a_line = len(words) > 2 * (sample.count(b"\n") + 1)
    foreign = len(sample.translate(None, _ALPHABET + b"= \t\r\n"))
    return longest >= 20 or (not several_a_line and foreign * 20 < len(sample))


def _lenient_base64(body: bytes) -> bytes:
    """Decode whatever can be: foreign characters skipped, padding within or missing."""
    if body.count(b"=") > _MOST_PIECES:
        body = body.translate(None, b"=")
    chunks = []
    # several encoded pieces glued together: each ends with its own padding
    for piece in re.findall(rb"[^=]+=*", body):
        letters = piece.translate(None, b"=").translate(None, _FOREIGN)
        if len(letters) % 4 == 1:
            letters = letters[:-1]
        chunks.append(binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)))
    return b"".join(chunks)


_FOREIGN = bytes(sorted(set(range(256)) - set(_ALPHABET)))


_SOFT = re.compile(rb"(?<!=)(?:==)*=\r")
"""A soft line break whose line end is not complete; two `=` stand for one."""


def unquoted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what `binascii.a2b_qp` makes of all pieces together: RFC 2045 section 6.7."""
    left = b""
    for piece in pieces:
        left += piece
        if end := left.rfind(b"\n") + 1:
            yield binascii.a2b_qp(left[:end])
            left = left[end:]
        elif soft := _SOFT.search(left):  # what comes before the line's end does not count
            yield binascii.a2b_qp(left[: soft.end() - 2])
            left = b"=\r"
        else:
            end = _end_of_whole(left)
            yield binascii.a2b_qp(left[:end])
            left = left[end:]
    yield binascii.a2b_qp(left)


def _end_of_whole(quoted: bytes) -> int:
    """Return where an escape begins that may go on behind these bytes of one line."""
    if b"=" not in quoted[-2:]:
        return len(quoted)
    letter = not quoted.endswith(b"=")
    equals = len(quoted) - letter - len(quoted[: len(quoted) - letter].rstrip(b"="))
    return len(quoted) - letter - equals + (equals - 1) // 2 * 2
