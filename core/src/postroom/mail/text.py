"""Make strings fit to be stored, logged and shown.

PostgreSQL refuses NUL, and neither database nor socket takes a lone surrogate. A terminal obeys
escape sequences, and a name may carry characters that turn the reading direction round.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
"""ECMA-48 control sequences, and operating system commands (`ESC ]`)."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ASCII_CONTROL = bytes([*range(9), *range(11, 32), 127])
_HIGH_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")
"""U+0080 to U+009F, as UTF-8."""
_NOT_ONE_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BREAK = re.compile("[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def storable(text: str) -> str:
    """Return the text without NUL and lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    try:  # a tenth of the time that searching takes
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("", text)
    return text


def readable(text: str) -> str:
    """Return body text with `\\n` line ends and without controls that a terminal would obey."""
    if (clean := _clean(text)) is not None:
        return clean
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\x0c", "\n").replace("\x0b", "\n").replace("\x85", "\n")
    return _CONTROL.sub("", _ESCAPE.sub("", text) if "\x1b" in text else text)


def _clean(text: str) -> str | None:
    """Return text with `\\n` line ends if that is all there is to do; twice as fast as to do it."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return None
    left = data.translate(None, _ASCII_CONTROL)
    if len(data) - len(left) != data.count(b"\r\n"):
        return None
    return None if b"\xc2" in left and _HIGH_CONTROL.search(left) else left.decode()


def one_line(text: str, limit: int) -> str:
    """Return a header's text on one line, without controls, at most `limit` characters."""
    if "\t" in text and "\t\t" not in text:  # most often a folded line's
        spaced = text.replace("\t", " ")
        text = spaced if spaced.isprintable() else text
    if not text.isprintable() and _NOT_ONE_LINE.search(text) is not None:
        if "\x1b" in text:
            text = _ESCAPE.sub("", text)
        text = _NOT_ONE_LINE.sub("", _BREAK.sub(" ", text))
    return text.strip()[:limit].rstrip()


def without_direction(text: str) -> str:
    """Return the text without marks and overrides of the reading direction."""
    return text if text.isascii() else _DIRECTION.sub("", text)
