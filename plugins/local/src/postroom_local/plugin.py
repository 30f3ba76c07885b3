"""The entry point: describes the transports. Sessions and settings are imported when needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from postroom.api import Capability, Transport, hookimpl

if TYPE_CHECKING:
    from postroom.api import Context, Receiver, Sender

    from postroom_local.settings import EmlSettings, MaildirSettings, MboxSettings


class MaildirTransport(Transport):
    """Reads a Maildir, and writes into one what would be sent."""

    name = "maildir"
    title = "Maildir"
    capabilities = (
        Capability.SEEN
        | Capability.MOVE
        | Capability.DELETE
        | Capability.RECEIVED_DATES
        | Capability.EXACT_BYTES
        | Capability.ENVELOPE
        | Capability.FIND_SENT
    )

    def receiver_settings(self) -> type[MaildirSettings]:
        """Return the settings model of the incoming side."""
        from postroom_local.settings import MaildirSettings

        return MaildirSettings

    def sender_settings(self) -> type[MaildirSettings]:
        """Return the settings model of the outgoing side: the same."""
        return self.receiver_settings()

    def open_receiver(self, settings: MaildirSettings, context: Context) -> Receiver:
        """Return a receiver; opens nothing yet."""
        from postroom_local.maildir import MaildirReceiver

        return MaildirReceiver(settings, context)

    def open_sender(self, settings: MaildirSettings, context: Context) -> Sender:  # noqa: ARG002
        """Return a sender; opens nothing yet."""
        from postroom_local.maildir_sender import MaildirSender

        return MaildirSender(settings)


class MboxTransport(Transport):
    """Reads an mbox file, and never writes to it."""

    name = "mbox"
    title = "mbox file"

    def receiver_settings(self) -> type[MboxSettings]:
        """Return the settings model of the incoming side."""
        from postroom_local.settings import MboxSettings

        return MboxSettings

    def open_receiver(self, settings: MboxSettings, context: Context) -> Receiver:  # noqa: ARG002
        """Return a receiver; opens nothing yet."""
        from postroom_local.mbox import MboxReceiver

        return MboxReceiver(settings)


class EmlTransport(Transport):
    """Reads a folder of files with a message each."""

    name = "eml"
    title = "Folder of .eml files"
    capabilities = Capability.MOVE | Capability.DELETE | Capability.RECEIVED_DATES

    def receiver_settings(self) -> type[EmlSettings]:
        """Return the settings model of the incoming side."""
        from postroom_local.settings import EmlSettings

        return EmlSettings

    def open_receiver(self, settings: EmlSettings, context: Context) -> Receiver:
        """Return a receiver; opens nothing yet."""
        from postroom_local.eml import EmlReceiver

        return EmlReceiver(settings, context)


class PipeTransport(Transport):
    """Reads one message from standard input, for ``postroom deliver``.

    It has no settings, so it is no incoming side: nobody can fetch from it, a mail server calls.
    """

    name = "pipe"
    title = "Standard input"
    capabilities = Capability.RECEIVED_DATES

    def open_receiver(self, settings: None, context: Context) -> Receiver:  # noqa: ARG002
        """Return a receiver; reads nothing yet."""
        from postroom_local.pipe import PipeReceiver

        return PipeReceiver(context)


@hookimpl
def postroom_transports() -> Iterable[Transport]:
    """Offer all four."""
    return [MaildirTransport(), MboxTransport(), EmlTransport(), PipeTransport()]
