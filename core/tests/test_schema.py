"""The migrations make the tables that the models describe."""

from __future__ import annotations

from typing import Any

import pytest
from postroom.store import schema
from postroom.store.models import TABLES, database


def _described() -> dict[str, Any]:
    """Return columns, types, nullability and indexes as the database has them."""
    described: dict[str, Any] = {}
    for table in TABLES:
        name = table._meta.table_name
        columns = sorted((c.name, c.data_type, c.null) for c in database.get_columns(name))
        indexes = sorted(
            (" ".join((i.sql or "").split()), tuple(i.columns), i.unique)
            for i in database.get_indexes(name)
        )
        described[name] = (columns, indexes)
    return described


@pytest.mark.usefixtures("store")
def test_the_migrations_make_what_the_models_describe() -> None:
    migrated = _described()

    database.drop_tables(TABLES)
    database.create_tables(TABLES)

    assert migrated == _described()


@pytest.mark.usefixtures("store")
def test_an_upgraded_database_has_nothing_pending() -> None:
    assert schema.pending() == []
    assert schema.upgrade() == []
