"""A database connection that ends before or after any statement, COMMIT included, loses and doubles
nothing: whether the COMMIT went through is seen in the ledger, not guessed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import peewee
import pytest
from postroom.errors import StoreError
from postroom.store.models import Trouble, database
from postroom_test_servers.crash_cases import CASES, Servers
from postroom_test_servers.points import points, say, takes_all

RunOnce = Callable[[], int]


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


def cut_off() -> None:
    """End the connection of this thread on the server; the client notices as it would."""
    if isinstance(database.obj, peewee.SqliteDatabase):
        raise peewee.OperationalError("disk I/O error") from sqlite3.OperationalError(
            "disk I/O error"
        )
    import psycopg

    pid = database.connection().info.backend_pid
    with psycopg.connect(database.obj.database, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        admin.execute("SELECT pg_sleep(0.02)")
    try:
        database.connection().execute("SELECT 1")
    except psycopg.OperationalError as error:
        raise peewee.OperationalError("the connection was ended") from error


@pytest.mark.timeout(0 if takes_all() else 120)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("case", CASES)
def test_a_connection_that_ends_at_any_statement(
    servers: Servers, run_once: RunOnce, pass_time: Callable[[], None], case: str, kind: str
) -> None:
    with CASES[case](servers, kind) as (_, check), failing(None) as seen:  # type: ignore[attr-defined]
        assert run_once() == 0
        check()
    last = seen[0]
    tried = list(points(last, stride=max(last // 8, 1)))

    for at in tried:
        with CASES[case](servers, kind) as (_, check):  # type: ignore[attr-defined]
            with failing(cut_off, at) as seen, suppress(StoreError):
                run_once()
            assert seen[0] >= at, "that point was never reached"
            assert not Trouble.select().where(Trouble.kind == "bug").exists()
            pass_time()
            for _ in range(2):
                assert run_once() in (0, 3), at
            check()
    say(f"{case}, {kind}, connection ended at {len(tried)} of {last} points: 0 lost, 0 doubled")
