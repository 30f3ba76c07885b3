"""The ledger: what is known of the refs of one mailbox while it is retrieved.

`wanted` answers the receiver's question which messages to download, and notes what needs a
receipt without being downloaded: the oversized, and what is older than the mailbox's start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from peewee import SQL, Expression, fn

from postroom.api.transport import Listed
from postroom.store.database import is_among, now, rows, transaction
from postroom.store.models import Mailbox, Receipt, Side

BEFORE_START = "before-start"
ENTRANCE = "postroom:"
"""Refs that begin so are not the incoming side's, see `postroom.intake.entrances`."""
_LONGEST_REF = 255
_LARGEST_SIZE = (1 << 31) - 1
"""What a column of PostgreSQL holds. No message is that large, but a server may say so."""
_PAGE = 500


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
            & Receipt.outcome.in_(_NEEDS_PERSON)
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


@dataclass(frozen=True, slots=True)
class Unfetched:
    """A listed message that gets a receipt without being downloaded."""

    listed: Listed
    outcome: str
    reason: str


def live_receipts(mailbox_id: int, keys: Iterable[str]) -> dict[str, Known]:
    """Return the live receipts of these ref keys."""
    instant = now()
    found: dict[str, Known] = {}
    wanted = list(keys)
    for i in range(0, len(wanted), _PAGE):
        found_rows = rows(
            Receipt.select(
                Receipt.ref_key,
                Receipt.id,
                Receipt.outcome,
                Receipt.listed_size,
                Receipt.received_at,
                Receipt.raw_id,
                Receipt.next_try_at,
                Receipt.reason,
            ).where(
                (Receipt.mailbox == mailbox_id)
                & Receipt.gone_at.is_null()
                & is_among(Receipt.ref_key, wanted[i : i + _PAGE])
            )
        )
        for key, row_id, outcome, size, received_at, raw_id, due_at, reason in found_rows:
            due = due_at is not None and due_at <= instant
            old = outcome == "ignored" and reason == BEFORE_START
            found[key] = Known(row_id, outcome, size, received_at, raw_id is not None, due, old)
    return found


class Ledger:
    """What one retrieval learns from the server's listing."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._asked: set[int] = set()
        self.unfetched: list[Unfetched] = []
        """Collected until the next batch is stored."""
        self.replaced: dict[str, int] = {}
        """Ref key → id of the live receipt that the message with this ref takes over from."""
        self.listed: set[int] = set()
        """Hashes of all ref keys of this listing; of use only if the listing is complete."""
        self.listings: dict[str, Listed] = {}
        """What the server said of those wanted, until they are stored."""

    def wanted(self, page: Sequence[Listed]) -> Collection[str]:
        """Say which of the listed messages to download. See `Receiver.fetch`."""
        by_key = {ref_key(item.ref): item for item in page}
        known = live_receipts(self._mailbox.id, by_key)
        return {item.ref for key, item in by_key.items() if self._is_wanted(key, item, known)}

    def _is_wanted(self, key: str, item: Listed, known: dict[str, Known]) -> bool:
        mark = hash(key)
        self.listed.add(mark)
        asked_before = mark in self._asked
        receipt = known.get(key)
        if receipt is not None:
            if not _is_other(receipt, item) and not self._is_retried(receipt, item):
                return False
            self.replaced[key] = receipt.id
        if self._is_too_large(item):
            if receipt is None or receipt.outcome != "refused" or _is_other(receipt, item):
                self.unfetched.append(Unfetched(item, "refused", "too large"))
            return False
        if self._is_old(item, certain=asked_before):
            self.unfetched.append(Unfetched(item, "ignored", BEFORE_START))
            return False
        self._asked.add(mark)
        self.listings[key] = item
        return True

    def _is_retried(self, receipt: Known, item: Listed) -> bool:
        if receipt.outcome == "quarantined":
            return receipt.is_due and not receipt.has_bytes
        if receipt.outcome == "refused":  # what was listed as smaller than it is has no size here
            may_fit = None not in (item.size, receipt.listed_size)
            return (may_fit or receipt.is_due) and not self._is_too_large(item)
        return receipt.is_old and self._start_is_earlier_than(receipt)

    def _start_is_earlier_than(self, receipt: Known) -> bool:
        """Say whether the start was moved back past a message; what has no date stays old until
        everything is wanted."""
        start_at = self._mailbox.start_at
        if start_at is None:
            return True
        return receipt.received_at is not None and bool(receipt.received_at >= start_at)

    def _is_too_large(self, item: Listed) -> bool:
        return item.size is not None and item.size > self._mailbox.max_message_bytes

    def _is_old(self, item: Listed, *, certain: bool) -> bool:
        """`certain`: the transport was asked for the date and has none."""
        if item.received_at is None and not certain:
            return False
        return self.is_before_start(item.received_at)

    def is_before_start(self, received_at: datetime | None) -> bool:
        """Say whether the server received a message before the mailbox's start. Without a date,
        whatever the first complete listing holds is old."""
        start_at = self._mailbox.start_at
        if start_at is None:
            return False
        if received_at is None:
            return self._mailbox.baseline_at is None
        return bool(received_at < start_at)

    def close_replaced(self, keys: Iterable[str]) -> None:
        """Close the receipts that messages with these ref keys take over from."""
        replaced = [self.replaced[key] for key in keys if key in self.replaced]
        if replaced:
            close(replaced)

    def forget(self, keys: Iterable[str]) -> None:
        """Once a batch is committed: what it replaced is closed."""
        for key in keys:
            self.replaced.pop(key, None)

    def close_gone(self) -> None:
        """After a complete listing: close live receipts whose refs it does not show."""
        live = rows(
            Receipt.select(Receipt.id, Receipt.ref_key).where(
                (Receipt.mailbox == self._mailbox.id)
                & Receipt.gone_at.is_null()
                & of_incoming_side()
            )
        )
        gone = [row_id for row_id, key in live if hash(key) not in self.listed]
        if gone:
            with transaction():
                close(gone)


def _is_other(receipt: Known, item: Listed) -> bool:
    """The same ref with another size or date is another message."""
    size = kept_size(item.size)
    size_differs = None not in (receipt.listed_size, size) and receipt.listed_size != size
    date_differs = (
        None not in (receipt.received_at, item.received_at)
        and receipt.received_at != item.received_at
    )
    return size_differs or date_differs


def close(receipt_ids: Sequence[int]) -> None:
    """Close receipts: their messages are no longer on the server. In the caller's transaction."""
    for i in range(0, len(receipt_ids), _PAGE):
        Receipt.update(gone_at=now(), settle=False).where(
            Receipt.id.in_(receipt_ids[i : i + _PAGE]) & Receipt.gone_at.is_null()
        ).execute()


def close_all(mailbox_id: int) -> None:
    """Close every live receipt: the mailbox is another account now. In the caller's transaction."""
    Receipt.update(gone_at=now(), settle=False).where(
        (Receipt.mailbox == mailbox_id) & Receipt.gone_at.is_null() & of_incoming_side()
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
