"""On which line of a TOML file something stands; `tomllib` does not tell.

A light reader that only runs over files which `tomllib` has accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

Place = tuple[str | int, ...]
"""Keys and list positions from the root: ``("mailbox", 0, "incoming", "host")``."""

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"""\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+)(?:\s*\.\s*|\s*(?==)))+=""")
_PART: Final = re.compile(r""""((?:[^"\\]|\\.)*)"|'([^']*)'|([\w-]+)""")
_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""' + r"|'''.*?'''" + r'|"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'"
    r"|#[^\n]*|[\[\]{}\n]|[^\"'#\[\]{}\n]+|.",
    re.DOTALL,
)


class Lines:
    """Finds the line of a place."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        self._read(text)

    def of(self, *place: str | int) -> int:
        """Return the line (from 1) of a place, else of the nearest thing around it."""
        for length in range(len(place), 0, -1):
            if line := self._lines.get(place[:length]):
                return line
        return 1

    def _read(self, text: str) -> None:
        table: Place = ()
        for number, statement in _statements(text):
            if header := _HEADER.match(statement):
                table = self._enter(header[2], is_list=header[1] == "[[")
                self._lines.setdefault(table, number)
                self._lines.setdefault(table[:-1] if header[1] == "[[" else table, number)
            elif key := _KEY.match(statement):
                place = table
                for part in _parts(key[0]):
                    place = (*place, part)
                    self._lines.setdefault(place, number)

    def _enter(self, name: str, *, is_list: bool) -> Place:
        """Return the place of a header; ``[[x]]`` opens a new item, ``[x.y]`` is in the last."""
        place: Place = ()
        parts = _parts(name)
        for index, part in enumerate(parts):
            place = (*place, part)
            if is_list and index == len(parts) - 1:
                self._counts[place] = self._counts.get(place, 0) + 1
            if place in self._counts:
                place = (*place, self._counts[place] - 1)
        return place


def _parts(name: str) -> list[str]:
    return [match[1] or match[2] or match[3] or "" for match in _PART.finditer(name)]


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with its first line: a value may go over several lines."""
    number, start, depth = 1, 1, 0
    pieces: list[str] = []
    for match in _TOKEN.finditer(text.replace("\r\n", "\n") + "\n"):
        token = match[0]
        if token == "\n" and depth == 0:  # noqa: S105 - no password
            yield start, "".join(pieces)
            pieces, depth, start = [], 0, number + 1
        else:
            depth += (token in ("[", "{")) - (token in ("]", "}"))
            pieces.append(token)
        number += token.count("\n")
