"""What could not be read or converted: tried again, or released as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from postroom.api import codes
from postroom.api.transport import Fetched, Listed
from postroom.errors import InputError, NotFoundError
from postroom.intake.entrances import entrance_of
from postroom.intake.filing import NOT_ITS_FAULT, Filing
from postroom.intake.intake import Retrieval
from postroom.intake.records import Prepared
from postroom.intake.understanding.understood import understand_one
from postroom.leases.command_lease import claimed
from postroom.mailboxes import sides
from postroom.mailboxes.ledger import needs_person
from postroom.plugins import Plugins
from postroom.store import raws
from postroom.store.database import now, transaction
from postroom.store.models import Mailbox, Receipt, Side


def entries(mailbox: Mailbox | None = None) -> Iterator[dict[str, Any]]:
    """Yield what is quarantined or refused, the oldest first."""
    query = (
        Receipt.select(Receipt, Mailbox.address)
        .join(Mailbox)
        .where(needs_person())
        .order_by(Receipt.id)
    )
    if mailbox is not None:
        query = query.where(Receipt.mailbox == mailbox.id)
    for receipt in query:
        yield shown(receipt)


def shown(receipt: Receipt) -> dict[str, Any]:
    """Return what `quarantine show` prints."""
    return {
        "id": receipt.id,
        "mailbox": receipt.mailbox.address,
        "outcome": receipt.outcome,
        "ref": receipt.ref,
        "code": receipt.because,
        "cause": receipt.reason,
        "next_step": _next_step(receipt),
        "size": receipt.listed_size,
        "received_at": receipt.received_at,
        "created_at": receipt.created_at,
        "tries": receipt.tries,
        "next_try_at": receipt.next_try_at,
        "has_bytes": receipt.raw_id is not None,
        "raw_sha256": receipt.sha256,
    }


def _next_step(receipt: Receipt) -> str | None:
    code = codes.CATALOGUE.get(receipt.because or "")
    return code.next_step if code else None


def find(receipt_id: int) -> Receipt:
    """Return a live quarantined or refused receipt.

    :raises NotFoundError: no such entry
    """
    receipt: Receipt | None = Receipt.get_or_none((Receipt.id == receipt_id) & needs_person())
    if receipt is None:
        raise NotFoundError(
            f"There is no quarantined message {receipt_id}.",
            next_step="`postroom quarantine list` shows those that there are.",
        )
    return receipt


def raw(receipt_id: int) -> bytes:
    """Return its bytes as the server served them.

    :raises InputError: they could not be had so far
    """
    _, raw_id = _with_bytes(receipt_id)
    return raws.load(raw_id)


def _has_no_bytes(receipt: Receipt) -> InputError:
    step = "`postroom quarantine retry` asks the server for them again."
    return InputError(
        f"There are no bytes of message {receipt.id} here, only on the server.",
        next_step=codes.TOO_LARGE.next_step if receipt.outcome == "refused" else step,
    )


def retry(receipt_id: int, plugins: Plugins) -> str:
    """Convert again what has bytes; ask the server again for the others at the next visit.

    :returns: what was done, as a sentence
    :raises InputError: it still cannot be converted, or is still too large
    """
    receipt = find(receipt_id)
    most = receipt.mailbox.max_message_bytes
    if receipt.outcome == "refused" and (receipt.listed_size or 0) > most:
        raise InputError(
            f"Message {receipt.id} has {receipt.listed_size} bytes, and {receipt.mailbox.address} "
            f"takes {most}.",
            next_step=codes.TOO_LARGE.next_step,
        )
    if receipt.raw_id is not None:
        return _convert(receipt, plugins, certain=False)
    with transaction():
        if receipt.outcome == "refused":
            sides.forget_cursor(receipt.mailbox)
        Side.update(next_try_at=now()).where(
            (Side.mailbox == receipt.mailbox_id) & (Side.direction == "in")
        ).execute()
        Receipt.update(next_try_at=now(), tries=0).where(Receipt.id == receipt.id).execute()
    if entrance_of(receipt.ref) is not None:
        return "It is read again when the import is run again."
    return "It is asked for again at the next visit of the mailbox."


def release(receipt_id: int, plugins: Plugins) -> str:
    """Make a question of it whatever is wrong with it; a disposition `delete` may follow.

    :raises InputError: its bytes could never be had
    """
    receipt, _ = _with_bytes(receipt_id)
    return _convert(receipt, plugins, certain=True)


def _convert(receipt: Receipt, plugins: Plugins, *, certain: bool) -> str:
    side = sides.find(receipt.mailbox, "in") or sides.for_imports(receipt.mailbox)
    with claimed(side) as lease:
        receipt, raw_id = _with_bytes(receipt.id)
        retrieval = Retrieval(lease, plugins, entrance=entrance_of(receipt.ref))
        raw = raws.load(raw_id)
        fetched = Fetched(receipt.ref, raw, receipt.received_at)
        item = retrieval.prepare(fetched, understand_one(raw))
        item.listed = Listed(receipt.ref, receipt.received_at, receipt.listed_size)
        with transaction():
            lease.hold()
            failure = _file(retrieval.filing, receipt, item, bare=certain)
    if failure is not None and not certain:
        raise InputError(
            f"The message still cannot be converted ({type(failure).__name__}).",
            next_step="`postroom quarantine release` makes a question of its raw bytes.",
        )
    if item.placement is None:
        return f"It is {item.outcome}."
    return f"It belongs to question {item.placement.question.id}."


def _with_bytes(receipt_id: int) -> tuple[Receipt, int]:
    """Return a receipt, as it is by now, and the id of its bytes.

    :raises NotFoundError: it is no entry of the quarantine, or no more
    :raises InputError: its bytes could not be had so far
    """
    receipt = find(receipt_id)
    if receipt.raw_id is None:
        raise _has_no_bytes(receipt)
    return receipt, receipt.raw_id


def _file(filing: Filing, receipt: Receipt, item: Prepared, *, bare: bool) -> Exception | None:
    """File a message in the place of its receipt; return why it cannot be converted.

    :param bare: if it cannot, make a question that only carries the raw bytes
    """
    from postroom.mail.large import unreadable

    filing.lock_segment()
    filing.listing.replaced[item.ref_key] = receipt.id
    failure = item.failure or _try_to_write(filing, item)
    if failure is not None and bare:
        item.incoming.parsed = unreadable()
        filing.write([item])
    if failure is None or bare:
        _take_over(receipt, item)
    else:
        Receipt.update(tries=Receipt.tries + 1).where(Receipt.id == receipt.id).execute()
    return failure


def _try_to_write(filing: Filing, item: Prepared) -> Exception | None:
    try:
        with transaction():
            filing.write([item])
    except NOT_ITS_FAULT:
        raise
    except Exception as error:
        return error
    return None


def _take_over(receipt: Receipt, item: Prepared) -> None:
    """What was settled stays settled, what is gone is gone; the bytes are kept once."""
    if receipt.settled_at is not None or receipt.gone_at is not None:
        Receipt.update(settle=False, settled_at=receipt.settled_at, gone_at=receipt.gone_at).where(
            (Receipt.mailbox == receipt.mailbox_id)
            & (Receipt.ref_key == item.ref_key)
            & Receipt.gone_at.is_null()
        ).execute()
    if receipt.raw_id is not None:
        Receipt.update(raw_id=None).where(Receipt.id == receipt.id).execute()
        raws.delete([receipt.raw_id])
