"""Until when its server wants an outgoing mail to wait. Frozen, see `0001_initial`."""

from __future__ import annotations

from typing import Any

import peewee as pw


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Add the column."""
    migrator.migrate(migrator.add_column("outbox", "not_before", pw.BigIntegerField(null=True)))
