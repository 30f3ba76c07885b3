"""Brings the schema up to date, under a lock, and refuses to work on an unknown one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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
    applied = _applied()
    if applied == _ours():
        return
    if missing := pending():
        empty = missing[0].startswith("0001")
        raise SchemaError(
            "The database is empty." if empty else "The database is of an older postroom.",
            next_step="Run `postroom init`." if empty else "Run `postroom db upgrade`.",
        )
    if applied is not None:  # the files beside this program are newer than what of it is running
        raise SchemaError(
            "The database was upgraded while this program ran.", next_step="Start it again."
        )


def upgrade() -> list[str]:
    """Apply what is pending; return its names. Any number of processes may call it at once.

    What is under way in an older program writes nothing any more.
    """
    with connection(), database_errors(), _lock():
        if pending():
            _take_leases()
        done: list[str] = _runner().up()
        return done


def _take_leases() -> None:
    """Let no visit that is under way write on, nor another begin before the upgrade is done. Nobody
    else visits while it may still talk to its server: until its process or its lease ends."""
    if not database.table_exists("side"):
        return
    if not is_sqlite():
        database.execute_sql("LOCK TABLE side IN SHARE ROW EXCLUSIVE MODE")
    held = "lease_owner IS NOT NULL"
    execute(f"UPDATE side SET generation = generation + 1 WHERE {held} RETURNING id", ())  # noqa: S608 - ours


def _applied() -> set[str] | None:
    """Return the names of the migrations that were applied: the usual case is that these are ours,
    for which nobody should wait until playhouse is imported."""
    try:
        with connection():
            return {name for (name,) in execute(f"SELECT name FROM {_TABLE}", ())}  # noqa: S608 - ours
    except peewee.DatabaseError:
        return None  # `pending` tells what is the matter


@cache
def _ours() -> set[str]:
    """Return the names of this program's migrations, those of when it began."""
    return {path.stem for path in _FOLDER.glob("[0-9]*.py")}


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
