"""The harnesses: they let the server do what the conformance kit asks for, and assert nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from example_server import MailService, Stored
from postroom.testing import Arrived, Held, Relay, Relayed, RelayedReceiver, RelayedSender, without

KEY = "a key that is found in no log and no error"


class _Courier(Relayed):
    """The service and a key to it; the network's faults are the relay's."""

    unsupported = without("the settings name no credential", "token", "expire_token")

    def __init__(self, service: MailService, relay: Relay) -> None:
        self.service, self.relay = service, relay

    def settings(self) -> Mapping[str, Any]:
        return {"url": f"http://127.0.0.1:{self.relay.port}", "api_key": KEY}

    def heal(self) -> None:
        super().heal()
        self.service.heal()

    def refuse_password(self) -> None:
        self.service.refuses_key = True

    def throttle(self, retry_after: float) -> None:
        self.service.retry_after = int(retry_after)


class CourierReceiverHarness(_Courier, RelayedReceiver):
    """The mailbox."""

    def put(self, raw: bytes, received_at: datetime | None = None) -> None:
        self.service.put(raw, received_at)

    def served(self, ref: str) -> bytes:
        return self._find(ref).raw

    def listing(self) -> list[Held]:
        return [Held(one.raw, one.seen) for one in self.service.messages]

    def remove(self, ref: str) -> None:
        self.service.messages.remove(self._find(ref))

    def make_unreadable(self, ref: str) -> None:
        self._find(ref).readable = False

    def reset_ids(self) -> None:
        self.service.reset()

    def _find(self, ref: str) -> Stored:
        found = self.service.find(ref)
        assert found is not None
        return found


class CourierSenderHarness(_Courier, RelayedSender):
    """The outgoing side of the same service."""

    def received(self) -> list[Arrived]:
        return [Arrived(one.sender, one.recipients, one.raw) for one in self.service.sent]

    def refuse_recipient(self, address: str) -> None:
        self.service.refused.add(address)

    def defer_recipient(self, address: str) -> None:
        self.service.deferred.add(address)

    def refuse_message(self) -> None:
        self.service.refuses_messages = True

    def limit_size(self, most: int) -> None:
        self.service.largest = most

    def cut_before_end(self) -> None:
        self.service.at_draft = "cut"

    def cut_after_end(self, *, kept: bool) -> None:
        self.service.at_send, self.service.takes = "cut", kept

    def be_silent_after_end(self, *, kept: bool) -> None:
        self.service.at_send, self.service.takes = "silent", kept
