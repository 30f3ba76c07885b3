"""Faults of the database at a numbered statement of a visit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peewee
import pytest


@contextmanager
def failing(
    fail: Callable[[], None] | None, at: int = 0, *, for_ever: bool = False
) -> Iterator[list[int]]:
    """Call `fail` at the n-th point of a visit: one before each database call, one after it.

    :returns: a list whose first item counts the points
    """
    seen = [0]
    lock = threading.Lock()

    def point() -> None:
        with lock:
            seen[0] += 1
            due = fail is not None and (seen[0] == at or (for_ever and seen[0] >= at > 0))
        if due and fail is not None:
            fail()

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            if not threading.current_thread().name.startswith("visit"):
                return real(self, *arguments, **options)
            point()
            result = real(self, *arguments, **options)
            # A statement that SQLite calls failed was not done; of a commit nobody knows.
            if real.__name__ == "commit" or not isinstance(self, peewee.SqliteDatabase):
                point()
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("execute_sql", "commit"):
            patch.setattr(peewee.Database, name, watched(getattr(peewee.Database, name)))
        yield seen
