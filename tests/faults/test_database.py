"""A database connection that ends before or after any statement, COMMIT included, loses and doubles
nothing: whether the COMMIT went through is seen in the ledger, not guessed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress

import peewee
import pytest
from postroom.errors import StoreError
from postroom.store.models import Trouble, database
from postroom_test_servers.crash_cases import CASES, Servers
from postroom_test_servers.points import points, say, takes_all
from postroom_test_servers.statements import failing

RunOnce = Callable[[], int]


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
