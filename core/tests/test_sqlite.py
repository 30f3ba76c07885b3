"""The write-ahead log of SQLite is moved into the database while nobody can commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import peewee
import pytest
from postroom.store import models
from postroom.store import sqlite as module
from postroom.store.errors import explain
from postroom.store.sqlite import LOG_BYTES, sqlite

LARGE = LOG_BYTES + 1
ADD = "INSERT INTO item (content) VALUES (zeroblob(?))"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is, named so that it cannot be part of an URL as it is."""
    return tmp_path / "büro #1 50%20?.db"


@pytest.fixture
def opened(path: Path) -> Iterator[peewee.SqliteDatabase]:
    """A database with a table, opened in this thread."""
    made = sqlite(str(path))
    made.execute_sql("CREATE TABLE item (content BLOB)")
    yield made
    made.close()


def another(path: Path) -> closing[sqlite3.Connection]:
    """Open it as another process does; nothing is waited for."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return closing(connection)


def add(opened: peewee.SqliteDatabase, size: int) -> None:
    with opened.atomic("IMMEDIATE"):
        opened.execute_sql(ADD, (size,))


def log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def is_moved(opened: peewee.SqliteDatabase, path: Path) -> bool:
    """Whether all of the log is in the database: then what is written next begins it anew."""
    opened.execute_sql(ADD, (1,))
    return log(path).stat().st_size == LOG_BYTES


def test_no_connection_moves_the_log_by_itself(opened: peewee.SqliteDatabase) -> None:
    def automatic() -> tuple[int, ...]:
        with opened.connection_context():
            found: tuple[int, ...] = opened.execute_sql("PRAGMA wal_autocheckpoint").fetchone()
        return found

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(automatic).result() == (0,)
    assert opened.execute_sql("PRAGMA wal_autocheckpoint").fetchone() == (0,)


def test_a_long_log_is_moved_after_the_commit(opened: peewee.SqliteDatabase, path: Path) -> None:
    add(opened, LOG_BYTES // 2)
    assert path.stat().st_size < LOG_BYTES // 2  # not yet

    add(opened, LOG_BYTES // 2)

    assert path.stat().st_size > LOG_BYTES
    assert is_moved(opened, path)


def test_a_statement_outside_of_a_transaction_is_a_commit(
    opened: peewee.SqliteDatabase, path: Path
) -> None:
    opened.execute_sql(ADD, (LARGE,))

    assert is_moved(opened, path)


def test_nobody_else_can_write_while_the_log_is_moved(
    opened: peewee.SqliteDatabase, path: Path
) -> None:
    tried: list[str] = []

    def trace(statement: str) -> None:
        if "wal_checkpoint" not in statement:
            return
        with another(path) as other:
            assert other.execute("SELECT count(*) FROM item").fetchone() == (1,)  # who reads may
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        tried.append(statement)

    opened.connection().set_trace_callback(trace)

    add(opened, LARGE)

    assert len(tried) == 1
    with another(path) as other:
        other.execute("BEGIN IMMEDIATE")  # and then again


def test_a_writer_is_not_waited_for(opened: peewee.SqliteDatabase, path: Path) -> None:
    with another(path) as other:
        add(opened, LOG_BYTES // 2)
        other.execute("BEGIN IMMEDIATE")
        other.execute(ADD, (LARGE,))
        other.execute("COMMIT")
        other.execute("BEGIN IMMEDIATE")

        opened.execute_sql("PRAGMA user_version")  # no SELECT: it looks at the log

        other.execute("ROLLBACK")
    assert not is_moved(opened, path)
    add(opened, 1)
    assert is_moved(opened, path)


def test_a_reader_keeps_what_it_sees_and_nobody_waits_for_it(
    opened: peewee.SqliteDatabase, path: Path
) -> None:
    with another(path) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM item").fetchone() == (0,)

        add(opened, LARGE)
        assert not is_moved(opened, path)

        assert reader.execute("SELECT count(*) FROM item").fetchone() == (0,)
    add(opened, 1)
    assert is_moved(opened, path)


def test_a_commit_holds_where_moving_the_log_fails(
    opened: peewee.SqliteDatabase, path: Path
) -> None:
    def refuse(_: int, name: str | None, *__: Any) -> int:
        return sqlite3.SQLITE_DENY if name == "wal_checkpoint" else sqlite3.SQLITE_OK

    opened.connection().set_authorizer(refuse)

    add(opened, LARGE)

    assert not is_moved(opened, path)
    opened.connection().set_authorizer(None)
    add(opened, 1)  # nobody is kept from writing, and the next one sees to it
    assert is_moved(opened, path)


def test_a_commit_holds_where_there_is_no_memory_to_move_the_log(
    opened: peewee.SqliteDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(module.sqlite3, "connect", refuse)  # as the driver does it
        add(opened, LARGE)

    assert not is_moved(opened, path)
    add(opened, 1)
    assert is_moved(opened, path)


def test_the_log_of_a_file_behind_a_link_is_found(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    opened = sqlite(str(tmp_path / "link.db"))
    with opened.connection_context():
        opened.execute_sql("CREATE TABLE item (content BLOB)")
        add(opened, LARGE)

        assert is_moved(opened, path)


def test_only_the_last_to_close_moves_the_log(opened: peewee.SqliteDatabase, path: Path) -> None:
    add(opened, 1_000_000)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: (add(opened, 1), opened.close())).result()

    assert log(path).stat().st_size > 1_000_000
    assert path.stat().st_size < 1_000_000
    opened.close()
    assert not log(path).exists()
    assert path.stat().st_size > 1_000_000


def test_many_who_write_at_once_lose_nothing(opened: peewee.SqliteDatabase, path: Path) -> None:
    writers, each = 4, 8
    together = Barrier(writers)

    def write() -> None:
        with opened.connection_context():
            together.wait(20)
            for _ in range(each):
                add(opened, LOG_BYTES // 6)

    with ThreadPoolExecutor(writers) as threads:
        for done in [threads.submit(write) for _ in range(writers)]:
            done.result(60)

    assert opened.execute_sql("PRAGMA integrity_check").fetchone() == ("ok",)
    assert opened.execute_sql("SELECT count(*) FROM item").fetchone() == (writers * each,)
    add(opened, LARGE)
    assert is_moved(opened, path)


def test_threads_in_line_give_up_when_sqlite_would(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
    opened = sqlite(str(path))
    monkeypatch.setattr(models.database, "obj", opened)  # whose name is in the error
    together = Barrier(3)

    def write() -> BaseException | None:
        with opened.connection_context():
            together.wait(20)
            try:
                add(opened, 1)
            except peewee.OperationalError as error:
                return error
        return None

    with opened.connection_context(), another(path) as other, ThreadPoolExecutor(3) as threads:
        opened.execute_sql("CREATE TABLE item (content BLOB)")
        other.execute("BEGIN IMMEDIATE")
        for refused in [threads.submit(write) for _ in range(3)]:
            error = refused.result(20)
            assert error is not None
            assert "database is locked" in str(explain(error))
            assert explain(error).next_step.startswith("Another program holds it")
        other.execute("ROLLBACK")
        add(opened, 1)


def test_who_reads_is_not_in_line(opened: peewee.SqliteDatabase, path: Path) -> None:
    def write() -> None:
        with opened.connection_context():
            add(opened, 1)

    pause = Event()
    with another(path) as other, ThreadPoolExecutor(1) as threads:
        other.execute("BEGIN IMMEDIATE")
        written = threads.submit(write)
        while not opened._turn.locked():  # type: ignore[attr-defined]
            pause.wait(0.01)

        with opened.atomic():
            assert opened.execute_sql("SELECT count(*) FROM item").fetchone() == (0,)
        assert not written.done()

        other.execute("ROLLBACK")
        written.result(20)
    assert opened.execute_sql("SELECT count(*) FROM item").fetchone() == (1,)
