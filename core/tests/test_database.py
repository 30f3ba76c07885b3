"""Rows as Python sees them, and statements that are the same on both kinds of database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from postroom.store.database import execute, insert_rows, rows, transaction
from postroom.store.models import Credential, MessageKey

pytestmark = pytest.mark.usefixtures("store")

KEYS = [("a@example", True, 1), ("b@example", False, 2), ('c"\u2028é@example', True, 3)]


@pytest.fixture
def keys(store: object) -> None:
    with transaction():
        insert_rows(MessageKey, ("key", "names", "message"), KEYS)


@pytest.mark.usefixtures("keys")
def test_truth_values_are_read_as_such() -> None:
    found = rows(MessageKey.select(MessageKey.names, MessageKey.key).order_by(MessageKey.id))

    assert found == [(names, key) for key, names, _ in KEYS]
    assert [type(row[0]) for row in found] == [bool] * 3


def test_rows_are_read_as_they_were_written() -> None:
    when = datetime(2026, 11, 26, 7, 0, 0, 123456, tzinfo=UTC)
    written = {
        "name": "Büro",
        "name_key": "büro",
        "kind": "x",
        "settings_version": 1,
        "generation": 0,
        "settings": {"a": [1, None]},
        "secret_fields": [],
        "set_secrets": [],
        "refused_keys": {},
        "sealed": b"\0\xff",
        "state": None,
        "created_at": when,
        "changed_at": when,
        "expires_at": None,
    }
    columns, row = tuple(written), tuple(written.values())

    with transaction():
        insert_rows(Credential, columns, [row])

    assert rows(Credential.select(*(getattr(Credential, name) for name in columns))) == [row]
    assert rows(Credential.select(Credential.created_at.alias("made"))) == [(when,)]


@pytest.mark.usefixtures("keys")
def test_a_value_is_compared_with_each_of_a_list() -> None:
    wanted = [KEYS[0][0], KEYS[2][0], "nobody@example"]
    statement = "SELECT message FROM message_key WHERE key = ANY(%s) AND names = ANY(%s) ORDER BY 1"

    assert execute(statement, [wanted, [True]]) == [(1,), (3,)]
    assert execute(statement, [wanted, [False]]) == []
    assert execute(statement, [[], [True, False]]) == []
