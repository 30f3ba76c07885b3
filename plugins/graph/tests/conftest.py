"""A mailbox on the stand-in for Graph, and sessions for it."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from postroom.api import Outgoing, Token
from postroom_graph.plugin import GraphTransport
from postroom_graph.receiver import GraphReceiver
from postroom_graph.sender import GraphSender
from postroom_test_servers.context import LoopbackContext
from postroom_test_servers.graph import GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.tls import PrivateAuthority

ADDRESS = "support@example.org"


class GraphContext(LoopbackContext):
    """Lends tokens that the server issues; one that was not refused is lent again."""

    def __init__(self, server: GraphServer) -> None:
        super().__init__(ADDRESS)
        self._server = server
        self._token: Token | None = None
        self.rejected: list[Token] = []

    def token(self, purpose: str, *, rejected: Token | None = None) -> Token:
        """Return the token."""
        assert purpose == "graph"
        if rejected is not None:
            self.rejected.append(rejected)
        if self._token is None or rejected == self._token:
            self._token = Token(self._server.issue())
        return self._token


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's mailbox was told to wait concerns no other test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def mailbox(graph_server: GraphServer) -> GraphMailbox:
    """The mailbox of our address."""
    return graph_server.new_mailbox(ADDRESS)


@pytest.fixture
def context(graph_server: GraphServer) -> GraphContext:
    """What the core would lend."""
    return GraphContext(graph_server)


@pytest.fixture
def settings(graph_server: GraphServer, authority: PrivateAuthority) -> dict[str, Any]:
    """Settings that lead to the mailbox."""
    return {
        "credential": "contoso",
        "base_url": graph_server.url,
        "ca_file": str(authority.ca_file),
        "timeout_seconds": 10,
    }


@pytest.fixture
def open_receiver(
    settings: dict[str, Any], context: GraphContext, mailbox: GraphMailbox
) -> Iterator[Callable[..., GraphReceiver]]:
    """Open receivers: ``open_receiver(folders=["inbox"])``."""
    with ExitStack() as stack:

        def open_one(**values: Any) -> GraphReceiver:
            transport = GraphTransport()
            model = transport.receiver_settings()
            receiver = transport.open_receiver(model(**{**settings, **values}), context)
            assert isinstance(receiver, GraphReceiver)
            return stack.enter_context(receiver)

        yield open_one


@pytest.fixture
def open_sender(
    settings: dict[str, Any], context: GraphContext, mailbox: GraphMailbox
) -> Iterator[Callable[..., GraphSender]]:
    """Open senders."""
    with ExitStack() as stack:

        def open_one(**values: Any) -> GraphSender:
            transport = GraphTransport()
            model = transport.sender_settings()
            sender = transport.open_sender(model(**{**settings, **values}), context)
            assert isinstance(sender, GraphSender)
            return stack.enter_context(sender)

        yield open_one


@pytest.fixture
def letter() -> Callable[..., Outgoing]:
    """Make messages: ``letter("ann@customer.example", body=b"…")``."""

    def make(*recipients: str, **changes: Any) -> Outgoing:
        to = recipients or ("ann@customer.example",)
        message_id = changes.pop("message_id", "answer-1@desk.example.org")
        head = changes.pop("head", b"")
        raw = (
            b"From: Example Support <support@example.org>\r\n"
            b"To: " + ", ".join(to).encode() + b"\r\n"
            b"Subject: Re: Rear brake\r\n"
            b"Message-ID: <" + message_id.encode() + b">\r\n"
            b"In-Reply-To: <q1@customer.example>\r\n"
            b"References: <q0@customer.example> <q1@customer.example>\r\n" + head
        )
        body = changes.pop("body", b"Content-Type: text/plain\r\n\r\nPlease bring it in.\r\n")
        values = {
            "message_id": message_id,
            "sender": ADDRESS,
            "recipients": to,
            "raw": raw + body,
            "from_address": ADDRESS,
        }
        return Outgoing(**{**values, **changes})

    return make


@pytest.fixture
def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
