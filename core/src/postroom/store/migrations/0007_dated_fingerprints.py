"""Fingerprints that begin with the message's date. Frozen, see `0001_initial`.

What is new is looked up among what is stored, and of that the bytes are kept. Of all other mail the
fingerprints stay as they are: they are compared by their digests.
"""

from __future__ import annotations

from typing import Any

import peewee as pw

_COUNT = 50
"""Receipts that are looked at at once, each with a piece of up to 1 MiB."""
_LONGEST_HEAD = 1 << 20


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Give each stored message's fingerprint its date."""
    mark = _mark(db)
    # Nothing but ids between two bounds: for "the next 50 behind this one", or "those of these that
    # are stored", PostgreSQL may go through all that are stored, each time.
    find = (
        "SELECT r.id, r.outcome, r.fingerprint, c.body, w.id, w.size FROM receipt r "  # noqa: S608
        "LEFT JOIN raw w ON w.id = r.raw_id "
        "LEFT JOIN raw_chunk c ON c.raw_id = w.id AND c.position = 0 "
        f"WHERE r.id > {mark} AND r.id <= {mark}"
    )
    (last,) = db.execute_sql("SELECT coalesce(max(id), 0) FROM receipt").fetchone()
    for start in range(0, last, _COUNT):
        found = db.execute_sql(find, (start, start + _COUNT)).fetchall()
        _write(
            db,
            [
                (receipt_id, _dated(fingerprint, _beginning(db, *raw)))
                for receipt_id, outcome, fingerprint, *raw in found
                if outcome == "stored" and (fingerprint or "").startswith("v1:")
            ],
        )


def _write(db: Any, fingerprints: list[tuple[int, str]]) -> None:
    """Write many at once: one by one, PostgreSQL is mostly waited for."""
    if fingerprints:
        values = ", ".join([f"({_mark(db)}, {_mark(db)})"] * len(fingerprints))
        update = (
            f"WITH dated (id, fingerprint) AS (VALUES {values}) "  # noqa: S608 - ours
            "UPDATE receipt SET fingerprint = dated.fingerprint FROM dated "
            "WHERE receipt.id = dated.id"
        )
        db.execute_sql(update, [value for pair in fingerprints for value in pair])


def _mark(db: Any) -> str:
    return "?" if isinstance(db, pw.SqliteDatabase) else "%s"


def _dated(fingerprint: str, beginning: bytes) -> str:
    from postroom.mail.identity import dated, digest_of

    return dated(digest_of(fingerprint), beginning)


def _beginning(
    db: Any, body: bytes | memoryview | None, raw_id: int | None, size: int | None
) -> bytes:
    """Return the first piece, and those behind it as long as the header may go on in them."""
    raw, position = _unpacked(body), 0
    while raw and len(raw) < (size or 0) and not _holds_header(raw):
        position += 1
        find = f"SELECT body FROM raw_chunk WHERE raw_id = {_mark(db)} AND position = {_mark(db)}"  # noqa: S608 - ours
        found = db.execute_sql(find, (raw_id, position)).fetchone()
        if found is None:
            break
        raw += _unpacked(found[0])
    return raw


def _unpacked(body: bytes | memoryview | None) -> bytes:
    from postroom.store.packing import unpack

    return b"" if body is None else unpack(bytes(body))


def _holds_header(raw: bytes) -> bool:
    """Say whether all of the header is there, which blank lines may come before."""
    raw = raw.lstrip(b"\r\n")
    return len(raw) >= _LONGEST_HEAD or b"\n\r\n" in raw or b"\n\n" in raw
