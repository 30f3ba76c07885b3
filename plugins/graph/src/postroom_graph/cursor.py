"""The cursor: how far each folder was listed, as the links that Graph gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

MOST_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Reached:
    """Where the listing of a folder goes on: the next page, or the changes since the last one."""

    folder_id: str
    """As the name was resolved; another one means that the folder was replaced."""
    link: str


Progress = dict[str, Reached]
"""By the folder's name in the settings."""


def format_cursor(progress: Progress, base: str) -> str:
    """Return the cursor; links that do not fit are left out, longest first.

    A folder without a link is listed from the start, which costs time and nothing else.
    """
    links = {
        name: [reached.folder_id, reached.link.removeprefix(base)]
        for name, reached in progress.items()
    }
    while len(text := _dumped(links)) > MOST_BYTES:
        del links[max(links, key=lambda name: len(_dumped({name: links[name]})))]
    return text.decode()


def parse_cursor(cursor: str | None, base: str) -> Progress:
    """Return what a cursor says; one that cannot be read says nothing."""
    try:
        found = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return dict(_reached(found, base)) if isinstance(found, dict) and found.get("v") == 1 else {}


def _reached(found: dict[str, Any], base: str) -> Iterator[tuple[str, Reached]]:
    links = found.get("links")
    for name, value in links.items() if isinstance(links, dict) else ():
        match value:
            case [str(folder_id), str(link)] if link:
                yield name, Reached(folder_id, base + link if link.startswith("/") else link)


def _dumped(links: dict[str, list[str]]) -> bytes:
    return json.dumps({"v": 1, "links": links}, separators=(",", ":"), ensure_ascii=False).encode()
