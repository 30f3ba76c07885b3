"""A database of any earlier version, with mail in it, becomes one of this version and keeps what it
has; also if the upgrade is cut off at any statement."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peewee
import pytest
from postroom.errors import SchemaError, StoreError
from postroom.mail.threading import conversation_key
from postroom.store import database as store
from postroom.store import schema
from postroom.store.models import TABLES, Credential, Question, Table, database
from postroom_test_servers.desk import Desk, assert_each_once, incoming, mail, outgoing, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.stores import Databases

Rows = list[tuple[Any, ...]]
BOX = toml(
    "[[mailbox]]", address="info@example.org", segment="support", start="all", disposition="delete",
    acknowledge=True, topic="Billing",
)  # fmt: skip
FILTER = toml(
    "[[filter]]", segment="support", name="five", field="subject", pattern="m5",
    set={"assignee": "eve"},
)  # fmt: skip


def _columns(table: type[Table]) -> list[str]:
    """Return the columns that the database has now, of those that we know."""
    there = {column.name for column in database.get_columns(table._meta.table_name)}
    return [name for name in table._meta.columns if name in there]


def _there() -> list[type[Table]]:
    names = set(database.get_tables())
    return [table for table in TABLES if table._meta.table_name in names]


def _content(table: type[Table], columns: list[str]) -> Rows:
    chosen = ", ".join(f'"{name}"' for name in columns)
    order = table._meta.primary_key.column_name
    found = store.execute(f'SELECT {chosen} FROM "{table._meta.table_name}" ORDER BY {order}', [])
    return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in found]


def _put(table: type[Table], columns: list[str], rows: Rows) -> None:
    name = table._meta.table_name
    chosen = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join(["%s"] * len(columns))
    for row in rows:
        statement = f'INSERT INTO "{name}" ({chosen}) VALUES ({marks}) RETURNING 1'
        store.execute(statement, row)
    if not store.is_sqlite() and isinstance(table._meta.primary_key, peewee.AutoField) and rows:
        highest = max(row[0] for row in rows)
        store.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [name, highest])


@pytest.fixture
def filled(desk: Desk, account: Account) -> list[bytes]:
    """What was served of an installation with mail, answers that wait, and a credential."""
    replies = [mail(f"r{i}", f"In-Reply-To: <m{i}@customer.example>") for i in range(3)]
    account.append(*[mail(f"m{i}") for i in range(6)], *replies, mail("m0"))
    served = [message.raw for message in account.messages()][:9]
    desk.apply(
        toml("[[segment]]", name="support"),
        toml("[[topic]]", segment="support", name="Billing"),
        FILTER,
        BOX,
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(1),
    )
    desk.run("run", "--once")
    desk.do("question", "answer", str(desk.questions()[0]["number"]), "--text", "Done.")
    instant = store.now()
    Credential.create(
        name="contoso", name_key="contoso", kind="microsoft", sealed=b"\x01sealed",
        created_at=instant, changed_at=instant,
    )  # fmt: skip
    return served


@contextmanager
def _older(databases: Databases, kind: str, version: str) -> Iterator[dict[str, tuple[Any, ...]]]:
    """A database of an older version with what the present one has, as far as it can have it.

    :returns: by table, its columns then and their content
    """
    present = {
        table._meta.table_name: (table, _columns(table), _content(table, _columns(table)))
        for table in TABLES
    }
    here = database.obj
    with databases.new(kind, empty=True) as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("POSTROOM_DATABASE", url)
        store.connect(url)
        there = database.obj
        try:
            with store.connection():
                schema._runner().up(version)
                had: dict[str, tuple[Any, ...]] = {}
                for table in _there():
                    _, columns, rows = present[table._meta.table_name]
                    kept = _columns(table)
                    places = [columns.index(column) for column in kept]
                    content = [tuple(row[place] for place in places) for row in rows]
                    _put(table, kept, content)
                    had[table._meta.table_name] = (table, kept, content)
                yield had
        finally:  # a command makes another object for the same database
            there.close()
            database.initialize(here)


def _assert_unchanged(had: dict[str, tuple[Any, ...]]) -> None:
    for table, columns, content in had.values():
        assert _content(table, columns) == content, table


def _described() -> dict[str, Any]:
    return {
        table._meta.table_name: (
            sorted((c.name, c.data_type, c.null) for c in database.get_columns(
                table._meta.table_name)),
            sorted(i.name for i in database.get_indexes(table._meta.table_name)),
        )
        for table in TABLES
    }  # fmt: skip


VERSIONS = [path.stem for path in sorted(schema._FOLDER.glob("0*.py"))]


def test_an_older_database_keeps_what_it_has(
    desk: Desk, filled: list[bytes], databases: Databases, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["database_url"]
    described, questions = _described(), desk.questions()

    for count, version in enumerate(VERSIONS[:-1], 1):
        with _older(databases, kind, version) as had:
            with pytest.raises(SchemaError, match="older"):
                schema.check()
            assert schema.upgrade() == VERSIONS[count:]

            assert _described() == described
            _assert_unchanged(had)
            assert len(had["message"][2]) > 9
            assert desk.questions() == questions
            assert_each_once(filled)
            desk.do("db", "check")
            assert schema.upgrade() == []


def _upgrade_with_fingerprints_of_version_1() -> None:
    statement = "UPDATE receipt SET fingerprint = 'v1:' || substr(fingerprint, 15) RETURNING 1"
    store.execute(statement, [])
    schema.upgrade()


def test_what_was_stored_is_known_by_its_dated_fingerprint(
    desk: Desk, filled: list[bytes], databases: Databases, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["database_url"]
    find = "SELECT id, fingerprint FROM receipt WHERE outcome = 'stored' ORDER BY id"
    stored = store.execute(find, [])

    with _older(databases, kind, "0006_conversations"):
        _upgrade_with_fingerprints_of_version_1()

        assert store.execute(find, []) == stored
    assert len(stored) == len(filled)
    assert all(fingerprint.startswith("v2:00") for _, fingerprint in stored)


def test_long_conversations_of_a_provider_go_on(
    desk: Desk, filled: list[bytes], databases: Databases, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["database_url"]
    long = "".join(hashlib.sha256(b"%d" % number).hexdigest() for number in range(200))

    with _older(databases, kind, "0005_not_before"):
        first, second = Question.select().order_by(Question.id).limit(2)
        Question.update(conversation=long).where(Question.id == first.id).execute()
        Question.update(conversation="short").where(Question.id == second.id).execute()
        schema.upgrade()

        assert Question.get_by_id(first.id).conversation == conversation_key(long)
        assert Question.get_by_id(second.id).conversation == "short"


def test_a_header_behind_a_megabyte_of_blank_lines_has_its_date_found(
    desk: Desk, account: Account, filled: list[bytes], databases: Databases,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    kind = request.node.callspec.params["database_url"]
    account.append(b"\r\n" * 600_000 + mail("late"))
    desk.run("run", "--once")
    find = "SELECT fingerprint FROM receipt WHERE outcome = 'stored' ORDER BY id DESC LIMIT 1"
    stored = store.execute(find, [])

    with _older(databases, kind, "0006_conversations"):
        _upgrade_with_fingerprints_of_version_1()

        assert store.execute(find, []) == stored
    assert not stored[0][0].startswith("v2:0000000000:")


class _CutError(Exception):
    """The process is gone."""


@contextmanager
def _cut_at(statement: int, cut: Callable[[], None]) -> Iterator[None]:
    """End what is under way before the n-th statement."""
    numbers = itertools.count(1)
    real = peewee.Database.execute_sql

    def execute(self: Any, *arguments: Any, **options: Any) -> Any:
        if next(numbers) == statement:
            cut()
        return real(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peewee.Database, "execute_sql", execute)
        yield


def _cut() -> None:
    if not store.is_sqlite():
        database.connection().close()
    raise _CutError


def test_an_upgrade_that_is_cut_off_anywhere_is_done_again(
    desk: Desk, filled: list[bytes], databases: Databases, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["database_url"]

    with _older(databases, kind, VERSIONS[0]) as had:
        cuts = 0
        for statement in itertools.count(1):
            try:
                with _cut_at(statement, _cut):
                    schema.upgrade()
                break
            except (_CutError, StoreError):
                cuts += 1
                _assert_unchanged(had)

        assert cuts > 10
        assert schema.pending() == []
        _assert_unchanged(had)
        assert_each_once(filled)
