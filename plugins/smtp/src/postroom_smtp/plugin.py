"""The entry point: describes the transport, loads nothing that sends mail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from postroom.api import Capability, Context, Sender, Transport, hookimpl

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings


class SmtpTransport(Transport):
    """Sends through a submission server or a relay."""

    name = "smtp"
    title = "SMTP"
    capabilities = Capability.EXACT_BYTES | Capability.ENVELOPE

    def sender_settings(self) -> type[TransportSettings]:
        """Return `SmtpSettings`."""
        from postroom_smtp.settings import SmtpSettings

        return SmtpSettings

    def open_sender(self, settings: Any, context: Context) -> Sender:
        """Return an `SmtpSender`; connects nothing yet."""
        from postroom_smtp.sender import SmtpSender

        return SmtpSender(settings, context)


@hookimpl
def postroom_transports() -> Iterable[Transport]:
    """Offer ``smtp``."""
    return [SmtpTransport()]
