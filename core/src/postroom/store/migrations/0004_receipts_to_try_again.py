"""An index of the few receipts that are to be tried again: every visit asks for those that are due.
Frozen, see `0001_initial`."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Add the index."""
    db.execute_sql(
        'CREATE INDEX "receipt_next_try" ON "receipt" ("next_try_at") '
        'WHERE ("next_try_at" IS NOT NULL)'
    )
