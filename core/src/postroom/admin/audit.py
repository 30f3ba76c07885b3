"""Proves that nothing is lost: what the server holds, held against the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from peewee import Expression

from postroom.api.errors import SettingsError
from postroom.api.transport import Listed
from postroom.intake.tally import Progress, no_progress
from postroom.leases.leases import NoLease
from postroom.mailboxes import ledger, sessions, sides
from postroom.plugins import Plugins
from postroom.runner.foreground import attend
from postroom.runner.visits import poll as retrieve
from postroom.store.database import is_among, now, rows
from postroom.store.models import Mailbox, Receipt, Side

_PAGE = 500
OUTCOMES = ("stored", "duplicate", "ignored", "quarantined", "refused")
_Row = tuple[str, str, int | None, datetime | None]
"""Of a receipt: ref key, outcome, listed size, and when the server received it."""


@dataclass(slots=True)
class Audit:
    """`on_server` = the sum of `counted` + `unaccounted`, counted over the listing."""

    mailbox: str
    on_server: int = 0
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    unaccounted: int = 0
    unaccounted_refs: list[str] = field(default_factory=list)
    """The first hundred of them."""
    in_ledger: dict[str, int] = field(default_factory=dict)
    unsettled: int = 0
    trouble: SettingsError | None = None
    """Why the retrieval needs a person: what was refused may be the disposition alone."""

    def shown(self) -> dict[str, Any]:
        """Return what `mailbox audit --json` prints."""
        return {
            "mailbox": self.mailbox,
            "on_server": self.on_server,
            **self.counted,
            "unaccounted": self.unaccounted,
            "unaccounted_refs": self.unaccounted_refs,
            "in_ledger": self.in_ledger,
            "unsettled": self.unsettled,
        }


def audit(
    mailbox: Mailbox,
    plugins: Plugins,
    *,
    poll: bool = True,
    progress: Progress = no_progress,
) -> Audit:
    """Take a listing, complete one retrieval, compare.

    :param progress: told of the retrieval
    :raises TransportError: the server or the settings keep it from being done
    :raises BusyError: another process holds the mailbox and does not give way
    """
    side = sides.incoming(mailbox)
    begun = now()
    listing = _listing(mailbox, side, plugins)
    result = Audit(mailbox.address, on_server=len(listing))
    if poll:
        try:
            retrieve(side, plugins, progress=progress)
        except SettingsError as error:
            result.trouble = error
    _compare(mailbox, listing, begun, result)
    result.in_ledger = dict.fromkeys(OUTCOMES, 0) | ledger.counts(mailbox.id)
    result.unsettled = (
        Receipt.select()
        .where((Receipt.mailbox == mailbox.id) & Receipt.settle & Receipt.gone_at.is_null())
        .count()
    )
    return result


def _listing(mailbox: Mailbox, side: Side, plugins: Plugins) -> list[Listed]:
    look = NoLease(mailbox.id, side.id)

    def listed() -> list[Listed]:
        with sessions.open_receiver(look, mailbox, plugins) as receiver:
            look.on_lost = receiver.interrupt
            return list({item.ref: item for item in receiver.list_refs()}.values())

    return attend(look, listed)


def _compare(mailbox: Mailbox, listing: list[Listed], begun: datetime, result: Audit) -> None:
    """Count the listing by what became of each message.

    A receipt that was closed since the listing counts: the retrieval moved or deleted it.
    """
    closed: dict[str, list[_Row]] = {}
    for row in _receipts(mailbox, Receipt.gone_at >= begun):  # goes through all there are, once
        closed.setdefault(row[0], []).append(row)
    for i in range(0, len(listing), _PAGE):
        page = {ledger.ref_key(item.ref): item for item in listing[i : i + _PAGE]}
        live = _receipts(mailbox, Receipt.gone_at.is_null() & is_among(Receipt.ref_key, page))
        candidates = [*(row for key in page for row in closed.get(key, ())), *live]
        found = {row[0]: row[1] for row in candidates if _is_of(row, page[row[0]])}
        for key, item in page.items():
            _count(item, found.get(key), result)


def _receipts(mailbox: Mailbox, which: Expression) -> list[_Row]:
    columns = (Receipt.ref_key, Receipt.outcome, Receipt.listed_size, Receipt.received_at)
    query = Receipt.select(*columns).where((Receipt.mailbox == mailbox.id) & which)
    found: list[_Row] = rows(query)
    return found


def _is_of(receipt: _Row, item: Listed) -> bool:
    """Say whether a receipt with the ref of a listed message is that message's."""
    _, _, size, received_at = receipt
    same_size = None in (size, item.size) or size == ledger.kept_size(item.size)
    same_date = None in (received_at, item.received_at) or received_at == item.received_at
    return same_size and same_date


def _count(item: Listed, outcome: str | None, result: Audit) -> None:
    if outcome is not None:
        result.counted[outcome] += 1
        return
    result.unaccounted += 1
    if len(result.unaccounted_refs) < 100:
        result.unaccounted_refs.append(item.ref)
