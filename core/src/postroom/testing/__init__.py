"""The conformance kit: a transport that passes it keeps the contract. Needs ``postroom[testing]``.

Subclass `ReceiverConformance` or `SenderConformance` (for a kind of credential
`CredentialConformance`), name the transport, and give the fixture
``harness``: an object of a few methods that plays the server's side. The kit owns the assertions::

    class TestMyMail(ReceiverConformance):
        transport = MyMailTransport()
        plugin = "postroom_mymail.plugin"

        @pytest.fixture
        def harness(self, my_server):
            return MyMailHarness(my_server)

A case that does not hold may be overridden only with ``@pytest.mark.xfail(reason="…")``. What a
harness cannot play it names in `Harness.unsupported`, with the reason; the cases are then skipped,
visibly.
"""

from __future__ import annotations

from postroom.testing.credential import CredentialConformance
from postroom.testing.harness import (
    NETWORK,
    Arrived,
    CredentialHarness,
    Held,
    ReceiverHarness,
    SenderHarness,
    without,
)
from postroom.testing.receiver import ReceiverConformance
from postroom.testing.relay import Relay, Relayed, RelayedReceiver, RelayedSender
from postroom.testing.sender import SenderConformance

__all__ = [
    "NETWORK",
    "Arrived",
    "CredentialConformance",
    "CredentialHarness",
    "Held",
    "ReceiverConformance",
    "ReceiverHarness",
    "Relay",
    "Relayed",
    "RelayedReceiver",
    "RelayedSender",
    "SenderConformance",
    "SenderHarness",
    "without",
]
