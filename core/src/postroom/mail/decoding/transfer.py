"""Undo transfer encodings (RFC 2045 section 6), whatever is left of them."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from postroom.mail.decoding.uuencode import decode_uu
from postroom.mail.search import Source, find_line, pieces, search

decode_base64: Callable[[bytes], bytes]
decode_letters: Callable[[bytes | bytearray], bytes]
"""Decodes what is nothing but base 64, without line ends; else raises ValueError."""
encode_base64: Callable[[bytes], bytes]
try:
    import pybase64

    decode_base64, encode_base64 = pybase64.b64decode, pybase64.b64encode
    decode_letters = partial(pybase64.b64decode, validate=True)
except ImportError:  # no wheel for this platform: the standard library does it, more slowly
    import base64

    decode_base64, encode_base64 = binascii.a2b_base64, base64.b64encode
    decode_letters = partial(binascii.a2b_base64, strict_mode=True)

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]")
_FOOT = re.compile(
    rb"\n[ \t]{0,9}(?=[_*#~=-]{10}|(?![^\s]{0,44}[A-Za-z0-9+/]{36})[^\s]{0,80}(?:[@:]|--)"
    rb"|(?:[^\s]{1,19}[ \t]{1,9}){2}[^\s])"
)
"""What lists and scanners put below a body without looking at its encoding: a line with a rule, an
address, or three words; not a line of it with a damaged character."""
_FOOT_REACH = 120
_LARGE = 4096
_MOST_PIECES = 100_000
SAMPLE = 4_000
"""So many bytes tell base 64 from what was labelled wrongly."""
AS_IT_IS = ("", "7bit", "8bit", "binary")
BASE64 = ("base64", "b64", "x-base64")
_QUOTED_PRINTABLE = ("quoted-printable", "qp", "quotedprintable")
_UU = ("x-uuencode", "uuencode", "x-uue", "uue")
_NO_BASE64 = "A part says it is base64 and is not."
_FOREIGN_SKIPPED = "A part's base64 has foreign characters in it; they were skipped."


@dataclass(frozen=True, slots=True)
class Decoded:
    content: bytes
    problem: str = ""


def decode_body(body: bytes, encoding: str) -> Decoded:
    """Return the bytes that `encoding` (lower case) stands for; unknown ones stay as they are."""
    if encoding in AS_IT_IS:
        return Decoded(body)
    if encoding in BASE64:
        return _base64(body)
    if encoding in _QUOTED_PRINTABLE:
        return Decoded(binascii.a2b_qp(body.replace(b"\r\r\n", b"\r\n")))
    if encoding in _UU:
        found = decode_uu(body)
        return Decoded(body if found is None else found)
    return Decoded(body, _unknown(encoding))


def _unknown(encoding: str) -> str:
    return f"The transfer encoding {encoding[:40]!r} is not known."


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
    is_glued = body.count(b"=") <= _MOST_PIECES
    if dirty or b" " in body:
        if not looks_like_base64(body):
            return Decoded(whole, _NO_BASE64)
        foot = _FOOT.search(body)
        body = body[: foot.start()] if foot else body
    content = b"".join(_lenient_base64([body], is_glued=is_glued))
    return Decoded(content, _FOREIGN_SKIPPED if dirty else "")


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
    if _FOOT.match(b"\n" + body[:_FOOT_REACH]):
        return False
    sample = body[:SAMPLE]
    words = sample.split()
    longest = max((len(word.translate(None, b"=!#-")) for word in words), default=20)
    several_a_line = len(words) > 2 * (sample.count(b"\n") + 1)
    foreign = len(sample.translate(None, _ALPHABET + b"= \t\r\n"))
    return longest >= 20 or (not several_a_line and foreign * 20 < len(sample))


def _lenient_base64(pieces: Iterable[bytes], *, is_glued: bool) -> Iterator[bytes]:
    """Decode whatever can be: foreign characters skipped, padding within or missing.

    :param is_glued: each padding ends what was encoded by itself
    """
    left = b""
    for piece in pieces:
        *ended, last = piece.split(b"=") if is_glued else [piece]
        for letters in ended:
            yield _padded(left + letters.translate(None, _FOREIGN))
            left = b""
        left += last.translate(None, _FOREIGN)
        whole = len(left) & -4
        yield decode_base64(left[:whole])
        left = left[whole:]
    yield _padded(left)


def _padded(letters: bytes) -> bytes:
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


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


@dataclass(frozen=True, slots=True)
class Decoding:
    """What a body says, in pieces."""

    pieces: Iterator[bytes]
    problem: str = ""


def decode_in_pieces(
    source: Source, start: int, end: int, encoding: str, *, done: int | None = None
) -> Decoding:
    """Return what `decode_body` does of a body that is not held.

    :param done: base 64 up to here is left out; `SAMPLE` bytes or more, in regular lines
    """
    if encoding in BASE64:
        return _base64_in_pieces(source, start, end, start if done is None else done)
    if encoding in _QUOTED_PRINTABLE:
        return Decoding(unquoted(_with_one_return(pieces(source, start, end))))
    if encoding in _UU:
        return Decoding(iter([decode_body(source[start:end], encoding).content]))
    return Decoding(pieces(source, start, end), "" if encoding in AS_IT_IS else _unknown(encoding))


def _base64_in_pieces(source: Source, start: int, end: int, done: int) -> Decoding:
    stop = find_line(source, b"\n--", done, end)
    stop = end if stop < 0 else stop
    dirty, spaced, equals = False, False, 0
    for piece in pieces(source, done, stop):
        rest = piece.translate(None, _ALPHABET)
        dirty = dirty or _NOT_BASE64.search(rest) is not None
        spaced = spaced or b" " in rest
        equals += rest.count(b"=")
    if dirty or spaced:
        if not looks_like_base64(source[start : min(stop, start + SAMPLE)]):
            return Decoding(pieces(source, start, end), _NO_BASE64)
        foot = search(_FOOT, source, max(start, done - 1), stop, reach=_FOOT_REACH)
        stop = foot[0] if foot else stop
    said = _lenient_base64(pieces(source, done, stop), is_glued=equals <= _MOST_PIECES)
    return Decoding(said, _FOREIGN_SKIPPED if dirty else "")


def _with_one_return(some: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what `replace(b"\\r\\r\\n", b"\\r\\n")` makes of all pieces together."""
    left = b""
    for piece in some:
        left += piece
        end = len(left) - min(2, len(left) - len(left.rstrip(b"\r")))
        yield left[:end].replace(b"\r\r\n", b"\r\n")
        left = left[end:]
    yield left
