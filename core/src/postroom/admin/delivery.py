"""Takes one message from a mail server that waits for the answer: ``postroom deliver``."""

from __future__ import annotations

from postroom.errors import InputError
from postroom.intake.entrances import PIPE, Entrance
from postroom.intake.intake import Retrieval
from postroom.intake.tally import Tally
from postroom.leases.leases import NoLease
from postroom.mailboxes import ledger
from postroom.plugins import Plugins
from postroom.store.database import rows, transaction
from postroom.store.models import Mailbox, Receipt

TRANSPORT = "pipe"


class NotTakenError(InputError):
    """The message is not taken, and would not be another time: it goes back to its sender."""


def deliver(mailbox: Mailbox, plugins: Plugins) -> Tally:
    """Store the message on standard input; it is durable when this returns.

    :raises NotTakenError: there is none, or it is too large
    :raises TransportError: the plugin is missing, or standard input cannot be read
    :raises StoreError: the database or the disk is the trouble
    """
    entrance = Entrance(PIPE, acknowledges=True, transport=plugins.transport(TRANSPORT))
    tally = Retrieval(NoLease(mailbox.id), plugins, entrance=entrance).run()
    if tally.refused:
        _close_refused(mailbox)
        raise NotTakenError(
            f"The message is larger than {mailbox.address} takes, "
            f"{mailbox.max_message_bytes} bytes.",
            next_step="Raise max_message_bytes with `postroom mailbox set`.",
        )
    if not (tally.stored or tally.duplicate or tally.ignored or tally.quarantined):
        raise NotTakenError("Standard input holds no message.")
    return tally


def _close_refused(mailbox: Mailbox) -> None:
    """What the mail server was told to send back is nobody's task here; the ledger counts it."""
    refused = Receipt.select(Receipt.id).where(
        (Receipt.mailbox == mailbox.id)
        & (Receipt.outcome == "refused")
        & Receipt.ref_key.startswith(PIPE)
        & Receipt.gone_at.is_null()
    )
    with transaction():
        ledger.close([row[0] for row in rows(refused)])
