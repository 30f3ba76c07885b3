"""The first schema."""

from typing import Any

from postroom.store.models import TABLES


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Create every table."""
    db.create_tables(TABLES)
