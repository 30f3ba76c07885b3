"""Registers the transports ``imap`` and ``pop3``. Imports no mail library: sessions do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from postroom.api import Capability, Transport, hookimpl

if TYPE_CHECKING:
    from postroom.api import Context, Receiver

    from postroom_pop_imap.settings import ImapSettings, PopSettings


class ImapTransport(Transport):
    """Retrieves over IMAP4rev1 (RFC 3501, RFC 9051)."""

    name = "imap"
    title = "IMAP"
    capabilities = (
        Capability.FOLDERS
        | Capability.SEEN
        | Capability.MOVE
        | Capability.DELETE
        | Capability.PUSH
        | Capability.RECEIVED_DATES
    )

    def receiver_settings(self) -> type[ImapSettings]:
        """Return the settings model of the incoming side."""
        from postroom_pop_imap.settings import ImapSettings

        return ImapSettings

    def open_receiver(self, settings: ImapSettings, context: Context) -> Receiver:
        """Return a receiver; connects nothing yet."""
        from postroom_pop_imap.imap import ImapReceiver

        return ImapReceiver(settings, context)


class PopTransport(Transport):
    """Retrieves over POP3 (RFC 1939)."""

    name = "pop3"
    title = "POP3"
    purpose = "pop"
    capabilities = Capability.DELETE

    def receiver_settings(self) -> type[PopSettings]:
        """Return the settings model of the incoming side."""
        from postroom_pop_imap.settings import PopSettings

        return PopSettings

    def open_receiver(self, settings: PopSettings, context: Context) -> Receiver:
        """Return a receiver; connects nothing yet."""
        from postroom_pop_imap.pop import PopReceiver

        return PopReceiver(settings, context)


@hookimpl
def postroom_transports() -> Iterable[Transport]:
    """Offer both protocols."""
    return [ImapTransport(), PopTransport()]
