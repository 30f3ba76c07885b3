"""A sender for a test server, and messages to send."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from postroom.api import Outgoing
from postroom_smtp.plugin import SmtpTransport
from postroom_smtp.sender import SmtpSender
from postroom_smtp.settings import SmtpSettings
from postroom_test_servers.context import LoopbackContext

RAW = b"From: support@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"

OpenSender = Callable[..., SmtpSender]
MakeLetter = Callable[..., Outgoing]


@pytest.fixture
def context() -> LoopbackContext:
    """What the core would lend."""
    return LoopbackContext("support@example.org")


@pytest.fixture
def open_sender(context: LoopbackContext) -> Iterator[OpenSender]:
    """Open senders: ``open_sender(server, username="info", password="…")``."""
    with ExitStack() as stack:

        def open_one(server: Any, **values: Any) -> SmtpSender:
            if server is not None:
                values.setdefault("host", server.host)
                values.setdefault("port", server.port)
            values.setdefault("security", getattr(server, "security", "none"))
            values.setdefault("timeout_seconds", 5)
            sender = SmtpTransport().open_sender(SmtpSettings(**values), context)
            assert isinstance(sender, SmtpSender)
            stack.enter_context(sender)
            return sender

        yield open_one


@pytest.fixture
def letter() -> MakeLetter:
    """Make messages: ``letter("a@example.org", "b@example.org", raw=…)``."""

    def make(*recipients: str, sender: str = "support@example.org", raw: bytes = RAW) -> Outgoing:
        return Outgoing(
            message_id="1@desk.example.org",
            sender=sender,
            recipients=recipients or ("jane@example.org",),
            raw=raw,
        )

    return make


@pytest.fixture
def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def soon() -> Iterator[Callable[..., None]]:
    """Call something from another thread in a moment, or once `after` is true."""
    threads: list[threading.Thread] = []
    give_up = threading.Event()

    def call(action: Callable[[], None], *, after: Callable[[], bool] | None = None) -> None:
        def wait() -> None:
            give_up.wait(0.1)
            while after is not None and not after() and not give_up.wait(0.01):
                pass
            action()

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield call
    give_up.set()
    for thread in threads:
        thread.join(10)


class Cutter:
    """A proxy for one connection that cuts it after so many bytes in one direction."""

    host, security = "127.0.0.1", "none"

    def __init__(self, server: Any, direction: str, count: int) -> None:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._target = (server.host, server.port)
        self._limited_to_server = direction == "to the server"
        self._left = count
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self) -> None:
        client, _ = self._listener.accept()
        with self._listener, client, socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                ready, _, _ = select.select([client, server], [], [], 20)
                for source in ready:
                    piece = source.recv(65536)
                    to_server = source is client
                    if to_server == self._limited_to_server:
                        piece, was = piece[: self._left], piece
                        self._left -= len(piece)
                        (server if to_server else client).sendall(piece)
                        if len(piece) < len(was):
                            return
                    else:
                        (server if to_server else client).sendall(piece)
                    if not piece:
                        return
                if not ready:
                    return

    def finish(self) -> None:
        """Wait until the connection is over."""
        self._thread.join(30)


@pytest.fixture
def start_cutter() -> Callable[[Any, str, int], Cutter]:
    """Start a `Cutter`; its test waits for its end."""
    return Cutter
