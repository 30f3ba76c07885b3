"""Fingerprints that begin with the message's date. Frozen, see `0001_initial`.

What is new is looked up among what is stored, and of that the bytes are kept. Of all other mail the
fingerprints stay as they are: they are compared by their digests.
"""

from __future__ import annotations

from typing import Any

import peewee as pw

_COUNT = 500


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Give each stored message's fingerprint its date."""
    mark = "?" if isinstance(db, pw.SqliteDatabase) else "%s"
    update = f"UPDATE receipt SET fingerprint = {mark} WHERE id = {mark}"  # noqa: S608 - ours
    find = (
        "SELECT r.id, r.fingerprint, c.body FROM receipt r "  # noqa: S608 - ours
        "LEFT JOIN raw_chunk c ON c.raw_id = r.raw_id AND c.position = 0 "
        f"WHERE r.id > {mark} AND r.outcome = 'stored' AND substr(r.fingerprint, 1, 3) = 'v1:' "
        f"ORDER BY r.id LIMIT {_COUNT}"
    )
    done = 0
    while found := db.execute_sql(find, (done,)).fetchall():
        for receipt_id, fingerprint, body in found:
            db.execute_sql(update, (_dated(fingerprint, body), receipt_id))
            done = receipt_id


def _dated(fingerprint: str, beginning: bytes | memoryview | None) -> str:
    from postroom.mail.identity import dated, digest_of
    from postroom.store.packing import unpack

    raw = b"" if beginning is None else unpack(bytes(beginning))
    return dated(digest_of(fingerprint), raw)
