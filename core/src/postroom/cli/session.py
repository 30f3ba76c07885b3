"""Opens the database for a command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import peewee

from postroom import places
from postroom.errors import DatabaseUnusableError, SchemaError
from postroom.store import database, models, schema


@contextmanager
def open_store(*, url: str | None = None, check: bool = True) -> Iterator[None]:
    """Use the configured database and hold this thread's connection for the block.

    :param url: another database than the configured one
    :param check: refuse another schema than this program's; without it, an absent database is made
    :raises SchemaError: with the command to run
    :raises DatabaseUnusableError: no connection, no right, or not a database
    """
    url = url or places.database_url()
    path = database.sqlite_path(url)
    if path and not path.exists():
        if check:
            _refuse_absent(path)
        _make_private(path)
    with ExitStack() as stack:
        with _opening(url):
            if not _is_open(url):
                database.connect(url)
            stack.enter_context(database.connection())
            if check:
                schema.check()
        yield


def _is_open(url: str) -> bool:
    """Say whether this process uses that database already: a test, or a command in a command."""
    current = models.database.obj
    return current is not None and current.database == str(database.sqlite_path(url) or url)


def _refuse_absent(path: Path) -> None:
    """A command that only looks must not leave an empty file behind."""
    raise SchemaError(f"There is no database at {path} yet.", next_step="Run `postroom init`.")


def _make_private(path: Path) -> None:
    """Make the file before SQLite does: what customers write is for this user's eyes."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnusableError(
            f"The database {path} cannot be made: {error.strerror}.",
            next_step="Point POSTROOM_DATABASE to a place where this user may write.",
        ) from error


@contextmanager
def _opening(url: str) -> Iterator[None]:
    try:
        yield
    except peewee.DatabaseError as error:  # "file is not a database" is no OperationalError
        path = database.sqlite_path(url)
        text = " ".join(str(error).split())[:300]
        what = f"{path} cannot be used as a database" if path else "The database cannot be used"
        raise DatabaseUnusableError(f"{what}: {text}.") from error
