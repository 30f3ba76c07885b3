"""What databases and their drivers raise, translated at this one place to the core's errors."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import peewee

from postroom.errors import (
    ConflictError,
    DatabaseAwayError,
    DatabaseLockedError,
    DatabaseUnusableError,
    DiskFullError,
    StoreError,
)
from postroom.store.models import database

_SQLITE_STEPS = {
    "locked": "Another program holds it; end that, or try again in a minute.",
    "malformed": "Restore a backup; what is still on the servers is retrieved again.",
    "not a database": "Restore a backup, or point POSTROOM_DATABASE to another file.",
    "readonly": "Let this user write the file, those beside it that end with -wal and -shm, and "
    "the folder.",
    "unable to open": "Check the path, and that this user may write the file and its folder.",
    "disk I/O error": "Look at the disk that the file is on, and at the system's log.",
}
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
"""As Python has it in its words on a host that is not found."""
_CONFLICTS = ("40001", "40P01", "55P03")
"""Not serializable, deadlock, a lock that was not to be had: PostgreSQL, appendix A."""
_AWAY = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "53300", "25006")
"""No connection, ended by an administrator or a crash, starting up, idle for too long, also in a
transaction, too many clients, read-only as a standby is."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise what means "the database or its disk is the trouble" as the core's own errors."""
    try:
        yield
    except (peewee.DatabaseError, peewee.InterfaceError, sqlite3.Error) as error:
        if is_about_the_database(error):
            raise explain(error) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError("There is no space left on the disk.") from error
        raise


def is_about_the_database(error: BaseException) -> bool:
    """Say whether an error means that the database or its disk is the trouble, and not what was
    asked of it. SQLite's own come while rows are read, past peewee."""
    if type(error) in (peewee.DatabaseError, sqlite3.DatabaseError):  # "malformed"
        return True
    ours = (peewee.OperationalError, peewee.InterfaceError, peewee.InternalError)
    return isinstance(error, (*ours, sqlite3.OperationalError))


def explain(error: BaseException) -> StoreError:
    """Put a driver's error into an administrator's words.

    What came first counts: SQLite undoes a transaction by itself when the disk is full, and then
    complains that there is none to undo.
    """
    chain = list(_chain(error))
    if any(_is_disk_full(one) for one in chain):
        return DiskFullError("There is no space left for the database.")
    cause = next((one for one in reversed(chain) if isinstance(one, sqlite3.Error)), None)
    if cause is not None:
        text = " ".join(str(cause).split())
        step = next((step for word, step in _SQLITE_STEPS.items() if word in text), None)
        sentence = f"The database {database.obj.database} says: {text}."
        told_as = DatabaseLockedError if "locked" in text else DatabaseUnusableError
        return told_as(sentence, next_step=step)
    told = next((one for one in reversed(chain) if hasattr(one, "sqlstate")), error)
    text = _ERRNO.sub("", " ".join(str(told).split()))
    kind = _kind_of(error, told)
    step = "What was begun is undone; try again." if kind is ConflictError else None
    return kind(f"The database server says: {text[:300]}", next_step=step)


def _kind_of(error: BaseException, told: BaseException) -> type[StoreError]:
    """Tell apart the errors of PostgreSQL that pass by themselves."""
    state = getattr(told, "sqlstate", None)
    if state is None:  # the driver's own word: no connection, or a value that it does not take
        is_lost = isinstance(error, (peewee.OperationalError, peewee.InterfaceError))
        return DatabaseAwayError if is_lost else DatabaseUnusableError
    if state in _CONFLICTS:
        return ConflictError
    return DatabaseAwayError if state.startswith(_AWAY) else DatabaseUnusableError


_SQLITE_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
"""The second one: not even the index of the write-ahead log has room, which a reader needs too."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, the latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    name = getattr(error, "sqlite_errorname", "") if isinstance(error, sqlite3.Error) else ""
    return name in _SQLITE_FULL or getattr(error, "sqlstate", None) == "53100"
