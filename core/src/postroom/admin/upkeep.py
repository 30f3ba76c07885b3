"""Checks and backups of the database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from postroom import secrets
from postroom.errors import DatabaseUnusableError, DiskFullError, InputError, StoreError
from postroom.store.database import is_sqlite
from postroom.store.errors import database_errors, explain
from postroom.store.models import TABLES, Setting, database


def check() -> Iterator[str]:
    """Yield a line for each thing that is well.

    :raises DatabaseUnusableError: the data is damaged
    :raises KeyUnusableError: the secrets cannot be opened
    """
    yield "The tables are this version's."
    with database_errors():
        if is_sqlite():
            _check_sqlite()
        else:
            for table in TABLES:
                table.select().count()
    yield "The data can be read."
    if Setting.select().exists():
        secrets.prepare()
        yield "The key opens the secrets."


def _check_sqlite() -> None:
    trouble = [row[0] for row in database.execute_sql("PRAGMA integrity_check(5)")]
    if trouble != ["ok"]:
        raise DatabaseUnusableError(
            f"The database is damaged: {'; '.join(trouble)}.",
            next_step="Restore a backup; postroom retrieves again what is still on the servers.",
        )
    orphans = list(database.execute_sql("PRAGMA foreign_key_check"))
    if orphans:
        raise DatabaseUnusableError(
            f"{len(orphans)} rows of {orphans[0][0]} refer to nothing.",
            next_step="Restore a backup, or report it.",
        )


def backup(path: Path) -> int:
    """Copy the database to a new file, readable for its owner only; return its size in bytes.

    :raises InputError: the file exists, or the database has tools of its own
    :raises StoreError: no room for the copy, or the database cannot be read; there is no copy then
    """
    if not is_sqlite():
        raise InputError(
            "A PostgreSQL database is backed up with its own tools.",
            next_step="Use pg_dump, and keep a copy of the key file.",
        )
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise InputError(f"{path} exists.", next_step="Name a new file.") from error
    try:
        with closing(sqlite3.connect(path)) as target:
            database.connection().backup(target)
            _refuse_damaged(target)
    except BaseException as error:
        path.unlink()  # half a copy must not be taken for one, nor be in the way of the next
        if isinstance(error, sqlite3.Error):
            raise _not_copied(path, explain(error)) from error
        raise
    return path.stat().st_size


def _refuse_damaged(copy: sqlite3.Connection) -> None:
    """SQLite copies pages as they are. A damaged copy would be found when it is needed."""
    trouble = [row[0] for row in copy.execute("PRAGMA quick_check(5)")]
    if trouble != ["ok"]:
        raise DatabaseUnusableError(
            f"The database is damaged, and so would be the copy: {'; '.join(trouble)}.",
            next_step="Restore an earlier backup; what is still on the servers is retrieved again.",
        )


def _not_copied(path: Path, trouble: StoreError) -> StoreError:
    """Say it of the copy where there is no room for it: nothing ails the database then."""
    if not isinstance(trouble, DiskFullError):
        return trouble
    sentence = f"There is no space left for the copy {path}; it was not made."
    return DiskFullError(sentence, next_step="Free some space, or name a file on another disk.")
