"""Registers the transport ``graph``. Imports no HTTP library: sessions do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from postroom.api import Capability, Transport, hookimpl

if TYPE_CHECKING:
    from postroom.api import Context, Receiver, Sender

    from postroom_graph.settings import GraphReceiverSettings, GraphSenderSettings


class GraphTransport(Transport):
    """Retrieves and sends through Microsoft Graph v1.0."""

    name = "graph"
    title = "Microsoft Graph"
    capabilities = (
        Capability.FOLDERS
        | Capability.SEEN
        | Capability.MOVE
        | Capability.DELETE
        | Capability.PUSH
        | Capability.RECEIVED_DATES
        | Capability.FIND_SENT
    )

    def receiver_settings(self) -> type[GraphReceiverSettings]:
        """Return the settings model of the incoming side."""
        from postroom_graph.settings import GraphReceiverSettings

        return GraphReceiverSettings

    def sender_settings(self) -> type[GraphSenderSettings]:
        """Return the settings model of the outgoing side."""
        from postroom_graph.settings import GraphSenderSettings

        return GraphSenderSettings

    def open_receiver(self, settings: GraphReceiverSettings, context: Context) -> Receiver:
        """Return a receiver; connects nothing yet."""
        from postroom_graph.receiver import GraphReceiver

        return GraphReceiver(settings, context)

    def open_sender(self, settings: GraphSenderSettings, context: Context) -> Sender:
        """Return a sender; connects nothing yet."""
        from postroom_graph.sender import GraphSender

        return GraphSender(settings, context)


@hookimpl
def postroom_transports() -> Iterable[Transport]:
    """Offer the transport."""
    return [GraphTransport()]
