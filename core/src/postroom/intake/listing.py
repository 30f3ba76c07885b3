"""What one retrieval learns from the server's listing: which messages to download.

`wanted` answers the receiver's question, and notes what needs a receipt without being downloaded:
the oversized, and what is older than the mailbox's start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from postroom.api.transport import Listed
from postroom.mailboxes.ledger import (
    BEFORE_START,
    TOO_LARGE,
    Known,
    close,
    kept_size,
    live_receipts,
    of_incoming_side,
    ref_key,
)
from postroom.store.database import rows
from postroom.store.models import Mailbox, Receipt


@dataclass(frozen=True, slots=True)
class Unfetched:
    """A listed message that gets a receipt without being downloaded."""

    listed: Listed
    outcome: str
    reason: str


class Listing:
    """What one retrieval learns from the server's listing."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._start_at = mailbox.start_at
        self._most_bytes = mailbox.max_message_bytes
        self._asked: set[int] = set()
        """Hashes of the ref keys that were wanted: one that is asked about again has no date."""
        self.unfetched: list[Unfetched] = []
        """Collected until the next batch is stored."""
        self.replaced: dict[str, int] = {}
        """Ref key → id of the live receipt that the message with this ref takes over from."""
        self.listed: set[int] = set()
        """Hashes of all ref keys of this listing; of use only if the listing is complete."""
        self.items: dict[str, Listed] = {}
        """What the server said of those wanted, until they are stored."""

    def wanted(self, page: Sequence[Listed]) -> Collection[str]:
        """Say which of the listed messages to download. See `Receiver.fetch`."""
        by_key = {ref_key(item.ref): item for item in page}
        known = live_receipts(self._mailbox.id, by_key)
        return {item.ref for key, item in by_key.items() if self._note(key, item, known)}

    def _note(self, key: str, item: Listed, known: dict[str, Known]) -> bool:
        """Note a message that is listed, and what it needs; say whether to download it."""
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
                self.unfetched.append(Unfetched(item, "refused", TOO_LARGE))
            return False
        if self._is_old(item, certain=asked_before):
            self.unfetched.append(Unfetched(item, "ignored", BEFORE_START))
            return False
        self._asked.add(mark)
        self.items[key] = item
        return True

    def _is_retried(self, receipt: Known, item: Listed) -> bool:
        if receipt.outcome == "quarantined":
            return receipt.is_due and not receipt.has_bytes
        if receipt.outcome == "refused":
            return self._may_fit(receipt, item)
        return receipt.is_old and self._start_is_earlier_than(receipt)

    def _may_fit(self, receipt: Known, item: Listed) -> bool:
        """Say whether what was too large may be so no longer: by the size that the server lists,
        else by that which it turned out to have. What was listed as smaller than it is has none."""
        if self._is_too_large(item):
            return False
        size = receipt.listed_size
        if receipt.is_due or size is None:
            return receipt.is_due
        return item.size is not None or size < self._most_bytes

    def _start_is_earlier_than(self, receipt: Known) -> bool:
        """Say whether the start was moved back past a message; what has no date stays old until
        everything is wanted."""
        if self._start_at is None:
            return True
        return receipt.received_at is not None and bool(receipt.received_at >= self._start_at)

    def _is_too_large(self, item: Listed) -> bool:
        return item.size is not None and item.size > self._most_bytes

    def _is_old(self, item: Listed, *, certain: bool) -> bool:
        """`certain`: the transport was asked for the date and has none."""
        if item.received_at is None and not certain:
            return False
        return self.is_before_start(item.received_at)

    def is_before_start(self, received_at: datetime | None) -> bool:
        """Say whether the server received a message before the mailbox's start. Without a date,
        whatever the first complete listing holds is old."""
        if self._start_at is None:
            return False
        if received_at is None:
            return self._mailbox.baseline_at is None
        return bool(received_at < self._start_at)

    def close_replaced(self, keys: Iterable[str]) -> None:
        """Close the receipts that messages with these ref keys take over from."""
        replaced = [self.replaced[key] for key in keys if key in self.replaced]
        if replaced:
            close(replaced)

    def forget(self, keys: Iterable[str]) -> None:
        """Once a batch is committed: what it replaced is closed."""
        for key in keys:
            self.replaced.pop(key, None)

    def gone(self) -> list[int]:
        """Return, after a complete listing, the live receipts whose refs it does not show."""
        live = rows(
            Receipt.select(Receipt.id, Receipt.ref_key).where(
                (Receipt.mailbox == self._mailbox.id)
                & Receipt.gone_at.is_null()
                & of_incoming_side()
            )
        )
        return [row_id for row_id, key in live if hash(key) not in self.listed]


def _is_other(receipt: Known, item: Listed) -> bool:
    """The same ref with another size or date is another message."""
    size = kept_size(item.size)
    size_differs = None not in (receipt.listed_size, size) and receipt.listed_size != size
    date_differs = (
        None not in (receipt.received_at, item.received_at)
        and receipt.received_at != item.received_at
    )
    return size_differs or date_differs
