"""Recognises known mail behind new refs, after the mailbox was pointed to another account.

The new side may serve other bytes for the same mail: Exchange rebuilds MIME, and differently for
EWS, Graph, IMAP and POP. So what is not known by its fingerprint is looked for by its header alone
(Message-ID, Date, From, subject), one to one: each receipt from before answers for one message.
All that the new side has is looked at before anything is decided; else a message could be taken
for another one that is only listed later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event as Flag

from postroom.api.transport import Fetched, Limits, Listed, Receiver, Spool
from postroom.intake.records import ReceiptRow, insert_receipts
from postroom.intake.tally import Progress, no_progress
from postroom.intake.understanding.understood import Understanding, Understood
from postroom.mail.identity import digest_of, weak_key
from postroom.mail.ondisk import FileBytes
from postroom.mailboxes.ledger import BEFORE_START, ref_key
from postroom.store import raws
from postroom.store.database import now, rows
from postroom.store.models import Mailbox, Receipt
from postroom.store.packing import pack, reading_back

_HEAD_BYTES = 1 << 20
"""As much of a message is in its first piece in the database."""
_BATCH_COUNT = 200
_BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that the new side has."""

    listed: Listed
    sha256: str
    fingerprint: str
    weak_key: str
    received_at: datetime | None
    """By the server, or by the message's topmost Received field, whichever is earlier: copying a
    mailbox may give old mail a new date."""


@dataclass(slots=True)
class Survey:
    """All that the new side has."""

    seen: list[Seen] = field(default_factory=list)
    not_read: int = 0
    """Older than the mailbox's start, too large, or unreadable: retrieval decides, as always."""

    @property
    def on_server(self) -> int:
        """How many messages there are."""
        return len(self.seen) + self.not_read


@dataclass(slots=True)
class Recognised:
    """What became of a survey."""

    receipts: list[ReceiptRow] = field(default_factory=list)
    by_content: int = 0
    by_header: int = 0
    before_start: int = 0
    new: int = 0


# ---------------------------------------------------------------------------- looking


def survey(
    receiver: Receiver,
    mailbox: Mailbox,
    understanding: Understanding,
    *,
    stop: Flag | None = None,
    progress: Progress = no_progress,
) -> Survey | None:
    """Read everything that the receiver has; None if asked to stop.

    :raises TransportError: the server or the settings are the trouble
    """
    found = Survey()
    listings: dict[str, Listed] = {}

    def wanted(page: Sequence[Listed]) -> Collection[str]:
        read = {item.ref for item in page if _is_to_be_read(item, mailbox)}
        found.not_read += len(page) - len(read)
        listings.update((item.ref, item) for item in page if item.ref in read)
        progress(0, len(read))
        return read

    limits = Limits(max_message_bytes=mailbox.max_message_bytes)
    for batch in _batches(receiver.fetch(None, limits=limits, wanted=wanted)):
        try:
            results = understanding.understand([one.raw for one in batch]).result()
            for fetched, result in zip(batch, results, strict=True):
                listed = listings.pop(fetched.ref, Listed(fetched.ref))
                found.seen.append(_seen(fetched, listed, result))
        finally:
            for fetched in batch:
                if isinstance(fetched.raw, Spool):
                    fetched.raw.close()
        progress(len(batch), 0)
        if stop is not None and stop.is_set():
            return None
    found.not_read += len(listings)
    return found


def _is_to_be_read(item: Listed, mailbox: Mailbox) -> bool:
    too_large = item.size is not None and item.size > mailbox.max_message_bytes
    return not too_large and not _is_before(mailbox.start_at, item.received_at)


def _is_before(start_at: datetime | None, received_at: datetime | None) -> bool:
    return start_at is not None and received_at is not None and received_at < start_at


def _batches(deliveries: Iterable[object]) -> Iterator[list[Fetched]]:
    batch: list[Fetched] = []
    size = 0
    for delivery in deliveries:
        if not isinstance(delivery, Fetched):
            continue
        batch.append(delivery)
        size += len(delivery.raw)
        if len(batch) >= _BATCH_COUNT or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _seen(fetched: Fetched, listed: Listed, result: Understood | Exception) -> Seen:
    source = FileBytes(fetched.raw) if isinstance(fetched.raw, Spool) else fetched.raw
    received_at = listed.received_at or fetched.received_at
    if isinstance(result, Understood):
        sha256, fingerprint = result.packed.sha256, result.fingerprint
        own = result.parsed.received_at
        received_at = min(filter(None, (received_at, own)), default=None)
    else:  # as intake names what it cannot understand
        sha256 = pack(fetched.raw).sha256
        fingerprint = f"sha256:{sha256}"
    with reading_back():
        key = _header_key(source[:_HEAD_BYTES])
        return Seen(listed, sha256, fingerprint, key, received_at)


def _header_key(beginning: bytes) -> str:
    """Return `weak_key`, the same for a NUL as for the byte that Dovecot serves in its place over
    IMAP, whose literals hold none; over POP3 it is served as it is."""
    return weak_key(beginning.replace(b"\0", b"\x80"))


# ---------------------------------------------------------------------------- deciding


@dataclass(slots=True)
class _Known:
    """What is known of a message from before, and for how many of the new side's it answers."""

    outcome: str
    reason: str | None
    because: str | None
    sha256: str | None
    raw_id: int | None
    message: int | None
    live: int = 0
    taken: int = 0

    @property
    def free(self) -> int:
        """As many as the old side had of it; one, if it was moved or deleted there."""
        return max(1, self.live) - self.taken


def recognise(mailbox: Mailbox, survey: Survey, *, since: datetime | None) -> Recognised:
    """Decide what is known. Reads the ledger, writes nothing.

    :param since: when the mailbox was pointed to this account, None: it is not yet. What was
        received later is not known from before, whatever its header says
    """
    known = _known(mailbox, since)
    done = Recognised()
    left: list[Seen] = []
    for seen in survey.seen:
        match = known.get(digest_of(seen.fingerprint))
        if match is None:
            left.append(seen)
        else:
            done.by_content += 1
            done.receipts.append(_receipt(mailbox, seen, match))
    by_header = _by_header(known.values()) if left else {}
    for seen in left:
        _decide(mailbox, seen, by_header, since, done)
    return done


def _decide(
    mailbox: Mailbox,
    seen: Seen,
    by_header: dict[str, list[_Known]],
    since: datetime | None,
    done: Recognised,
) -> None:
    match = None
    if since is None or seen.received_at is None or seen.received_at < since:
        match = next((one for one in by_header.get(seen.weak_key, ()) if one.free > 0), None)
    if match is not None:
        done.by_header += 1
        done.receipts.append(_receipt(mailbox, seen, match))
    elif _is_before(mailbox.start_at, seen.received_at):
        done.before_start += 1
        done.receipts.append(_receipt_of_old(seen))
    else:
        done.new += 1


def _known(mailbox: Mailbox, since: datetime | None) -> dict[str, _Known]:
    """Return what is known by the digest of its fingerprint; the copies of one message share an
    entry."""
    query = Receipt.select(
        Receipt.fingerprint,
        Receipt.outcome,
        Receipt.reason,
        Receipt.because,
        Receipt.sha256,
        Receipt.raw_id,
        Receipt.message,
        Receipt.gone_at,
    ).where((Receipt.mailbox == mailbox.id) & Receipt.fingerprint.is_null(False))
    found: dict[str, _Known] = {}
    messages: dict[int, _Known] = {}
    for fingerprint, *columns, gone_at in rows(query.order_by(Receipt.id)):
        one = _Known(*columns)
        if one.message is not None:
            one = messages.setdefault(one.message, one)
        one = found.setdefault(digest_of(fingerprint), one)
        was_live = gone_at is None or (since is not None and gone_at >= since)
        one.live += was_live
    return found


def _by_header(known: Iterable[_Known]) -> dict[str, list[_Known]]:
    """Return those that answer for more messages, by the key of their header."""
    waiting = {one.raw_id: one for one in known if one.free > 0 and one.raw_id is not None}
    found: dict[str, list[_Known]] = defaultdict(list)
    for raw_id, beginning in raws.beginnings(waiting):
        found[_header_key(beginning)].append(waiting[raw_id])
    return found


# ---------------------------------------------------------------------------- writing


def write(mailbox: Mailbox, recognised: Recognised) -> None:
    """Write the receipts, in the caller's transaction."""
    insert_receipts(mailbox.id, recognised.receipts, now())


def _receipt(mailbox: Mailbox, seen: Seen, known: _Known) -> ReceiptRow:
    known.taken += 1
    is_ignored = known.message is None and known.outcome == "ignored"
    return ReceiptRow(
        ref=seen.listed.ref,
        ref_key=ref_key(seen.listed.ref),
        outcome="ignored" if is_ignored else "duplicate",
        listed_size=seen.listed.size,
        received_at=seen.listed.received_at,
        reason=known.reason if is_ignored else None,
        because=known.because if is_ignored else "recognised",
        sha256=seen.sha256,
        fingerprint=seen.fingerprint,
        message=known.message,
        settle=_is_settled_here(mailbox, seen, known),
        is_settled=mailbox.disposition == "leave",
    )


def _is_settled_here(mailbox: Mailbox, seen: Seen, known: _Known) -> bool:
    """The copy's bytes are not kept; where they are others than those from before, it stays."""
    if mailbox.disposition == "delete":
        return known.message is not None and seen.sha256 == known.sha256
    return bool(mailbox.disposition != "leave")


def _receipt_of_old(seen: Seen) -> ReceiptRow:
    listed = seen.listed
    key = ref_key(listed.ref)
    return ReceiptRow(
        listed.ref, key, "ignored", listed.size, listed.received_at, reason=BEFORE_START
    )
