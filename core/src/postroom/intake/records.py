"""How a retrieved message is written down: the rows of a batch, inserted in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from postroom.api.transport import Fetched, Listed
from postroom.intake.conversations import Incoming, Placement
from postroom.mail.message import Address
from postroom.mailboxes.ledger import kept_size
from postroom.questions.transcript import indexed
from postroom.store import raws
from postroom.store.database import allocate_ids, insert_rows
from postroom.store.fields import to_micros
from postroom.store.models import Message, MessageKey, Receipt

_RECEIPT_COLUMNS = (
    "id mailbox ref ref_key outcome reason because listed_size received_at created_at sha256 "
    "fingerprint raw_id message settle settled_at tries next_try_at"
).split()
_MESSAGE_COLUMNS = (
    "id question mailbox kind direction raw_id from_address from_name to cc reply_to subject date "
    "received_at internet_id in_reply_to references text reply_text html is_automatic is_bounce "
    "may_auto_reply is_stranger attachments problems created_at"
).split()


@dataclass(slots=True)
class Prepared:
    """A fetched message, understood and packed: all that can be done outside the transaction."""

    fetched: Fetched
    listed: Listed
    ref_key: str
    packed: raws.Packed
    incoming: Incoming
    complaints: list[str] = field(default_factory=list)
    failure: Exception | None = None
    """Why it could not be understood; it then goes to quarantine."""
    received_at: datetime | None = field(init=False)
    """When the server received it, as far as it says."""
    # Decided inside the transaction:
    outcome: str = "stored"
    reason: str | None = None
    twin: int | None = None
    keep_bytes: bool = True
    placement: Placement | None = None
    raw_id: int | None = None
    message_id: int | None = None

    def __post_init__(self) -> None:
        self.received_at = self.listed.received_at or self.fetched.received_at

    def reset(self) -> None:
        """Get ready to be stored, once more too: nothing is decided."""
        self.outcome, self.reason, self.twin = "stored", None, None
        self.keep_bytes, self.placement = True, None

    def release(self) -> None:
        """Let go of the bytes once they are stored."""
        if not isinstance(self.fetched.raw, bytes):
            self.fetched.raw.close()


@dataclass(slots=True)
class ReceiptRow:
    """A receipt to insert; see `Receipt`."""

    ref: str
    ref_key: str
    outcome: str
    listed_size: int | None
    received_at: datetime | None
    reason: str | None = None
    because: str | None = None
    sha256: str | None = None
    fingerprint: str | None = None
    raw_id: int | None = None
    message: int | None = None
    settle: bool = False
    is_settled: bool = False
    tries: int = 0
    next_try_at: datetime | None = None


def insert_receipts(mailbox_id: int, receipts: Iterable[ReceiptRow], instant: datetime) -> range:
    """Insert receipts; the unique index refuses a second live one of a ref."""
    items = list(receipts)
    stored_at = to_micros(instant)
    ids = allocate_ids(Receipt, len(items))
    numbered = zip(ids, items, strict=True)
    values = (_receipt(row_id, mailbox_id, r, stored_at) for row_id, r in numbered)
    insert_rows(Receipt, _RECEIPT_COLUMNS, values)
    return ids


def _receipt(row_id: int, mailbox_id: int, r: ReceiptRow, stored_at: int) -> tuple[Any, ...]:
    return (
        row_id, mailbox_id, r.ref, r.ref_key, r.outcome, r.reason, r.because,
        kept_size(r.listed_size), r.received_at, stored_at, r.sha256, r.fingerprint,
        r.raw_id, r.message, r.settle, stored_at if r.is_settled else None, r.tries,
        r.next_try_at,
    )  # fmt: skip


def insert_messages(mailbox_id: int, items: Sequence[Prepared], instant: datetime) -> None:
    """Insert the messages of stored items, whose questions have ids, and their keys."""
    stored_at = to_micros(instant)
    insert_rows(Message, _MESSAGE_COLUMNS, (_message(mailbox_id, p, stored_at) for p in items))
    insert_rows(
        MessageKey,
        ("key", "names", "message"),
        (
            (key, names, prepared.message_id)
            for prepared in items
            for key, names in _keys(prepared.incoming)
        ),
    )


def as_message(mailbox_id: int, prepared: Prepared, instant: datetime) -> Message:
    """Return a stored item's message as it was inserted."""
    row = _message(mailbox_id, prepared, instant)
    return Message(**dict(zip(_MESSAGE_COLUMNS, row, strict=True)))


def _keys(incoming: Incoming) -> Iterable[tuple[str, bool]]:
    if incoming.own_key:
        yield incoming.own_key, False
    for key in incoming.link_keys:
        yield key, True


def _message(mailbox_id: int, prepared: Prepared, instant: datetime | int) -> tuple[Any, ...]:
    p, placement = prepared.incoming.parsed, prepared.placement
    assert placement is not None  # noqa: S101 - only stored items come here
    sender, name = (p.from_.address, p.from_.name) if p.from_ else (None, "")
    return (
        prepared.message_id, placement.question.id, mailbox_id, placement.kind, "in",
        prepared.raw_id, sender, name, _pairs(p.to), _pairs(p.cc), _pairs(p.reply_to),
        p.subject, p.date, prepared.received_at or p.received_at or instant,
        p.message_id, p.in_reply_to, p.references,
        p.text, None if p.reply_text == p.text else p.reply_text, p.html_original,
        p.is_automatic, p.is_bounce, prepared.incoming.may_auto_reply, placement.is_stranger,
        [indexed(a) for a in p.attachments], [*p.problems, *prepared.complaints], instant,
    )  # fmt: skip


def _pairs(addresses: Iterable[Address]) -> list[tuple[str, str]]:
    return [(a.address, a.name) for a in addresses]
