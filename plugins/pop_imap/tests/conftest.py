"""Receivers for real and for scripted servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from postroom.api import Fetched, Receiver
from postroom_pop_imap.plugin import ImapTransport, PopTransport
from postroom_pop_imap.settings import ImapSettings, PopSettings
from postroom_test_servers.context import LoopbackContext
from postroom_test_servers.dovecot import Account
from postroom_test_servers.proxy import Proxy, running_proxy
from postroom_test_servers.responder import IMAP, POP, Reply, Responder

OpenReceiver = Callable[..., Receiver]
StartResponder = Callable[..., Responder]


@pytest.fixture
def context() -> LoopbackContext:
    """What the core would lend."""
    return LoopbackContext()


@pytest.fixture
def open_imap(context: LoopbackContext) -> Iterator[OpenReceiver]:
    """Open receivers: ``open_imap(account, folders=["INBOX"])`` or ``open_imap(port=1143)``."""
    with ExitStack() as stack:

        def open_one(account: Account | None = None, **values: object) -> Receiver:
            if account is not None:
                port = account.server.imaps if values.get("security") == "tls" else None
                values = {"port": port or account.server.imap, **_account(account), **values}
            settings = ImapSettings.model_validate({**_LOOPBACK, **values})
            return stack.enter_context(ImapTransport().open_receiver(settings, context))

        yield open_one


@pytest.fixture
def open_pop(context: LoopbackContext) -> Iterator[OpenReceiver]:
    """Open receivers: ``open_pop(account)`` or ``open_pop(port=1110)``."""
    with ExitStack() as stack:

        def open_one(account: Account | None = None, **values: object) -> Receiver:
            if account is not None:
                port = account.server.pop3s if values.get("security") == "tls" else None
                values = {"port": port or account.server.pop3, **_account(account), **values}
            settings = PopSettings.model_validate({**_LOOPBACK, **values})
            return stack.enter_context(PopTransport().open_receiver(settings, context))

        yield open_one


@pytest.fixture
def start_imap() -> Iterator[StartResponder]:
    """Start scripted IMAP servers: ``start_imap({"LOGIN": b"TAG NO no\\r\\n"})``."""
    yield from _responders(IMAP)


@pytest.fixture
def start_pop() -> Iterator[StartResponder]:
    """Start scripted POP3 servers."""
    yield from _responders(POP)


@pytest.fixture
def start_proxy() -> Iterator[Callable[[int], Proxy]]:
    """Start proxies that break connections: ``start_proxy(port).break_after(received=100)``."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(running_proxy(port))


def _responders(table: dict[str, Reply]) -> Iterator[StartResponder]:
    with ExitStack() as stack:

        def start(changes: dict[str, Reply] | None = None, **options: Any) -> Responder:
            return stack.enter_context(Responder(table, changes, **options))

        yield start


_LOOPBACK = {
    "host": "localhost",
    "security": "none",
    "timeout_seconds": 10,
    "username": "jane",
    "password": "hunter2",
}


def _account(account: Account) -> dict[str, object]:
    return {"username": account.name, "password": account.password}


@pytest.fixture
def everything() -> Callable[..., list[str]]:
    """Want every message of a page."""
    return lambda listed: [item.ref for item in listed]


@pytest.fixture
def raws() -> Callable[..., list[bytes]]:
    """Return the bytes of what was fetched."""

    def read(items: list[object]) -> list[bytes]:
        found: list[bytes] = []
        for item in items:
            if isinstance(item, Fetched):
                if isinstance(item.raw, bytes):
                    found.append(item.raw)
                else:
                    found.append(b"".join(item.raw.pieces()))
                    item.raw.close()
        return found

    return read
