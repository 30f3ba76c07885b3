"""The clock of this process, which tests move; and times as programs read them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

_read: Callable[[], datetime] = lambda: datetime.now(UTC)  # noqa: E731


def now() -> datetime:
    """Return the time, aware, in UTC."""
    return _read()


def replace(read: Callable[[], datetime] | None) -> None:
    """Use another clock, or with None the real one again."""
    global _read
    _read = read or (lambda: datetime.now(UTC))


def iso(moment: datetime) -> str:
    """Return a time by ISO 8601, in UTC with ``Z``."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
