"""The transport ``crow``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from postroom.api import Capability, Context, Receiver, Sender, Transport, hookimpl

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings


class CrowTransport(Transport):
    """Receives and sends."""

    name = "crow"
    title = "Crow post"
    capabilities = (
        Capability.SEEN | Capability.MOVE | Capability.DELETE | Capability.PUSH
        | Capability.RECEIVED_DATES | Capability.EXACT_BYTES | Capability.ENVELOPE
        | Capability.FIND_SENT
    )  # fmt: skip

    def receiver_settings(self) -> type[TransportSettings]:
        """Return the settings."""
        from postroom.api.settings import ServerSettings

        return ServerSettings

    def sender_settings(self) -> type[TransportSettings]:
        """Return the settings."""
        from postroom.api.settings import ServerSettings

        return ServerSettings

    def open_receiver(self, settings: Any, context: Context) -> Receiver:
        """Return a receiver."""
        from postroom_test_servers.crow.receiver import CrowReceiver

        return CrowReceiver(settings, context)

    def open_sender(self, settings: Any, context: Context) -> Sender:
        """Return a sender."""
        from postroom_test_servers.crow.sender import CrowSender

        return CrowSender(settings, context)


@hookimpl
def postroom_transports() -> Iterable[Transport]:
    """Offer ``crow``."""
    return [CrowTransport()]
