"""SQLite, with checkpoints of its write-ahead log that no commit can come between."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import peewee

LOG_BYTES: Final = 16 * 1024 * 1024
"""A log that is longer after a commit is moved into the database."""
_PRAGMAS: Final = {
    "page_size": 8192,  # of a new file: messages fit better, a third of the time to write them
    "journal_mode": "wal",
    "synchronous": "full",  # a commit must survive a power cut: side effects follow it
    "foreign_keys": 1,
    "cache_size": -24_000,
    "temp_store": "memory",
    "wal_autocheckpoint": 0,  # it would not keep others from committing meanwhile
    "journal_size_limit": LOG_BYTES,  # so the size of the file tells whether the log is longer
}
_BUSY_SECONDS: Final = 30


def sqlite(path: str) -> peewee.SqliteDatabase:
    """Return the database in a file, not yet opened."""
    return _Sqlite(path)


class _Sqlite(peewee.SqliteDatabase):
    """Moves the log into the database itself, while nobody can commit.

    SQLite up to 3.51.2 may take for moved what is not, and so lose it, when a commit begins the log
    anew just as a checkpoint begins (https://www.sqlite.org/wal.html#walresetbug). Its automatic
    checkpoints allow that. Here another connection holds the write lock, which the beginning of a
    log needs, from before a checkpoint until after it: that keeps off every thread and process.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, pragmas=_PRAGMAS, timeout=_BUSY_SECONDS)
        # SQLite keeps the log beside the file itself, not beside a link to it.
        self._file = Path(os.path.realpath(path))
        self._log = f"{self._file}-wal"
        self._turn = threading.Lock()

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction; if it is to write, in turn with this process's other threads.

        SQLite lets all who wait look again from time to time, and whoever just wrote is faster. So
        only one thread at a time looks; the turn ends when the transaction has begun, or cannot.
        """
        if lock_type is None:
            super().begin()
            return
        if not self._turn.acquire(timeout=_BUSY_SECONDS):
            error = sqlite3.OperationalError("database is locked")  # as SQLite says it
            raise peewee.OperationalError(*error.args) from error
        try:
            super().begin(lock_type)
        finally:
            self._turn.release()

    def commit(self) -> Any:
        """Commit what was done; shorten a log that it made long."""
        super().commit()
        self._shorten_log()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement; outside of a transaction, one that writes is a commit."""
        cursor = super().execute_sql(sql, params)  # type: ignore[no-untyped-call]  # no stubs
        if not (sql.startswith("SELECT") or self.in_transaction()):
            self._shorten_log()
        return cursor

    def _shorten_log(self) -> None:
        with suppress(OSError):  # there is none, say
            if os.stat(self._log).st_size > LOG_BYTES:
                self._checkpoint()

    def _checkpoint(self) -> None:
        """Move the log into the database, so that the next commit begins it anew.

        What fails is left to the next commit, as SQLite does: nothing depends on it. Nor is a
        writer waited for: it will have a commit of its own.
        """
        uri = f"{self._file.as_uri()}?mode=rw"
        with (
            suppress(sqlite3.Error, MemoryError),
            closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as guard,
        ):
            guard.execute("BEGIN IMMEDIATE")
            self.connection().execute("PRAGMA wal_checkpoint(PASSIVE)")  # type: ignore[no-untyped-call]
