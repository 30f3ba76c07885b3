"""An index of the conversations of providers that have them: each batch of such mail asks for those
it belongs to. Of other mail it holds nothing. Frozen, see `0001_initial`.

PostgreSQL cannot index a very long id: such a one becomes its digest, as `conversation_key` has it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import peewee as pw


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Shorten what is long, and add the index."""
    mark = "?" if isinstance(db, pw.SqliteDatabase) else "%s"
    update = f"UPDATE question SET conversation = {mark} WHERE id = {mark}"  # noqa: S608 - ours
    long = "SELECT id, conversation FROM question WHERE length(conversation) > 200"
    for question_id, conversation in db.execute_sql(long).fetchall():
        digest = hashlib.sha256(conversation.encode("utf-8", "surrogatepass")).hexdigest()
        db.execute_sql(update, (f"sha256:{digest}", question_id))
    db.execute_sql(
        'CREATE INDEX "question_conversation" ON "question" ("conversation") '
        'WHERE ("conversation" IS NOT NULL)'
    )
