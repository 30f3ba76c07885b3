"""Looks at what a retrieval would bring, without touching anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from heapq import nlargest
from itertools import islice
from typing import Any, Final

from postroom.api import codes
from postroom.api.transport import (
    Checkpoint,
    Fetched,
    Limits,
    Listed,
    Oversized,
    Receiver,
    Unavailable,
)
from postroom.intake.listing import Listing
from postroom.intake.understanding.understood import understand_one
from postroom.leases.leases import NoLease
from postroom.mailboxes import sessions, sides
from postroom.mailboxes.ledger import BEFORE_START, TOO_LARGE
from postroom.mailboxes.views import view
from postroom.plugins import Plugins
from postroom.runner.foreground import attend
from postroom.store.models import Mailbox, Receipt

_PAGE: Final = 1_000
"""So many messages of the listing are held against the receipts at a time."""


def preview(mailbox: Mailbox, plugins: Plugins, *, limit: int) -> list[dict[str, Any]]:
    """Return what the next retrieval would make of the newest messages that it would write a
    receipt for, the newest first. Nothing is stored or changed.

    ``outcome`` and ``reason`` are those of the receipt. Of what would be refused or cannot be read
    no more is known than what the server lists.
    """
    look = NoLease(mailbox.id, sides.incoming(mailbox).id)

    def rows() -> list[dict[str, Any]]:
        with sessions.open_receiver(look, mailbox, plugins) as receiver:
            look.on_lost = receiver.interrupt
            return _Look(mailbox, plugins, receiver).rows(limit)

    return attend(look, rows)


class _Look:
    """One look at a mailbox, through an open receiver."""

    def __init__(self, mailbox: Mailbox, plugins: Plugins, receiver: Receiver) -> None:
        self._mailbox = mailbox
        self._plugins = plugins
        self._receiver = receiver
        self._view = view(mailbox)
        self._listing = Listing(mailbox)
        self._seen: set[str] = set()

    def rows(self, limit: int) -> list[dict[str, Any]]:
        """Return what would become of the newest messages."""
        newest = [item for _, item in nlargest(limit, enumerate(self._to_be_noted()), key=_age)]
        found: dict[str, dict[str, Any]] = {}
        for item in newest:
            if self._is_too_large(item):
                found[item.ref] = _row(item, "refused", TOO_LARGE)
        to_read = {item.ref: item for item in newest if item.ref not in found}
        for delivery in self._deliveries({*to_read}):
            found[delivery.ref] = self._looked_into(delivery, to_read[delivery.ref])
        return [found[item.ref] for item in newest if item.ref in found]  # some may be gone by now

    def _to_be_noted(self) -> Iterator[Listed]:
        """Yield what the retrieval would write a receipt for."""
        listed = self._receiver.list_refs()
        while page := [*islice(listed, _PAGE)]:
            noted = {*self._listing.wanted(page)}
            noted.update(one.listed.ref for one in self._listing.unfetched)
            self._listing.unfetched.clear()
            yield from (item for item in page if item.ref in noted)

    def _is_too_large(self, item: Listed) -> bool:
        return item.size is not None and item.size > self._mailbox.max_message_bytes

    def _deliveries(self, refs: set[str]) -> Iterator[Fetched | Oversized | Unavailable]:
        """Yield these messages; ends when all have come."""
        limits = Limits(
            max_message_bytes=self._mailbox.max_message_bytes,
            batch_count=max(1, len(refs)),
            received_dates=self._mailbox.start_at is not None,
        )
        fetched = self._receiver.fetch(
            None, limits=limits, wanted=lambda page: {one.ref for one in page if one.ref in refs}
        )
        while refs and (delivery := next(fetched, None)) is not None:
            if not isinstance(delivery, Checkpoint) and delivery.ref in refs:
                refs.discard(delivery.ref)
                yield delivery

    def _looked_into(
        self, delivery: Fetched | Oversized | Unavailable, item: Listed
    ) -> dict[str, Any]:
        item = replace(item, received_at=item.received_at or delivery.received_at)
        if isinstance(delivery, Oversized):
            return _row(replace(item, size=delivery.size), "refused", TOO_LARGE)
        if isinstance(delivery, Unavailable):
            return _row(item, "quarantined", delivery.error.sentence)
        try:
            return self._read(delivery, item)
        finally:
            if not isinstance(delivery.raw, bytes):
                delivery.raw.close()

    def _read(self, delivery: Fetched, item: Listed) -> dict[str, Any]:
        item = replace(item, size=len(delivery.raw))
        understood = understand_one(delivery.raw)
        if isinstance(understood, Exception):
            return _row(item, "quarantined", codes.MESSAGE_UNSTORABLE.meaning)
        parsed = understood.parsed
        verdict, _ = self._plugins.classify(parsed, self._view)
        before = self._listing.is_before_start(item.received_at)
        outcome, reason = "stored", ""
        if before:
            outcome, reason = "ignored", BEFORE_START
        elif verdict.ignore is not None:
            outcome, reason = "ignored", verdict.ignore
        elif self._is_known(understood.fingerprint):
            outcome = "duplicate"
        return _row(item, outcome, reason) | {
            "from": str(parsed.from_) if parsed.from_ else None,
            "subject": parsed.subject,
            "is_automatic": parsed.is_automatic,
            "before_start": before,
            "ignore": verdict.ignore,
            "topic": verdict.topic,
        }

    def _is_known(self, fingerprint: str) -> bool:
        """Say whether such a mail is stored, or would be by then."""
        if fingerprint in self._seen:
            return True
        self._seen.add(fingerprint)
        twins = Receipt.select().where(
            (Receipt.mailbox == self._mailbox.id)
            & (Receipt.outcome == "stored")
            & (Receipt.fingerprint == fingerprint)
        )
        return bool(twins.exists())


def _age(placed: tuple[int, Listed]) -> tuple[float, int]:
    """Sort by date, and where a server lists none by its order: the newest come last."""
    place, item = placed
    return item.received_at.timestamp() if item.received_at else 0.0, place


def _row(item: Listed, outcome: str, reason: str) -> dict[str, Any]:
    """Return a row of what is known without the message's bytes."""
    return {
        "ref": item.ref,
        "received_at": item.received_at,
        "from": None,
        "subject": "",
        "size": item.size,
        "is_automatic": False,
        "before_start": False,
        "ignore": None,
        "topic": None,
        "outcome": outcome,
        "reason": reason or None,
    }
