"""Opens a side's session for a visit, watched: see `pulse`."""

from __future__ import annotations

from typing import Any

from postroom.api.transport import Receiver, Sender, Transport
from postroom.credentials.context import SessionContext
from postroom.leases.leases import Lease
from postroom.leases.pulse import WatchedReceiver, WatchedSender
from postroom.mailboxes import sides
from postroom.plugins import Plugins
from postroom.store.models import Mailbox, Side


def open_receiver(lease: Lease, mailbox: Mailbox, plugins: Plugins) -> Receiver:
    """Return a receiver for the incoming side under the lease.

    :raises SettingsError: the plugin is missing, or what is stored does not do
    """
    transport, settings = _loaded(lease, plugins)
    return open_target(lease, mailbox, transport, settings, plugins)


def open_target(
    lease: Lease, mailbox: Mailbox, transport: Transport, settings: Any, plugins: Plugins
) -> Receiver:
    """Return a receiver for settings that are not, or not yet, those of the side."""
    lease.pulse.who = plugins.who_offers(transport.name)
    lease.pulse.adapt(settings)
    context = SessionContext(mailbox.address, transport.name, settings)
    with lease.pulse.inside("opening a session"):
        receiver = transport.open_receiver(settings, context)
    return WatchedReceiver(receiver, lease.pulse)


def open_sender(lease: Lease, mailbox: Mailbox, plugins: Plugins) -> Sender:
    """Return a sender for the outgoing side under the lease; raises as `open_receiver`."""
    transport, settings = _loaded(lease, plugins)
    lease.pulse.adapt(settings)
    context = SessionContext(mailbox.address, transport.name, settings)
    with lease.pulse.inside("opening a session"):
        sender = transport.open_sender(settings, context)
    return WatchedSender(sender, lease.pulse)


def _loaded(lease: Lease, plugins: Plugins) -> tuple[Transport, Any]:
    side: Side = Side.get_by_id(lease.side_id)
    transport = plugins.transport(side.transport)
    lease.pulse.who = plugins.who_offers(transport.name)
    with lease.pulse.inside("its settings"):
        return transport, sides.load(side, plugins)
