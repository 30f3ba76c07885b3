"""The settings of a mailbox as the TOML file writes them, checked and turned into columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

from postroom import names
from postroom.api.errors import Problem
from postroom.errors import NotFoundError
from postroom.mailboxes import segments, topics
from postroom.store.models import Segment

DEFAULTS: Final[Mapping[str, Any]] = {
    "name": "",
    "segment": segments.DEFAULT,
    "enabled": True,
    "topic": None,
    "disposition": "leave",
    "start": "now",
    "acknowledge": False,
    "aliases": (),
    "poll_seconds": 60,
    "max_message_bytes": 100 << 20,
}
_ACTIONS: Final = ("leave", "seen", "delete")
_LONGEST_POLL: Final = 86_400
_LARGEST: Final = (1 << 31) - 1
"""The size of a message is a number of 32 bits in PostgreSQL."""


def checked(values: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Return columns of `Mailbox`, adding what is wrong to `problems`.

    Segment and topic have to exist: runs in the caller's transaction.
    """
    columns: dict[str, Any] = {}

    def take(name: str, check: Callable[[Any], Any]) -> None:
        try:
            columns[name] = check(values[name])
        except ValueError as error:
            problems.append(Problem(name, str(error)))

    for field in values:
        if field not in DEFAULTS:
            problems.append(Problem(field, f"is unknown; {names.nearest(field, DEFAULTS)}"))
    take("name", _display_name)
    take("enabled", _truth)
    take("acknowledge", _truth)
    take("start", written_start)
    take("aliases", _addresses)
    take("poll_seconds", lambda value: _number(value, _LONGEST_POLL))
    take("max_message_bytes", lambda value: _number(value, _LARGEST))
    take("disposition", read_disposition)
    if "disposition" in columns:
        columns["disposition"], columns["disposition_folder"] = columns["disposition"]
    columns |= _place(values["segment"], values["topic"], problems)
    return columns


def _place(segment_name: Any, topic_name: Any, problems: list[Problem]) -> dict[str, Any]:
    try:
        segment: Segment = segments.find(_text(segment_name))
    except (ValueError, NotFoundError) as error:
        problems.append(Problem("segment", str(error)))
        return {}
    try:
        topic = topics.find(segment, _text(topic_name)) if topic_name is not None else None
    except (ValueError, NotFoundError) as error:
        problems.append(Problem("topic", str(error)))
        return {}
    return {"segment": segment.id, "topic": topic.id if topic else None}


def written_start(value: Any) -> str:
    """Return ``now``, ``all`` or a date as it is kept.

    :raises ValueError: it is none of these
    """
    if isinstance(value, str):
        if value in ("now", "all"):
            return value
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    elif isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    raise ValueError('must be "now", "all" or a date like 2026-01-31')


def resolve_start(start: str, instant: datetime) -> datetime | None:
    """Return from when on mail is new; None: all is.

    ``now`` is a whole second: servers' dates are, and what arrives within it is new.
    """
    if start == "all":
        return None
    if start == "now":
        return instant.replace(microsecond=0)
    return datetime.combine(date.fromisoformat(start), time(), UTC)


def read_disposition(value: Any) -> tuple[str, str | None]:
    """Return action and folder of ``"seen"`` or ``{ move = "Archive" }``.

    :raises ValueError: it is neither
    """
    if isinstance(value, str) and value in _ACTIONS:
        return value, None
    if isinstance(value, Mapping) and [*value] == ["move"]:
        folder = value["move"]
        if isinstance(folder, str) and folder.strip() and folder.isprintable():
            return "move", folder
    raise ValueError(
        'must be "leave", "seen", "delete" or { move = "FOLDER" }; as an option, move:FOLDER'
    )


def written_disposition(action: str, folder: str | None) -> Any:
    """Return a disposition as the TOML file writes it."""
    return {"move": folder} if action == "move" else action


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _display_name(value: Any) -> str:
    text = " ".join(_text(value).split())
    if not text.isprintable() or len(text) > 2 * names.LONGEST_NAME:
        raise ValueError(f"must be at most {2 * names.LONGEST_NAME} printable characters")
    return text


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _number(value: Any, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"must be a whole number from 1 to {most}")
    return value


def _addresses(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError('must be a list like ["help@example.org"]')
    return [names.checked_address(one) for one in value]
