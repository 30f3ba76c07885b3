"""Addresses of headers (RFC 5322 section 3.4, with the obsolete forms), in linear time.

The standard library's readers recurse on comments and are quadratic on open quotes; this one is a
loop over pieces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from postroom.mail.header.words import decode_plain, decode_words
from postroom.mail.message import Address
from postroom.mail.text import one_line, without_direction

MOST = 100
LONGEST_NAME = 200
LONGEST_ADDRESS = 320

_SIMPLE = re.compile(
    r'\s*(?:"([^"<>@,;:()\\=]*)"|([^"<>@,;:()\\=\[\]]*?))\s*'
    r"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>\s*"
)
_BARE = re.compile(r"\s*([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)\s*")
_PIECE = re.compile(
    r'=\?[^?\s]+\?[bBqQ]\?[^?]*\?=|"[^"\\]*(?:\\.[^"\\]*)*"|\[[^\[\]]*\]|\\.'
    r'|[^\s"()<>,;:\[\]\\=]+|\s+|.',
    re.DOTALL,
)
"""An encoded word, a quoted string, a domain literal, a quoted pair, an atom, white space; or one
character that stands for itself."""
_VALID = re.compile(
    r'(?:"(?:[^"\\]|\\.){1,128}"|[^\s"<>(),;:@\[\]\\]+)@(?:\[[^\s\[\]]+\]|[^\s"<>(),;:@\[\]\\]+)'
)
_SPOKEN = re.compile(
    r"\s*([A-Za-z0-9._+-]{1,64}) at ([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8})"
    r"\s*(?:\((.*)\))?\s*"
)
"""`ann at customer.example (Ann Reed)`"""
_QUOTED_PAIR = re.compile(r'\\(["\\])')


def parse_addresses(value: str, hint: str | None = None) -> tuple[Address, ...]:
    """Return the mailboxes of a raw header value (Latin-1 carries its bytes), at most `MOST`.

    Groups are flattened, names decoded and made safe to show; what has no address is left out.
    """
    return _cached(value, hint) if len(value) < 200 else _parse(value, hint)


def _parse(value: str, hint: str | None) -> tuple[Address, ...]:
    if simple := _BARE.fullmatch(value):
        return (Address(simple[1]),)
    if value.isascii() and (simple := _SIMPLE.fullmatch(value)):
        return (Address(simple[3], _name(simple[1] or simple[2] or "", None)),)
    text = value if value.isascii() and "\x1b" not in value else decode_plain(value, hint)
    found = _Reader(hint).read(text)
    if not found and "(" in text:  # a comment that never closes hides nothing
        found = _Reader(hint).read(text.replace("(", " ").replace(")", " "))
    if not found and "=?" in text:  # the address itself is in an encoded word
        found = _Reader(hint).read(decode_words(text, hint))
    if not found and (spoken := _SPOKEN.fullmatch(text)):  # as archives of mailing lists have it
        found = [Address(_address(f"{spoken[1]}@{spoken[2]}"), _name(spoken[3] or "", hint))]
    return tuple(found)


_cached = lru_cache(maxsize=2_000)(_parse)
"""The same people write again, and always to us."""


@dataclass(slots=True)
class _Reader:
    """Reads one header value piece by piece; holds what the mailbox at hand has so far."""

    hint: str | None
    words: list[str] = field(default_factory=list)
    glued: bool = False
    angle: list[str] | None = None
    name_end: int = 0
    comments: list[str] = field(default_factory=list)
    carried: str = ""
    found: list[Address] = field(default_factory=list)

    def read(self, text: str) -> list[Address]:
        depth = inside = 0
        open_angle = False
        for match in _PIECE.finditer(text):
            piece = match.group()
            if depth:
                depth += (piece == "(") - (piece == ")")
                if depth and inside < 50:
                    self.comments.append(piece)
                    inside += 1
            elif piece == "(":
                depth, self.glued = 1, False
            elif piece == "<":
                if self.angle and not open_angle:
                    self._begin_second_angle()
                open_angle = True
                self.angle = self.angle or []
            elif piece == ">":
                open_angle, self.name_end = False, len(self.words)
            elif open_angle and not self._ends_open_angle(piece):
                self._into_angle(piece)
            elif piece in (",", ";"):
                open_angle = False
                self._finish(carry=piece == ",")
            elif piece == ":":
                self._drop_group_name()
            elif piece.isspace():
                self.glued = False
            else:
                self._into_words(piece)
            if len(self.found) >= MOST:
                return self.found
        self._finish(carry=False)
        return self.found

    def _begin_second_angle(self) -> None:
        """Close the mailbox before a second `<`: its comma was forgotten, or it was none."""
        inside = "".join(self.angle or ())
        if _address(inside):
            following = self.words[self.name_end :]
            del self.words[self.name_end :]
            self._finish(carry=False)
            self.words = following
        else:
            self.words.insert(self.name_end, inside)
            self.angle = None

    def _ends_open_angle(self, piece: str) -> bool:
        """Tell if a comma shows that `>` was forgotten; `<@a,@b:user@host>` is an old route."""
        inside = "".join(self.angle or ())
        return piece in (",", ";") and "@" in inside and not inside.startswith("@")

    def _into_angle(self, piece: str) -> None:
        angle = self.angle = [] if self.angle is None else self.angle
        if piece == ":":
            angle.clear()  # what came before is a route (RFC 5322 section 4.4) or "mailto"
        elif not piece.isspace() and len(angle) < 64:
            angle.append(piece)

    def _into_words(self, piece: str) -> None:
        if self.glued and self.words:
            self.words[-1] += piece
        elif len(self.words) < 200:
            self.words.append(piece)
        self.glued = True

    def _drop_group_name(self) -> None:
        self.words.clear()
        self.comments.clear()
        self.carried = ""
        self.glued = False

    def _finish(self, *, carry: bool) -> None:
        """Close the mailbox at hand; a phrase without one may be the `Reed` of `Reed, Ann <…>`."""
        words, angle, comments = self.words, self.angle, self.comments
        self.words, self.angle, self.comments, self.glued = [], None, [], False
        if angle is not None:
            address = _address("".join(angle))
            name = " ".join(words)
            if self.carried:
                name = f"{self.carried}, {name}"
            if not address and words:  # `ann@customer.example <>`
                address, name = _address(words[-1]), ""
        else:
            words = _merged(words)
            if len(words) > 1 and all(map(_address, words)):  # only spaces between addresses
                self.found += [Address(_address(word)) for word in words[:-1]]
                words = words[-1:]
            address, name = self._bare(words)
            name = name or "".join(comments)
        self.carried = ""
        if address:
            self.found.append(Address(address, _name(name, self.hint)))
        elif carry and angle is None and len(words) < 8:
            self.carried = " ".join(words)

    def _bare(self, words: list[str]) -> tuple[str, str]:
        """Return address and name of a mailbox without angle brackets."""
        for index, word in enumerate(words):
            address = _address(word) or _address(word.strip("\"'"))
            if address:
                return address, " ".join(words[:index] + words[index + 1 :])
        joined = "".join(words)
        return (_address(joined), "") if joined.count("@") == 1 else ("", "")


def _merged(words: list[str]) -> list[str]:
    """Join what the obsolete syntax sets apart: `ann @ customer . example`."""
    out: list[str] = []
    for word in words:
        before = out[-1] if out else ""
        if out and (
            word.startswith("@")
            or before.endswith("@")
            or ("@" in before and (word.startswith(".") or before.endswith(".")))
        ):
            out[-1] += word
        else:
            out.append(word)
    return out


def _address(text: str) -> str:
    """Return the address, or "" where the text is none that could be answered."""
    text = text.strip("'").rstrip(".") if not text.startswith('"') else text.rstrip(".")
    if "@" not in text or len(text) > LONGEST_ADDRESS:
        return ""
    text = without_direction(one_line(text, LONGEST_ADDRESS))
    return text if _VALID.fullmatch(text) else ""


def _name(text: str, hint: str | None) -> str:
    """Return a display name: quotes and words undone, safe to show, cut for its column."""
    text = text[:4096]
    if '"' in text:
        text = " ".join(
            _QUOTED_PAIR.sub(r"\1", piece) for piece in re.split(r'(?<!\\)"', text) if piece.strip()
        )
    if "=?" in text:
        text = decode_words(text, hint) if text.isascii() else _decode_mixed(text, hint)
    return " ".join(without_direction(one_line(text, LONGEST_NAME)).split())


def _decode_mixed(text: str, hint: str | None) -> str:
    """Decode words in a name that also has other letters, which are text already."""
    return re.sub(r"[!-~ ]*=\?[!-~ ]*\?=", lambda found: decode_words(found.group(), hint), text)
