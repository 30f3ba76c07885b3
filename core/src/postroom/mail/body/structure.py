"""Split a message into its parts, in one pass over the lines that look like delimiters.

Python's `email` recurses for every level of nesting and is quadratic in places; here depth and
number are only a stack and a counter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from postroom.mail.decoding.transfer import decode_body
from postroom.mail.header.fields import Fields, read_fields
from postroom.mail.header.parameters import Parameterised, content_type, disposition
from postroom.mail.search import Source, find_line, is_nothing_but, search

MOST_PARTS = 1_000
DEEPEST = 100
MOST_DELIMITERS = 1_000_000
"""Lines that begin like a delimiter; where there are more, the rest belongs to the last part."""
MOST_GUESSES = 20
LONGEST_HEADER = 65_536

_TOO_DEEP = f"The parts are nested too deeply: over {DEEPEST} levels."
_GUESS = re.compile(rb"(?:^|\n)--([^\s-][^\r\n]{0,199}|-[^\r\n]{1,199})\r{0,9}\n(?=[Cc]ontent-)")
_GUESS_REACH = 230


@dataclass(slots=True)
class Part:
    """A part: its fields and where in `source` its body is. A container has children."""

    source: Source
    start: int
    end: int
    fields: Fields
    type: Parameterised
    within: str = ""
    """The type of the multipart it is in."""
    depth: int = 0
    _disposition: Parameterised | None = None
    children: list[Part] = field(default_factory=list)

    @property
    def raw_body(self) -> bytes:
        return self.source[self.start : self.end]

    @property
    def is_blank(self) -> bool:
        """Whether it holds nothing but what may be left of delimiters."""
        return is_nothing_but(b"- \t\r\n", self.source, self.start, self.end)

    @property
    def is_multipart(self) -> bool:
        return self.type.value.startswith("multipart/")

    @property
    def disposition(self) -> Parameterised:
        if self._disposition is None:
            self._disposition = disposition(self.fields.first("content-disposition"))
        return self._disposition

    @property
    def encoding(self) -> str:
        value = self.fields.first("content-transfer-encoding")
        return value.partition(";")[0].partition("(")[0].strip(" \t\"'").lower()

    def walk(self) -> Iterator[Part]:
        """Yield this part and all in it, in the order of the message."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(slots=True)
class _Level:
    part: Part
    boundary: bytes
    closed: bool = False


class Splitter:
    """Finds the parts of one body; `problems` collects which limits were hit."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.parts = 0

    def split(self, root: Part) -> None:
        """Fill in the children of `root`, which is a multipart, and of what is in it."""
        waiting, tried = [root], set[int]()
        for _ in range(MOST_GUESSES):
            if not waiting or self.parts >= MOST_PARTS:
                return
            part = waiting.pop()
            tried.add(id(part))
            boundary = self._boundary(part)
            if boundary:
                self._scan(part, boundary)
                waiting += [
                    inner
                    for inner in part.walk()
                    if inner.is_multipart and not inner.children and inner.depth < DEEPEST
                    if id(inner) not in tried
                ]

    def _boundary(self, part: Part) -> bytes:
        """Return the boundary in use: declared, or within a transfer encoding, or guessed."""
        boundary = _declared(part)
        if boundary and _occurs(part, boundary):
            return boundary
        if part.encoding in ("base64", "quoted-printable"):
            # RFC 2045 section 6.4 forbids to encode a multipart; some do
            body = b"\n" + decode_body(part.raw_body, part.encoding).content
            if (boundary and b"\n--" + boundary in body) or _GUESS.search(body):
                part.source, part.start, part.end = body, 1, len(body)
                if boundary and _occurs(part, boundary):
                    return boundary
        start = max(part.start - 1, 0)
        found = search(_GUESS, part.source, start, part.end, reach=_GUESS_REACH)
        if found is None and part.is_blank:
            return b""
        self.problems.append("The message is damaged: its parts are not marked as declared.")
        return found[2][1].rstrip() if found else b""

    def _scan(self, root: Part, boundary: bytes) -> None:
        """Cut the body at its delimiters; `levels` are the multiparts that are open."""
        source, end = root.source, root.end
        levels = [_Level(root, boundary)]
        prefix = b"\n--" + boundary
        leaf: Part | None = None  # the part that the next delimiter ends
        looked_at = 0
        found = find_line(source, prefix, max(root.start - 1, 0), end)
        while found >= 0:
            newline = source.find(b"\n", found + 1, end)
            after = end if newline < 0 else newline + 1
            token = source[found + 3 : min(after, found + 1003)].rstrip(b" \t\r\n")
            match = _match(levels, token)
            looked_at += 1
            if looked_at > MOST_DELIMITERS:
                return
            if match is None:
                found = find_line(source, prefix, found + 1, end)
                continue
            index, closing = match
            stop = found - 1 if source[found - 1 : found] == b"\r" else found
            for ended in [level.part for level in levels[index + 1 :]] + ([leaf] if leaf else []):
                ended.end = max(ended.start, stop)
            leaf = None
            del levels[index + 1 :]
            levels[index].closed = closing
            resume = after - 1
            if not closing:
                if self.parts >= MOST_PARTS:
                    self._rest(levels[index].part, found + 1, end)
                    return
                part = self._open(levels, after, end)
                leaf = part if len(levels) == index + 1 else None
                resume = max(resume, part.start - 1)
            prefix = b"\n--" + _common_start(levels)
            found = find_line(source, prefix, resume, end)

    def _open(self, levels: list[_Level], start: int, end: int) -> Part:
        """Read the header of the part that begins at `start`; go down if it is a multipart."""
        parent, source = levels[-1].part, levels[-1].part.source
        limit = min(end, start + LONGEST_HEADER)
        fields, body = read_fields(source, start, limit)
        stop = _delimiter(source, start - 1, body, levels)
        if stop is not None:
            fields, body = read_fields(source, start, stop)
            body = min(body, stop)
        default = "message/rfc822" if parent.type.value == "multipart/digest" else "text/plain"
        part = Part(source, body, end, fields, content_type(fields.first("content-type"), default))
        part.within, part.depth = parent.type.value, parent.depth + 1
        parent.children.append(part)
        self.parts += 1
        boundary = _declared(part)
        if part.is_multipart and boundary:
            if part.depth < DEEPEST:
                levels.append(_Level(part, boundary))
            elif _TOO_DEEP not in self.problems:
                self.problems.append(_TOO_DEEP)
        return part

    def _rest(self, parent: Part, start: int, end: int) -> None:
        self.problems.append(
            f"The message has more than {MOST_PARTS} parts; the rest is kept as one file."
        )
        rest = Part(parent.source, start, end, Fields(), content_type("application/octet-stream"))
        rest.fields.append(("Content-Disposition", 'attachment; filename="remaining-parts.txt"'))
        rest.within = parent.type.value
        parent.children.append(rest)


def _declared(part: Part) -> bytes:
    boundary = part.type.get("boundary") or part.type.text("boundary")
    return boundary.rstrip().encode("latin-1", "replace")[:900]


def _common_start(levels: list[_Level]) -> bytes:
    """Return what all open boundaries begin with, to look for: most often there is one only."""
    common = levels[0].boundary
    for level in levels[1:]:
        while not level.boundary.startswith(common):
            common = common[:-1]
    return common


def _occurs(part: Part, boundary: bytes) -> bool:
    return find_line(part.source, b"\n--" + boundary, max(part.start - 1, 0), part.end) >= 0


def _match(levels: list[_Level], token: bytes) -> tuple[int, bool] | None:
    """Return which level a delimiter belongs to, and whether it closes it.

    The innermost that is still open; where all of that boundary are closed, the part is one that
    follows the end, as some senders write them.
    """
    late: tuple[int, bool] | None = None
    for index in range(len(levels) - 1, -1, -1):
        boundary = levels[index].boundary
        if token == boundary:
            closing = False
        elif token.startswith(boundary) and token[len(boundary) :] == b"--":
            closing = True
        else:
            continue
        if not levels[index].closed:
            return index, closing
        late = late or (index, closing)
    return late


def _delimiter(source: Source, start: int, stop: int, levels: list[_Level]) -> int | None:
    """Return where a delimiter line begins within a header block, if one does."""
    found = source.find(b"\n--", start, stop)
    while found >= 0:
        line = source[found + 3 : found + 1003].partition(b"\n")[0].rstrip(b" \t\r")
        if _match(levels, line) is not None:
            return found + 1
        found = source.find(b"\n--", found + 1, stop)
    return None
