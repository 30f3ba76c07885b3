"""The ledger: the receipts of a mailbox, one for each ref that its server ever showed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from peewee import SQL, Expression, fn

from postroom.store.database import execute, is_among, now, rows
from postroom.store.fields import from_micros, to_micros
from postroom.store.models import Mailbox, Receipt, Side

BEFORE_START = "before-start"
TOO_LARGE = "too large"
"""Why a receipt was given without a download."""
ENTRANCE = "postroom:"
"""Refs that begin so are not the incoming side's, see `postroom.intake.entrances`."""
_LONGEST_REF = 255
_LARGEST_SIZE = (1 << 31) - 1
"""What a column of PostgreSQL holds. No message is that large, but a server may say so."""


def ref_key(ref: str) -> str:
    """Return the ref as it is indexed: itself, or its digest where it is very long."""
    if len(ref) <= _LONGEST_REF:
        return ref
    digest = hashlib.sha256(ref.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{ENTRANCE if ref.startswith(ENTRANCE) else ''}sha256:{digest}"


def kept_size(size: int | None) -> int | None:
    """Return a size that a server told, as it is kept and compared."""
    return size if size is None or size <= _LARGEST_SIZE else _LARGEST_SIZE


_NEEDS_PERSON = [SQL("'quarantined'"), SQL("'refused'")]
"""No parameters: SQLite only then sees that `receipt_needs_person` is an index of just these."""


def needs_person() -> Expression:
    """Return the condition that a receipt is of the quarantine, or of what was refused.

    A quarantined message whose bytes are kept waits also when the server has it no more: it was
    moved away, or somebody deleted it.
    """
    return Receipt.outcome.in_(_NEEDS_PERSON) & (
        Receipt.gone_at.is_null() | Receipt.raw_id.is_null(False)
    )


def of_incoming_side() -> Expression:
    """Return the condition that a receipt is one of the incoming side."""
    return fn.SUBSTR(Receipt.ref_key, 1, len(ENTRANCE)) != ENTRANCE


def awaits_first_retrieval() -> bool:
    """Say whether a mailbox was never retrieved, nor tried in vain: there will be much to do."""
    return bool(
        Side.select()
        .join(Mailbox)
        .where(
            (Side.direction == "in")
            & (Side.failures == 0)
            & Mailbox.enabled
            & Mailbox.baseline_at.is_null()
        )
        .exists()
    )


def has_due_unavailable(mailbox_id: int) -> bool:
    """Say whether it is time to ask the server again for a message that it did not hand out."""
    return bool(
        Receipt.select()
        .where(
            (Receipt.mailbox == mailbox_id)
            & (Receipt.outcome == "quarantined")
            & Receipt.outcome.in_(_NEEDS_PERSON)  # says nothing new, except to SQLite
            & Receipt.raw_id.is_null()
            & Receipt.gone_at.is_null()
            & (Receipt.next_try_at <= now())
            & of_incoming_side()
        )
        .exists()
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What `wanted` needs of a live receipt."""

    id: int
    outcome: str
    listed_size: int | None
    received_at: datetime | None
    has_bytes: bool
    is_due: bool
    """Bytes could not be had so far, and it is time to try again."""
    is_old: bool
    """It was left alone because the server received it before the mailbox's start."""


def live_receipts(mailbox_id: int, keys: Iterable[str]) -> dict[str, Known]:
    """Return the live receipts of these ref keys."""
    instant = to_micros(now())
    found: dict[str, Known] = {}
    for key, row_id, outcome, size, received, raw_id, due_at, reason in execute(
        "SELECT ref_key, id, outcome, listed_size, received_at, raw_id, next_try_at, reason "
        "FROM receipt WHERE mailbox_id = %s AND gone_at IS NULL AND ref_key = ANY(%s)",
        [mailbox_id, list(keys)],
    ):
        received_at = None if received is None else from_micros(received)
        due = due_at is not None and due_at <= instant
        old = outcome == "ignored" and reason == BEFORE_START
        found[key] = Known(row_id, outcome, size, received_at, raw_id is not None, due, old)
    return found


def close(receipt_ids: Sequence[int]) -> None:
    """Close receipts: their messages are no longer on the server. In the caller's transaction."""
    Receipt.update(gone_at=now(), settle=False).where(
        is_among(Receipt.id, receipt_ids) & Receipt.gone_at.is_null()
    ).execute()


def close_all(mailbox_id: int) -> None:
    """Close every live receipt: the mailbox is another account now. In the caller's transaction."""
    Receipt.update(gone_at=now(), settle=False).where(
        (Receipt.mailbox == mailbox_id) & Receipt.gone_at.is_null() & of_incoming_side()
    ).execute()


def settle_anew(mailbox_id: int) -> None:
    """Make due what the server refused to mark, move or delete: settings were changed."""
    Receipt.update(next_try_at=None).where(
        (Receipt.mailbox == mailbox_id) & Receipt.settle & Receipt.next_try_at.is_null(False)
    ).execute()


def knows_content(mailbox_id: int) -> bool:
    """Say whether the content of any message was ever seen, so that it could be recognised."""
    known = (Receipt.mailbox == mailbox_id) & Receipt.fingerprint.is_null(False)
    return bool(Receipt.select().where(known).exists())


def counts(mailbox_id: int) -> dict[str, int]:
    """Return how many receipts there ever were, by outcome."""
    return dict(
        rows(
            Receipt.select(Receipt.outcome, fn.COUNT(Receipt.id))
            .where(Receipt.mailbox == mailbox_id)
            .group_by(Receipt.outcome)
        )
    )
