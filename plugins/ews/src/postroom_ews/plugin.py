"""The entry point: describes the transport ``ews``, loads nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from postroom.api import Capability, Transport, hookimpl

if TYPE_CHECKING:
    from postroom.api import Context, Receiver, Sender

    from postroom_ews.settings import EwsReceiverSettings, EwsSenderSettings


class EwsTransport(Transport):
    """Retrieves and sends through Exchange Web Services."""

    name = "ews"
    title = "Exchange Web Services"
    capabilities = (
        Capability.FOLDERS
        | Capability.SEEN
        | Capability.MOVE
        | Capability.DELETE
        | Capability.PUSH
        | Capability.RECEIVED_DATES
        | Capability.FIND_SENT
    )

    def receiver_settings(self) -> type[EwsReceiverSettings]:
        """Return the settings model of the incoming side."""
        from postroom_ews.settings import EwsReceiverSettings

        return EwsReceiverSettings

    def sender_settings(self) -> type[EwsSenderSettings]:
        """Return the settings model of the outgoing side."""
        from postroom_ews.settings import EwsSenderSettings

        return EwsSenderSettings

    def open_receiver(self, settings: EwsReceiverSettings, context: Context) -> Receiver:
        """Return a receiver; connects nothing yet."""
        from postroom_ews.receiver import EwsReceiver

        return EwsReceiver(settings, context)

    def open_sender(self, settings: EwsSenderSettings, context: Context) -> Sender:
        """Return a sender; connects nothing yet."""
        from postroom_ews.sender import EwsSender

        return EwsSender(settings, context)


@hookimpl
def postroom_transports() -> Iterable[Transport]:
    """Offer ``ews``."""
    return [EwsTransport()]
