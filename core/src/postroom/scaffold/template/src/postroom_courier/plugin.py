"""The entry point: describes the transport. Sessions and settings are imported when needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from postroom.api import Capability, Transport, hookimpl

if TYPE_CHECKING:
    from postroom.api import Context, Receiver, Sender

    from postroom_courier.settings import CourierSettings


class CourierTransport(Transport):
    """Retrieves and sends over Courier's HTTP interface."""

    name = "courier"
    title = "Courier"
    capabilities = (
        Capability.SEEN
        | Capability.DELETE
        | Capability.RECEIVED_DATES
        | Capability.EXACT_BYTES
        | Capability.ENVELOPE
    )

    def receiver_settings(self) -> type[CourierSettings]:
        """Return the settings model of the incoming side."""
        from postroom_courier.settings import CourierSettings

        return CourierSettings

    def sender_settings(self) -> type[CourierSettings]:
        """Return the settings model of the outgoing side: the same."""
        return self.receiver_settings()

    def open_receiver(self, settings: CourierSettings, context: Context) -> Receiver:
        """Return a receiver; connects nothing yet."""
        from postroom_courier.receiver import CourierReceiver

        return CourierReceiver(settings, context)

    def open_sender(self, settings: CourierSettings, context: Context) -> Sender:
        """Return a sender; connects nothing yet."""
        from postroom_courier.sender import CourierSender

        return CourierSender(settings, context)


@hookimpl
def postroom_transports() -> Iterable[Transport]:
    """Offer the transport."""
    return [CourierTransport()]
