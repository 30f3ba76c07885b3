"""A server's answer (RFC 5321 section 4.2), read without trust."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 8192
"""Bytes of one line; RFC 5321 section 4.5.3.1.5 says 512, servers with long URLs say more."""
MAX_LINES: Final = 128
MAX_WORDS: Final = 300
"""Characters of an answer that are shown and stored."""

_LINE = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?=\s|$)")
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class MalformedReply(ValueError):  # noqa: N818 - a fact about the server, not a fault
    """Not an answer of an SMTP server."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: `code` as a number, its lines without the code, cleaned but not cut."""

    code: int
    lines: tuple[str, ...]

    @property
    def is_positive(self) -> bool:
        """2yz: done."""
        return self.code // 100 == 2

    @property
    def is_intermediate(self) -> bool:
        """3yz: go on."""
        return self.code // 100 == 3

    @property
    def is_transient(self) -> bool:
        """4yz: not now."""
        return self.code // 100 == 4

    @property
    def is_permanent(self) -> bool:
        """5yz: never."""
        return self.code // 100 == 5

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463), "" where there is none."""
        found = _ENHANCED.match(self.lines[0])
        return found[1] if found else ""

    @property
    def words(self) -> str:
        """The whole answer in one short line: ``550 5.1.1 <x@example.org>: unknown user``."""
        repeated = self.enhanced  # servers repeat it on every line
        lines = (line.removeprefix(repeated) for line in self.lines) if repeated else self.lines
        return shortened(" ".join([str(self.code), repeated, *lines]))


def is_last_line(line: bytes) -> bool:
    """Say whether this line ends an answer.

    :raises MalformedReply: it is no line of an answer
    """
    found = _LINE.fullmatch(line)
    if not found or (not found[2] and found[3]):
        raise MalformedReply(f"not an SMTP answer: {printable(line.decode('utf-8', 'replace'))}")
    return found[2] != b"-"


def parsed(lines: Sequence[bytes]) -> Reply:
    """Put the lines of one answer together.

    :raises MalformedReply: the lines have different codes
    """
    if len({line[:3] for line in lines}) != 1:
        raise MalformedReply("the lines of one answer have different codes")
    texts = (printable(line[4:].decode("utf-8", "replace")) for line in lines)
    return Reply(int(lines[0][:3]), tuple(texts))


def printable(text: str) -> str:
    """Replace control and invisible characters, also direction overrides, by spaces."""
    return "".join(" " if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def shortened(text: str) -> str:
    """Collapse white space and cut at `MAX_WORDS` characters."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_WORDS else text[: MAX_WORDS - 1] + "…"
