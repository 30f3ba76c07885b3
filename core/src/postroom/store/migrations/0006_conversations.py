"""An index of the conversations of providers that have them: each batch of such mail asks for those
it belongs to. Of other mail it holds nothing. Frozen, see `0001_initial`."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Add the index."""
    db.execute_sql(
        'CREATE INDEX "question_conversation" ON "question" ("conversation") '
        'WHERE ("conversation" IS NOT NULL)'
    )
