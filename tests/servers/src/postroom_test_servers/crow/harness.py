"""The harnesses of the crow post."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from postroom.testing import Arrived, Held, Relay, Relayed, RelayedReceiver, RelayedSender, without

from postroom_test_servers.crow.server import CrowServer

PASSWORD = "Kanarienvogel-7f3a9c"


class _Crow(Relayed):
    """The service and an account."""

    impatient: ClassVar[Mapping[str, Any]] = {"timeout_seconds": 0.3}
    patience_seconds = 0.3
    unsupported: ClassVar[Mapping[str, str]] = without("no tokens", "token", "expire_token")

    def __init__(self, server: CrowServer, relay: Relay) -> None:
        self.server, self.relay = server, relay

    def settings(self) -> Mapping[str, Any]:
        """Return the account."""
        return {
            "host": "127.0.0.1",
            "port": self.relay.port,
            "security": "none",
            "username": "crow",
            "password": PASSWORD,
            "timeout_seconds": 3,
        }

    def heal(self) -> None:
        """End every fault."""
        super().heal()
        self.server.heal()

    def refuse_password(self) -> None:
        """Refuse."""
        self.server.is_refusing = True

    def throttle(self, retry_after: float) -> None:
        """Be busy."""
        self.server.busy_for = retry_after


class CrowReceiverHarness(_Crow, RelayedReceiver):
    """The service's receiving half."""

    def put(self, raw: bytes, received_at: datetime | None = None) -> None:
        """Deliver."""
        self.server.put(raw, received_at)

    def served(self, ref: str) -> bytes:
        """Return a message."""
        return self.server.messages[ref].raw

    def listing(self) -> list[Held]:
        """Return all."""
        return [Held(one.raw, one.seen, one.folder) for one in self.server.messages.values()]

    def remove(self, ref: str) -> None:
        """Remove a message."""
        del self.server.messages[ref]

    def make_unreadable(self, ref: str) -> None:
        """Keep it, and hand it out no more."""
        self.server.messages[ref].unreadable = True

    def reset_ids(self) -> None:
        """Number anew."""
        self.server.reset_ids()


class CrowSenderHarness(_Crow, RelayedSender):
    """The service's sending half."""

    def received(self) -> list[Arrived]:
        """Return what was taken."""
        return [Arrived(*one) for one in list(self.server.received)]

    def refuse_recipient(self, address: str) -> None:
        """Know nobody of that address."""
        self.server.refused.add(address)

    def defer_recipient(self, address: str) -> None:
        """Put off."""
        self.server.deferred.add(address)

    def refuse_message(self) -> None:
        """Reject."""
        self.server.rejects = True

    def limit_size(self, most: int) -> None:
        """Reject what is larger."""
        self.server.largest = most

    def cut_before_end(self) -> None:
        """Hang up before the bytes."""
        self.server.at_data = "cut"

    def cut_after_end(self, *, kept: bool) -> None:
        """Hang up after the bytes."""
        self.server.at_end = "cut" if kept else "cut lost"

    def be_silent_after_end(self, *, kept: bool) -> None:
        """Say nothing after the bytes."""
        self.server.at_end = "silent" if kept else "silent lost"

    def forget_sent(self, message_id: str) -> None:
        """Empty the folder for sent mail."""
        self.server.sent_ids.discard(message_id)
