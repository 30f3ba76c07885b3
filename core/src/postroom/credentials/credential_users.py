"""Which sides of mailboxes use a credential."""

from __future__ import annotations

from collections.abc import Iterator

from postroom import names
from postroom.leases import health
from postroom.store.models import Credential, Mailbox, Side


def sides_with(credential: Credential) -> Iterator[Side]:
    """Yield the sides of mailboxes that name a credential."""
    query = Side.select(Side, Mailbox).join(Mailbox).where(Side.direction.in_(["in", "out"]))
    for side in query.order_by(Mailbox.address_key, Side.direction):
        if named_by(side) == credential.name_key:
            yield side


def named_by(side: Side | None) -> str | None:
    """Return the key of the credential that a side names."""
    name = side.settings.get("credential") if side is not None else None
    return names.name_key(name) if isinstance(name, str) else None


def wake_sides(credential: Credential) -> None:
    """Let mailboxes that wait because they were refused be tried at once."""
    health.end_pauses([side.id for side in sides_with(credential)])
