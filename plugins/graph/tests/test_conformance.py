"""The transport keeps the contract, against the stand-in for Graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postroom.api import Token
from postroom.testing import (
    Arrived,
    Held,
    ReceiverConformance,
    Relay,
    Relayed,
    RelayedReceiver,
    RelayedSender,
    SenderConformance,
    without,
)
from postroom_graph.plugin import GraphTransport
from postroom_test_servers.graph import CUT, STALL, GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox, StoredMessage
from postroom_test_servers.graph_wire import refusal
from postroom_test_servers.tls import PrivateAuthority

ALWAYS = float("inf")


class GraphHarness(Relayed):
    """The stand-in behind a relay; tokens are lent as the core lends them."""

    impatient = {"timeout_seconds": 0.5}  # noqa: RUF012
    patience_seconds = 0.5

    def __init__(
        self, server: GraphServer, mailbox: GraphMailbox, relay: Relay, ca_file: str
    ) -> None:
        self.server, self.mailbox, self.relay = server, mailbox, relay
        self._ca_file = ca_file
        self._token: Token | None = None
        self._is_refusing = False

    def settings(self) -> dict[str, Any]:
        return {
            "credential": "contoso",
            "base_url": f"https://localhost:{self.relay.port}/v1.0",
            "ca_file": self._ca_file,
            "timeout_seconds": 20,
        }

    def heal(self) -> None:
        super().heal()
        self.server.heal()
        self._is_refusing = False

    def refuse_password(self) -> None:
        self._is_refusing = True
        self.server.expire_tokens()

    def throttle(self, retry_after: float) -> None:
        busy = refusal(429, "ApplicationThrottled", retry_after=f"{retry_after:g}")
        self.server.on("", busy, times=ALWAYS)

    def token(self, purpose: str, rejected: Token | None) -> Token:
        assert purpose == "graph"
        if self._token is None or rejected == self._token:
            self._token = Token(self.server.issue())
            if self._is_refusing:
                self.server.expire_tokens()
        return self._token

    def expire_token(self) -> None:
        self.server.expire_tokens()


class GraphReceiverHarness(GraphHarness, RelayedReceiver):
    def put(self, raw, received_at=None):
        self.mailbox.put(raw, received_at=received_at)

    def served(self, ref):
        return self._stored(ref).mime()

    def listing(self):
        folders = self.mailbox.folders.values()
        names = {self.mailbox.well_known["inbox"]: ""} | {
            one.id: one.name for one in folders if one.name == self.other_folder
        }
        return [
            Held(message.mime(), message.is_read, names[message.folder])
            for message in self.mailbox.messages.values()
            if message.folder in names
        ]

    def remove(self, ref):
        self.mailbox.remove(self._stored(ref))

    def make_unreadable(self, ref):
        self._stored(ref).is_unreadable = True

    def reset_ids(self):
        self.mailbox.renew_ids()

    def _stored(self, ref: str) -> StoredMessage:
        return self.mailbox.messages[ref]


class GraphSenderHarness(GraphHarness, RelayedSender):
    unsupported = without(
        "Graph knows no envelope: it takes a message for all its recipients or for none",
        "refuse_recipient",
        "defer_recipient",
    )

    def received(self):
        return [Arrived(None, to, raw) for _, to, raw in self.mailbox.delivered]

    def refuse_message(self):
        self.server.on(r"POST .*/send$", refusal(400, "ErrorInvalidRequest"), times=ALWAYS)

    def limit_size(self, most):
        self.mailbox.most_request_bytes = most * 4 // 3

    def cut_before_end(self):
        self.server.on(r"POST .*/messages$", CUT)

    def cut_after_end(self, *, kept):
        self.server.on(r"POST .*/send$", CUT, after=kept)

    def be_silent_after_end(self, *, kept):
        self.server.on(r"POST .*/send$", STALL, after=kept)

    def connections(self):
        return self.relay.connections

    def forget_sent(self, message_id):
        for message in list(self.mailbox.messages.values()):
            if not message.is_draft and message.internet_id == f"<{message_id}>":
                self.mailbox.remove(message)


class _Graph:
    """The transport at our stand-in."""

    transport = GraphTransport()
    plugin = "postroom_graph.plugin"
    heavy = ("httpx", "httpcore", "ssl", "email", "json")
    side: type[GraphReceiverHarness | GraphSenderHarness]

    @pytest.fixture
    def harness(
        self, graph_server: GraphServer, mailbox: GraphMailbox, authority: PrivateAuthority
    ) -> Iterator[GraphReceiverHarness | GraphSenderHarness]:
        with Relay(graph_server.port) as relay:
            yield self.side(graph_server, mailbox, relay, str(authority.ca_file))


class TestReceiver(_Graph, ReceiverConformance):
    side = GraphReceiverHarness


class TestSender(_Graph, SenderConformance):
    side = GraphSenderHarness
