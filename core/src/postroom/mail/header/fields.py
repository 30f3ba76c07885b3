"""Split a header block into its fields, in linear time and within bounds."""

from __future__ import annotations

import re

from postroom.mail.search import Source, search

MOST = 1_000
LONGEST = 65_536
LONGEST_BLOCK = 4 << 20
"""Bytes of a header that are looked at."""
LONGEST_OTHER = 8_192
ALL_OTHERS = 262_144

_END = re.compile(rb"\n\r{0,9}\n")
_FIELD = re.compile(r"([!-9;-~]{1,200})[ \t]*:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?")
_LIKE_FIELD = re.compile(r"([!-9;-~]{1,200})[ \t]*:")
_MOST_BROKEN = 10
"""Lines that are no field, one after the other, within a header."""
_USUAL_FIELD = re.compile(r"^([!-9;-~]{1,200}+):(.*+(?:\n[ \t].*+)*+)", re.MULTILINE)


def _words(table: str) -> frozenset[str]:
    return frozenset(table.split())


IMPORTANT = _words(
    "from to cc reply-to sender subject date message-id in-reply-to references return-path "
    "content-type content-transfer-encoding content-disposition content-id mime-version "
    "auto-submitted precedence x-auto-response-suppress x-autoreply x-autorespond list-id "
    "list-unsubscribe x-loop delivered-to x-failed-recipients"
)
"""Found however many others stand before them."""
_OF_MAIL = _words("received return-path delivered-to from to date subject message-id")
"""What the header of a part has not."""


class Fields(list[tuple[str, str]]):
    """Name as written, and value: unfolded, its bytes carried by Latin-1. In order.

    `left_out` tells that there were too many of them to keep.
    """

    __slots__ = ("_by_name", "left_out")

    def __init__(self) -> None:
        super().__init__()
        self.left_out = False
        self._by_name: dict[str, list[str]] | None = None

    def take_all(self, block: str) -> bool:
        """Take the fields of a block at once, where it is nothing but usual ones."""
        found = _USUAL_FIELD.findall(block)
        if "\n".join(map(":".join, found)) != block.removesuffix("\n"):
            return False
        self.extend([(name, unfold(v) if "\n" in v else v.strip(" \t\r")) for name, v in found])
        return True

    def lacks(self, name: str) -> bool:
        """Is this the header of a mail, so far without that important field, and of usual size?"""
        if name not in IMPORTANT or len(self) > MOST:
            return False
        names = {key.lower() for key, _ in self}
        return name not in names and not names.isdisjoint(_OF_MAIL)

    def all(self, name: str) -> list[str]:
        """Return the values of that name (given in lower case), in order."""
        return (self._by_name or self._named()).get(name, [])

    def first(self, name: str) -> str:
        """Return the first value of that name (given in lower case), or ""."""
        values = (self._by_name or self._named()).get(name)
        return values[0] if values else ""

    def _named(self) -> dict[str, list[str]]:
        by_name = self._by_name = {}
        for key, value in self:
            key = key.lower()
            if key in by_name:
                by_name[key].append(value)
            else:
                by_name[key] = [value]
        return by_name


def read_fields(source: Source, start: int, end: int) -> tuple[Fields, int]:
    """Return the fields from `start` on, and where the body begins.

    A line that is no field ends the header, unless a field follows it: then it is skipped; so are
    a few such lines where the header of a mail still lacks the important field that follows them
    (some programs break a field without the space of a fold), unless they are sentences. What looks
    like the delimiter of a part always ends it.
    """
    first = source[start : min(end, start + 2)]
    if first[:1] == b"\n" or first == b"\r\n":
        return Fields(), start + (1 if first[:1] == b"\n" else 2)
    found = search(_END, source, start, end, reach=11)
    stop, body = (found[0] + 1, found[1]) if found else (end, end)
    if stop - start <= LONGEST_BLOCK:
        return _read_block(source[start:stop], start, body)
    block = source[start : start + LONGEST_BLOCK]
    block = block[: block.rfind(b"\n") + 1] or block
    stop = start + len(block)
    fields, body = _read_block(block, start, body if found else stop)
    fields.left_out = fields.left_out or body >= stop
    return fields, body


def _read_block(raw: bytes, start: int, body: int) -> tuple[Fields, int]:
    """Read the lines of a header; `body` is where the body begins if all of them belong to it."""
    fields = Fields()
    block = raw.decode("latin-1")
    if len(block) < LONGEST and fields.take_all(block):
        return fields, body
    add = fields.append if len(block) < LONGEST else _Bounds(fields).add
    position, length, match = 0, len(block), _FIELD.match
    while position < length:
        field = match(block, position)
        if field is not None:
            name, value = field.groups()
            add((name, unfold(value)))
            position = field.end()
            continue
        position, begin = _next_field(block, position, fields), position
        if not position:
            return fields, start + begin
    return fields, body


def _next_field(block: str, position: int, fields: Fields) -> int:
    """Return where the header goes on behind a line that is no field; 0 where it does not."""
    for skipped in range(_MOST_BROKEN):
        after = block.find("\n", position) + 1
        if not after or block.startswith("--", position):
            return 0
        found = _LIKE_FIELD.match(block, after)
        if found and not skipped:
            return after
        line = block[position : min(after, position + LONGEST_OTHER)]
        if "@" not in line and len(line.split(maxsplit=2)) > 2:
            return 0
        if found and fields.lacks(found[1].lower()):
            return after
        position = after
    return 0


class _Bounds:
    """Keeps a large header small; what is `IMPORTANT` is kept however much stands before it."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.others = self.size = 0

    def add(self, field: tuple[str, str]) -> None:
        name, value = field
        if len(self.fields) >= 4 * MOST:
            self.fields.left_out = True
        elif name.lower() in IMPORTANT:
            self.fields.append((name, value[:LONGEST]))
        elif self.others >= MOST or self.size > ALL_OTHERS:
            self.fields.left_out = True
        else:
            self.fields.append((name, value[:LONGEST_OTHER]))
            self.others += 1
            self.size += len(value[:LONGEST_OTHER])


def unfold(value: str) -> str:
    """Return the value on one line; the white space of a fold stays (RFC 5322 section 2.2.3)."""
    return value.replace("\r\n", "").replace("\n", "").strip(" \t\r")
