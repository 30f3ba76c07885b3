"""The clock of this process; tests move it."""

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
