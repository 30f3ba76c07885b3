"""A stand-in of Exchange, and sessions with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from postroom_ews.plugin import EwsTransport
from postroom_ews.receiver import EwsReceiver
from postroom_ews.sender import EwsSender
from postroom_test_servers.context import LoopbackContext
from postroom_test_servers.exchange import ExchangeServer, running
from postroom_test_servers.exchange_store import Mailbox
from postroom_test_servers.tls import PrivateAuthority

ADDRESS = "support@example.org"
PASSWORD = "Kanarienvogel-7f3a9c"

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's account was told to wait concerns no other test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def exchange(authority: PrivateAuthority) -> Iterator[ExchangeServer]:
    """A server without mailboxes; nothing invalid may be asked or answered."""
    yield from running(tls=authority.server_context("localhost", "127.0.0.1"))


@pytest.fixture
def box(exchange: ExchangeServer) -> Mailbox:
    """The mailbox."""
    return exchange.add_mailbox(ADDRESS, user="support", password=PASSWORD)


@pytest.fixture
def context() -> LoopbackContext:
    """What the core would lend."""
    return LoopbackContext(ADDRESS)


@pytest.fixture
def values(exchange: ExchangeServer, authority: PrivateAuthority) -> dict[str, Any]:
    """Settings that lead to the server."""
    return {
        "url": exchange.url, "username": "support", "password": PASSWORD,
        "ca_file": str(authority.ca_file), "timeout_seconds": 10,
    }  # fmt: skip


@pytest.fixture
def open_receiver(
    values: dict[str, Any], context: LoopbackContext, box: Mailbox
) -> Iterator[Callable[..., EwsReceiver]]:
    """Open receivers: ``open_receiver(folders=["inbox"])``."""
    transport = EwsTransport()
    with ExitStack() as stack:

        def open_one(**more: Any) -> Any:
            settings = transport.receiver_settings().model_validate(values | more)
            return stack.enter_context(transport.open_receiver(settings, context))

        yield open_one


@pytest.fixture
def open_sender(
    values: dict[str, Any], context: LoopbackContext, box: Mailbox
) -> Iterator[Callable[..., EwsSender]]:
    """Open senders."""
    transport = EwsTransport()
    with ExitStack() as stack:

        def open_one(**more: Any) -> Any:
            settings = transport.sender_settings().model_validate(values | more)
            return stack.enter_context(transport.open_sender(settings, context))

        yield open_one
