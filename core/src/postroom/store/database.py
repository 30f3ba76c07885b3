"""Opens the database and gives it transactions, a clock, and bulk inserts."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import peewee
from msgspec import json

from postroom import clock
from postroom.errors import DatabaseUnusableError, StoreError
from postroom.store.errors import database_errors
from postroom.store.fields import InstantField, JsonField, from_micros
from postroom.store.models import Table, database
from postroom.store.sqlite import sqlite

# Without adapters, the driver looks for one with each value: several times what it takes to store.
sqlite3.register_adapter(type(None), {None: None}.get)
sqlite3.register_adapter(bool, int)
sqlite3.register_adapter(bytes, bytes)
INSIST_SECONDS = 20.0
"""So long `insist` waits for a database: a server restarts in less."""
_Written = TypeVar("_Written")


def connect(url: str) -> None:
    """Make `url` the database of this process.

    :param url: ``sqlite:///relative``, ``sqlite:////absolute`` or ``postgresql://…``
    :raises DatabaseUnusableError: another kind of URL, or its driver is not installed
    """
    path = sqlite_path(url)
    if path is not None:
        database.initialize(_sqlite(path))
    elif url.startswith(("postgresql://", "postgres://")):
        database.initialize(_postgresql(url))
    else:  # it is not shown: there may be a password in it
        raise DatabaseUnusableError(
            "POSTROOM_DATABASE has to begin with sqlite:/// or postgresql://.", next_step=_WRITE_URL
        )


def sqlite_path(url: str) -> Path | None:
    """Return the file that a SQLite URL names, None for another URL.

    :raises DatabaseUnusableError: it names none, or goes on after the file
    """
    if not url.startswith(_SQLITE):
        return None
    name, mark, _ = url.removeprefix(_SQLITE).partition("?")
    if mark:
        raise DatabaseUnusableError(
            "POSTROOM_DATABASE has options after the name of a SQLite file, and there are none.",
            next_step="Leave out what begins with the question mark; in a name it is written %3F.",
        )
    if not name:
        raise DatabaseUnusableError("POSTROOM_DATABASE names no file.", next_step=_WRITE_URL)
    return Path(unquote(name))


_SQLITE = "sqlite:///"
_WRITE_URL = "Write sqlite:////absolute/path or postgresql://USER@HOST/DATABASE."


def _sqlite(path: Path) -> peewee.SqliteDatabase:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnusableError(
            f"The folder of {path} cannot be made: {error.strerror}.",
            next_step="Point POSTROOM_DATABASE to a place where this user may write.",
        ) from error
    return sqlite(str(path))


def _postgresql(url: str) -> peewee.PostgresqlDatabase:
    try:
        from postroom.store.postgresql import postgresql
    except ImportError as error:
        raise DatabaseUnusableError(
            "For PostgreSQL a driver is missing: pip install 'postroom[postgresql]'."
        ) from error
    return postgresql(url)


def is_sqlite() -> bool:
    """Say which of the two databases it is."""
    return isinstance(database.obj, peewee.SqliteDatabase)


@contextmanager
def connection() -> Iterator[None]:
    """Hold this thread's connection open for the block."""
    with database_errors():
        opened = database.connect(reuse_if_open=True)
    try:
        yield
    finally:
        if opened:
            database.close()


@contextmanager
def transaction() -> Iterator[None]:
    """Run the block in one write transaction; on SQLite it has the write lock from the start,
    so that what it reads is what it writes upon."""
    with database_errors():
        if database.transaction_depth():
            with database.atomic():
                yield
        elif is_sqlite():
            with database.atomic("IMMEDIATE"):
                yield
        else:
            with database.atomic():
                yield


@contextmanager
def later_on_disk() -> Iterator[None]:
    """Do not wait in the block, outside of a transaction, until a commit is on the disk (SQLite).

    Commits stay whole and in their order. The next one outside of such a block, of any process,
    takes them to the disk if it changes anything: it waits for the write-ahead log, which has them
    all. So this is for what can be done again, and `wait_for_disk` must follow before anything is
    done that it is the reason for.
    """
    if not is_sqlite():
        yield
        return
    database.execute_sql("PRAGMA synchronous = normal")
    try:
        yield
    finally:
        database.execute_sql("PRAGMA synchronous = full")


def wait_for_disk() -> None:
    """Make the caller's transaction one that is waited for, and with it all that came before.

    On SQLite it needs a row that becomes another: a page that is written as it was is none, and a
    commit without pages neither writes nor waits.
    """
    if is_sqlite():
        _count_on("disk", 1)


def insist(write: Callable[[], _Written], stop: threading.Event | None = None) -> _Written:
    """Do a write again while the database takes nothing, for a while: what is not written is not
    known any more. It must be one transaction, and may happen to be done twice.

    :param stop: when set, it is not waited any longer
    :raises StoreError: the last one
    """
    stop = stop or threading.Event()
    deadline, pause = time.monotonic() + INSIST_SECONDS, 0.05
    while True:
        try:
            with database_errors():
                return write()
        except StoreError:
            if time.monotonic() >= deadline or stop.wait(pause):
                raise
            pause = min(2 * pause, 1.0)


def now() -> datetime:
    """Return the database's time: the one clock that all runners share."""
    if is_sqlite():
        return clock.now()  # one host, one clock
    row = database.execute_sql(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    ).fetchone()
    return from_micros(row[0])


def allocate_ids(table: type[Table], count: int) -> range:
    """Return `count` new ids of a table whose ids are given out before the insert.

    Must run in a transaction. Ids are never used twice, also when rows were deleted.
    """
    return _count_on(table._meta.table_name, count)


def _count_on(name: str, count: int) -> range:
    # One round trip; on PostgreSQL the row lock orders concurrent writers, as their inserts would.
    [(next_id,)] = execute(
        "INSERT INTO counter (name, next_id) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE "
        "SET next_id = counter.next_id + %s RETURNING next_id",
        (name, 1 + count, count),
    )
    return range(next_id - count, next_id)


def execute(statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    """Execute SQL in which ``%s`` stands for each value, and ``= ANY(%s)`` compares with each of a
    list; return the rows that it gives, as they are stored.

    For what every batch asks: to build a statement takes peewee longer than the database to answer.
    """
    if is_sqlite():
        statement = statement.replace("= ANY(%s)", f"IN {_EACH_OF_JSON}").replace("%s", "?")
        values = [_as_json(value) if isinstance(value, list) else value for value in values]
    return list(database.execute_sql(statement, values).fetchall())


def rows(query: Any) -> list[tuple[Any, ...]]:
    """Return a query's rows as tuples: as the driver gives them, which is ten times as fast as
    peewee's conversion of each value, but for columns of which Python sees something else."""
    found = query.tuples().execute()
    found.initialize()
    stored: list[tuple[Any, ...]] = found.cursor.fetchall()
    for place, field in enumerate(found.fields):
        if isinstance(field, (InstantField, JsonField, peewee.BooleanField)):
            see = field.python_value
            stored = [(*row[:place], see(row[place]), *row[place + 1 :]) for row in stored]
    return stored


def is_among(field: peewee.Field, values: Iterable[str | int]) -> peewee.Expression:
    """Return the condition that the field is one of many values.

    They are one parameter of the statement; `in_` makes one of each, which takes peewee longer
    than the database needs to find the rows.
    """
    wanted = list(values)
    if is_sqlite():
        return peewee.Expression(field, "IN", peewee.SQL(_EACH_OF_JSON, [_as_json(wanted)]))
    return peewee.Expression(field, "=", peewee.SQL("ANY(%s)", [wanted]))


_EACH_OF_JSON = "(SELECT value FROM json_each(?))"


def _as_json(values: list[Any]) -> str:
    return json.encode(values).decode()


_Conversions = list[tuple[int, Callable[[Any], Any]]]
_insert_statements: dict[tuple[object, ...], tuple[str, _Conversions]] = {}


def insert_rows(
    table: type[Table],
    columns: Sequence[str],
    values: Iterable[Sequence[Any]],
    *,
    ignore_conflicts: bool = False,
) -> None:
    """Insert many rows with one prepared statement: five times as fast as building one each.

    :param columns: names of fields; every row has a value for each, as Python sees it
    :param ignore_conflicts: leave out rows that a unique index refuses
    """
    kind = "sqlite" if is_sqlite() else "postgresql"
    what = (kind, table, tuple(columns), ignore_conflicts)
    cached = _insert_statements.get(what)
    if cached is None:
        fields = [table._meta.fields[name] for name in columns]
        names = ", ".join(f'"{field.column_name}"' for field in fields)
        marks = ", ".join(["?" if kind == "sqlite" else "%s"] * len(fields))
        statement = f'INSERT INTO "{table._meta.table_name}" ({names}) VALUES ({marks})'  # noqa: S608
        if ignore_conflicts:
            statement += " ON CONFLICT DO NOTHING"
        convert: _Conversions = [
            (place, field.db_value)
            for place, field in enumerate(fields)
            if isinstance(field, (InstantField, JsonField))  # all else both drivers take as it is
        ]
        cached = (statement, convert)
        _insert_statements[what] = cached
    statement, conversions = cached
    stored = [list(row) for row in values]
    for place, to_stored in conversions:
        for row in stored:
            if row[place] is not None:
                row[place] = to_stored(row[place])
    if stored:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]  # missing in its stubs
            database.connection().cursor().executemany(statement, stored)


def insert(row: Table) -> None:
    """Insert one row as `insert_rows` does; what the database counts itself is not read back."""
    insert_rows(type(row), tuple(row.__data__), [tuple(row.__data__.values())])
