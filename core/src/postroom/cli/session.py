"""Opens the database for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote

import peewee

from postroom import places
from postroom.errors import DatabaseUnusableError, SchemaError
from postroom.store import database, models, schema


@contextmanager
def open_store(*, check: bool = True) -> Iterator[None]:
    """Use the configured database and hold this thread's connection for the block.

    :param check: refuse another schema than this program's; without it, an absent database is made
    :raises SchemaError: with the command to run
    :raises DatabaseUnusableError: no connection, no right, or not a database
    """
    url = places.database_url()
    if check:
        _refuse_absent(url)
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
    return current is not None and current.database == str(sqlite_path(url) or url)


def _refuse_absent(url: str) -> None:
    """A command that only looks must not leave an empty file behind."""
    path = sqlite_path(url)
    if path and not path.exists():
        raise SchemaError(f"There is no database at {path} yet.", next_step="Run `postroom init`.")


def sqlite_path(url: str) -> Path | None:
    """Return the file that a SQLite URL names, None for others."""
    if not url.startswith("sqlite:///"):
        return None
    return Path(unquote(url.removeprefix("sqlite:///")))


@contextmanager
def _opening(url: str) -> Iterator[None]:
    try:
        yield
    except peewee.DatabaseError as error:  # "file is not a database" is no OperationalError
        path = sqlite_path(url)
        text = " ".join(str(error).split())[:300]
        what = f"{path} cannot be used as a database" if path else "The database cannot be used"
        raise DatabaseUnusableError(f"{what}: {text}.") from error
    except ValueError as error:
        raise DatabaseUnusableError("POSTROOM_DATABASE is not a valid URL.") from error
