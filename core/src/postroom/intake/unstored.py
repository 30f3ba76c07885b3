"""Receipts of messages that do not become entries of a question: too large, older than the start,
unreadable on the server, or not convertible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from postroom.api import codes
from postroom.api.errors import TransportError
from postroom.api.transport import Listed, Oversized, Unavailable
from postroom.intake.listing import Listing, Unfetched
from postroom.intake.records import Prepared, ReceiptRow, insert_receipts
from postroom.intake.tally import Tally
from postroom.mailboxes.ledger import TOO_LARGE, live_receipts, ref_key
from postroom.store import raws
from postroom.store.database import allocate_ids, is_among, now, rows
from postroom.store.models import Mailbox, Raw, Receipt

UNAVAILABLE_PAUSES = (1, 5, 30, 120, 720)
"""Minutes until bytes that could not be had are asked for again; then a person decides."""


class Unstored:
    """Writes such receipts, in the transaction of the batch."""

    def __init__(self, mailbox: Mailbox, listing: Listing, tally: Tally) -> None:
        self._mailbox = mailbox
        self._listing = listing
        self._tally = tally

    def quarantine(self, item: Prepared, error: Exception) -> None:
        """Keep a message that cannot be turned into a question: bytes, cause, tries."""
        instant = now()
        self._listing.close_replaced([item.ref_key])
        item.reset()
        item.raw_id = allocate_ids(Raw, 1)[0]
        raws.insert([(item.raw_id, item.packed)])
        row = ReceiptRow(
            ref=item.fetched.ref,
            ref_key=item.ref_key,
            outcome="quarantined",
            listed_size=item.listed.size,
            received_at=item.received_at,
            reason=f"{codes.MESSAGE_UNSTORABLE.meaning} ({type(error).__name__})",
            because=codes.MESSAGE_UNSTORABLE.name,
            sha256=item.packed.sha256,
            fingerprint=item.incoming.fingerprint,
            raw_id=item.raw_id,
            settle=self._mailbox.disposition not in ("leave", "delete"),
            is_settled=self._mailbox.disposition == "leave",
            tries=1,
        )
        insert_receipts(self._mailbox.id, [row], instant)
        self._tally.count("quarantined")

    def write(
        self,
        unfetched: list[Unfetched],
        oversized: Iterable[Oversized],
        unavailable: Iterable[Unavailable],
    ) -> None:
        """Write receipts of what was listed but not downloaded, or could not be."""
        receipts = [
            *self._not_downloaded([*unfetched, *map(self._refused, oversized)]),
            *filter(None, map(self._unavailable, unavailable)),
        ]
        if receipts:
            insert_receipts(self._mailbox.id, receipts, now())
            self._listing.forget(row.ref_key for row in receipts)

    def _not_downloaded(self, unfetched: list[Unfetched]) -> Iterator[ReceiptRow]:
        items = {ref_key(one.listed.ref): one for one in unfetched}
        known = live_receipts(self._mailbox.id, items)
        for key, one in items.items():
            if key in known and self._listing.replaced.get(key) != known[key].id:
                continue  # a transport need not have asked
            self._listing.close_replaced([key])
            self._tally.count(one.outcome)
            yield ReceiptRow(
                ref=one.listed.ref,
                ref_key=key,
                outcome=one.outcome,
                listed_size=one.listed.size,
                received_at=one.listed.received_at,
                reason=one.reason,
                because=codes.TOO_LARGE.name if one.outcome == "refused" else None,
            )

    def _refused(self, item: Oversized) -> Unfetched:
        listed = self._listing.items.pop(ref_key(item.ref), Listed(item.ref))
        received_at = listed.received_at or item.received_at
        size = self._size_of(listed, item)
        return Unfetched(Listed(item.ref, received_at, size), "refused", TOO_LARGE)

    def _size_of(self, listed: Listed, item: Oversized) -> int | None:
        """Return the size for a receipt: none where the server lists less than it serves, as
        Exchange does. By such a size the message would be asked for, and refused, at each visit."""
        size = item.size if listed.size is None else listed.size
        return size if size > self._mailbox.max_message_bytes else None

    def _unavailable(self, item: Unavailable) -> ReceiptRow | None:
        """Return the receipt of a message that cannot be read; None where it had one already."""
        key = ref_key(item.ref)
        listed = self._listing.items.pop(key, Listed(item.ref, item.received_at, item.size))
        earlier = self._listing.replaced.get(key)
        if earlier is None and live_receipts(self._mailbox.id, [key]):
            return None  # a transport need not have asked
        if earlier is not None and self._was_unavailable(earlier, item.error):
            self._listing.forget([key])
            return None
        self._listing.close_replaced([key])
        self._tally.count("quarantined")
        return ReceiptRow(
            ref=item.ref,
            ref_key=key,
            outcome="quarantined",
            listed_size=listed.size,
            received_at=listed.received_at,
            reason=item.error.sentence,
            because=item.error.code.name,
            tries=1,
            next_try_at=_due_after(1),
        )

    def _was_unavailable(self, receipt_id: int, error: TransportError) -> bool:
        """Say whether a receipt is of a message that could not be read before; if so, count the
        try."""
        receipt = Receipt.get_by_id(receipt_id)
        if receipt.outcome != "quarantined" or receipt.raw_id is not None:
            return False
        tries = receipt.tries + 1
        Receipt.update(
            tries=tries,
            reason=error.sentence,
            because=error.code.name,
            next_try_at=_due_after(tries),
        ).where(Receipt.id == receipt_id).execute()
        return True

    def count_tries(self) -> None:
        """After a visit that broke: what was asked for once more and did not come may be what broke
        it. It counts as tried, so that it does not break every visit from now on, but is not left
        to a person for that: the server did not say that it cannot be read."""
        asked_again = Receipt.select(Receipt.id, Receipt.tries).where(
            is_among(Receipt.id, self._listing.replaced.values())
            & (Receipt.outcome == "quarantined")
            & Receipt.raw_id.is_null()
        )
        last = len(UNAVAILABLE_PAUSES)
        for receipt_id, before in rows(asked_again):
            tries = max(before, min(before + 1, last))
            due = _due_after(min(tries, last))
            Receipt.update(tries=tries, next_try_at=due).where(Receipt.id == receipt_id).execute()


def _due_after(tries: int) -> datetime | None:
    """Return when bytes that could not be had are asked for again, if they are."""
    if tries > len(UNAVAILABLE_PAUSES):
        return None
    return now() + timedelta(minutes=UNAVAILABLE_PAUSES[tries - 1])
