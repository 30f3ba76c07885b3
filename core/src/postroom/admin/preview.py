"""Looks at what a retrieval would bring, without touching anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from postroom.api.transport import Fetched, Limits, Listed
from postroom.leases.leases import NoLease
from postroom.mail.large import parse
from postroom.mailboxes import sessions, sides
from postroom.mailboxes.ledger import live_receipts, ref_key
from postroom.mailboxes.views import view
from postroom.plugins import Plugins
from postroom.runner.foreground import attend
from postroom.store.models import Mailbox


def preview(mailbox: Mailbox, plugins: Plugins, *, limit: int) -> list[dict[str, Any]]:
    """Return what would be retrieved, parsed and classified, without storing or changing anything.

    Looks at the first messages that have no receipt yet, also at those before the start.
    """
    look = NoLease(mailbox.id, sides.incoming(mailbox).id)
    return attend(look, lambda: [*islice(_previewed(look, mailbox, plugins, limit), limit)])


def _previewed(
    look: NoLease, mailbox: Mailbox, plugins: Plugins, limit: int
) -> Iterator[dict[str, Any]]:
    chosen: set[str] = set()

    def wanted(page: Sequence[Listed]) -> Collection[str]:
        known = live_receipts(mailbox.id, [ref_key(item.ref) for item in page])
        for item in page:
            if len(chosen) < limit and ref_key(item.ref) not in known:
                chosen.add(item.ref)
        return {item.ref for item in page if item.ref in chosen}

    limits = Limits(max_message_bytes=mailbox.max_message_bytes, batch_count=limit)
    with sessions.open_receiver(look, mailbox, plugins) as receiver:
        look.on_lost = receiver.interrupt
        for delivery in receiver.fetch(None, limits=limits, wanted=wanted):
            if isinstance(delivery, Fetched):
                yield _read(delivery, mailbox, plugins)
                if not isinstance(delivery.raw, bytes):
                    delivery.raw.close()


def _read(delivery: Fetched, mailbox: Mailbox, plugins: Plugins) -> dict[str, Any]:
    parsed = parse(delivery.raw)
    verdict, _ = plugins.classify(parsed, view(mailbox))
    before = mailbox.start_at is not None and (
        delivery.received_at is None or delivery.received_at < mailbox.start_at
    )
    return {
        "ref": delivery.ref,
        "received_at": delivery.received_at,
        "from": str(parsed.from_) if parsed.from_ else None,
        "subject": parsed.subject,
        "size": len(delivery.raw),
        "is_automatic": parsed.is_automatic,
        "before_start": before,
        "ignore": verdict.ignore,
        "topic": verdict.topic,
    }
