"""What a mailbox remembers of being pointed to another account. Frozen, see `0001_initial`."""

from __future__ import annotations

from typing import Any

import peewee as pw


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Add the two columns."""
    for name in ("account_since", "recognised_at"):
        migrator.migrate(migrator.add_column("mailbox", name, pw.BigIntegerField(null=True)))
