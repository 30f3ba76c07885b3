"""Brings the schema up to date, under a lock, and refuses to work on an unknown one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee

from postroom.errors import SchemaError
from postroom.store.database import connection, execute, is_sqlite
from postroom.store.errors import database_errors
from postroom.store.models import database

_FOLDER = Path(__file__).parent / "migrations"
_TABLE = "schema_migration"
_LOCK = 0x706F7374  # "post": any fixed number will do, it only has to be ours


def pending() -> list[str]:
    """Return the names of migrations that the database still lacks.

    :raises SchemaError: the database was made by a newer postroom
    """
    with connection(), database_errors():
        steps = _runner().status()
    unknown = [step.name for step in steps if step.path is None]
    if unknown:
        raise SchemaError(
            f"The database was upgraded by a newer postroom (it has {unknown[-1]}).",
            next_step="Install that version of postroom here too.",
        )
    return [step.name for step in steps if not step.applied]


def check() -> None:
    """Refuse a schema that is not this program's.

    :raises SchemaError: with the command to run
    """
    missing = [] if _is_known_to_be_current() else pending()
    if missing:
        empty = missing[0].startswith("0001")
        raise SchemaError(
            "The database is empty." if empty else "The database is of an older postroom.",
            next_step="Run `postroom init`." if empty else "Run `postroom db upgrade`.",
        )


def upgrade() -> list[str]:
    """Apply what is pending; return its names. Any number of processes may call it at once."""
    with connection(), database_errors(), _lock():
        pending()
        done: list[str] = _runner().up()
        return done


def _is_known_to_be_current() -> bool:
    """Say whether exactly the migrations that there are were applied: the usual case, for which
    nobody should wait until playhouse is imported."""
    try:
        with connection():
            applied = execute(f"SELECT name FROM {_TABLE}", ())  # noqa: S608 - ours
    except peewee.DatabaseError:
        return False  # `pending` tells what is the matter
    return {name for (name,) in applied} == {path.stem for path in _FOLDER.glob("[0-9]*.py")}


def _runner() -> Any:
    from playhouse.migrations import Runner  # type: ignore[import-untyped]  # has no stubs

    return Runner(database.obj, str(_FOLDER), table_name=_TABLE)


@contextmanager
def _lock() -> Iterator[None]:
    """All of it is one transaction, which a lock cannot outlive nor get lost from; a second process
    finds it done."""
    if is_sqlite():
        with database.atomic("EXCLUSIVE"):
            yield
        return
    with database.atomic():
        # Else what is seen would be as it was before the lock was waited for.
        database.execute_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield
