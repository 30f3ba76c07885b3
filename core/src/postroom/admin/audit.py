"""Proves that nothing is lost: what the server holds, held against the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
    for i in range(0, len(listing), _PAGE):
        _compare(mailbox, listing[i : i + _PAGE], begun, result)
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


def _compare(mailbox: Mailbox, page: list[Listed], begun: datetime, result: Audit) -> None:
    """Count a page of the listing by what became of each message.

    A receipt that was closed since the listing counts: the retrieval moved or deleted it.
    """
    keys = {ledger.ref_key(item.ref): item for item in page}
    query = Receipt.select(
        Receipt.ref_key, Receipt.outcome, Receipt.listed_size, Receipt.received_at
    ).where(
        (Receipt.mailbox == mailbox.id)
        & is_among(Receipt.ref_key, keys)
        & (Receipt.gone_at.is_null() | (Receipt.gone_at >= begun))
    )
    found: dict[str, str] = {}
    for key, outcome, size, received_at in rows(query):
        item = keys[key]
        same_size = None in (size, item.size) or size == ledger.kept_size(item.size)
        same_date = None in (received_at, item.received_at) or received_at == item.received_at
        if same_size and same_date:
            found[key] = outcome
    for key, item in keys.items():
        outcome = found.get(key)
        if outcome is None:
            result.unaccounted += 1
            if len(result.unaccounted_refs) < 100:
                result.unaccounted_refs.append(item.ref)
        else:
            result.counted[outcome] += 1
