"""Mail that nothing will send: its mailbox has lost the outgoing side."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from postroom.api import codes
from postroom.store.database import execute
from postroom.store.fields import from_micros


class Stranded(NamedTuple):
    """Queued mail of a mailbox without an outgoing side."""

    mailbox: str
    waiting: int
    since: datetime

    @property
    def sentence(self) -> str:
        """Say how much waits."""
        what = "1 mail waits" if self.waiting == 1 else f"{self.waiting} mails wait"
        return f"The mailbox has no outgoing side, and {what} to be sent."

    @property
    def next_step(self) -> str:
        """Return what to do about it."""
        return (
            f"{codes.OUTGOING_MISSING.next_step} Or cancel what waits; see `postroom outbox list`."
        )


def stranded() -> list[Stranded]:
    """Return those mailboxes, by address."""
    found = execute(
        "SELECT m.address, COUNT(*), MIN(o.queued_at) FROM outbox o "
        "JOIN mailbox m ON m.id = o.mailbox_id WHERE o.state = 'queued' AND NOT EXISTS "
        "(SELECT 1 FROM side s WHERE s.mailbox_id = m.id AND s.direction = 'out') "
        "GROUP BY m.id, m.address, m.address_key ORDER BY m.address_key",
        [],
    )
    return [Stranded(address, waiting, from_micros(since)) for address, waiting, since in found]
