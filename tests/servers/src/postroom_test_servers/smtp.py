"""A real SMTP server on loopback: aiosmtpd, with answers that a test can script.

::

    with SmtpServer() as server:
        server.refuse_recipient("gone@example.org", "550 5.1.1 no such user")
        ...                       # send through server.host, server.port
        [message] = server.wait_for(1)
        message.sender, message.recipients, message.raw
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from postroom_test_servers.smtp_protocol import Protocol, ReceivedMessage, Script, Stage

__all__ = ["ReceivedMessage", "SmtpServer", "Stage"]


class SmtpServer:
    """Listens from `start` to `stop`, in a thread of its own; all methods may be called from any.

    :param security: ``none``, ``starttls`` (offered, and needed before a log-in), ``tls``
    :param tls: the server's context, see `PrivateAuthority.server_context`
    :param users: name → password; who is given here must log in. None: nobody may
    :param tokens: name → token, for XOAUTH2
    :param without: EHLO keywords not to offer: ``SMTPUTF8``, ``8BITMIME``, ``STARTTLS``, ``SIZE``
    :param max_recipients: how many one message may have; the others are answered `too_many`
    """

    def __init__(
        self,
        *,
        security: Literal["none", "starttls", "tls"] = "none",
        tls: ssl.SSLContext | None = None,
        users: Mapping[str, str] | None = None,
        tokens: Mapping[str, str] | None = None,
        mechanisms: Collection[str] = ("PLAIN", "LOGIN"),
        size_limit: int | None = 32 << 20,
        without: Collection[str] = (),
        max_recipients: int | None = None,
        too_many: str = "452 4.5.3 too many recipients",
        host: str = "127.0.0.1",
    ) -> None:
        if security != "none" and tls is None:
            raise ValueError("TLS needs a server context")
        self.security, self.tls = security, tls
        self.users, self.tokens = dict(users or {}), dict(tokens or {})
        self.mechanisms, self.size_limit = frozenset(mechanisms), size_limit
        self.without = frozenset(without)
        self.max_recipients, self.too_many = max_recipients, too_many
        self.host = host
        self.port = 0
        self.connections = 0
        """How many connections were made so far."""
        self._changed = threading.Condition()
        self._received: list[ReceivedMessage] = []
        self._commands: list[str] = []
        self._scripts: list[Script] = []
        self.protocols: set[Protocol] = set()
        self.loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------ what came

    @property
    def received(self) -> list[ReceivedMessage]:
        """The messages so far, in order."""
        with self._changed:
            return list(self._received)

    @property
    def commands(self) -> list[str]:
        """The commands so far, without their log-ins: ``MAIL FROM:<a@example.org>``."""
        with self._changed:
            return list(self._commands)

    def wait_for(self, count: int, timeout: float = 10.0) -> list[ReceivedMessage]:
        """Return the messages as soon as there are `count`.

        :raises TimeoutError: there are not, after `timeout` seconds
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._received) >= count, timeout):
                raise TimeoutError(f"{len(self._received)} of {count} messages came")
            return list(self._received)

    def clear(self) -> None:
        """Forget messages, commands and scripts."""
        with self._changed:
            self._received.clear()
            self._commands.clear()
            self._scripts.clear()

    def forget_scripts(self) -> None:
        """Answer as usual again."""
        with self._changed:
            self._scripts.clear()

    # ------------------------------------------------------------------ what to answer

    def refuse_recipient(self, address: str, reply: str = "550 5.1.1 unknown user") -> None:
        """Refuse a recipient, always."""
        self._script(Script("RCPT", reply, address))

    def defer_recipient(
        self, address: str, reply: str = "450 4.2.0 greylisted", *, times: int | None = 1
    ) -> None:
        """Put a recipient off, `times` times (None: always)."""
        self._script(Script("RCPT", reply, address, left=times))

    def answer(self, stage: Stage, reply: str, *, times: int | None = 1, skip: int = 0) -> None:
        """Give this answer at a stage, `times` times (None: always), after `skip` usual ones.

        At END the message is not kept unless the answer is 2yz.
        """
        self._script(Script(stage, reply, accept=reply.startswith("2"), left=times, skip=skip))

    def cut(
        self, stage: Stage, *, accept: bool = False, times: int | None = 1, skip: int = 0
    ) -> None:
        """Drop the connection at a stage instead of answering; `times` and `skip` as in `answer`.

        :param accept: at END, keep the message first: it was sent, and nobody says so
        """
        self._script(Script(stage, cut=True, accept=accept, left=times, skip=skip))

    def stall(self, stage: Stage, *, accept: bool = False, times: int | None = 1) -> None:
        """Say nothing at a stage, for as long as the connection lasts."""
        self._script(Script(stage, stall=True, accept=accept, left=times))

    def drop_connections(self) -> None:
        """Close what is open, as after an idle time."""
        done = threading.Event()

        def drop() -> None:
            self._abort_all()
            self.loop.call_later(0.01, done.set)

        self.loop.call_soon_threadsafe(drop)
        done.wait(5)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Listen on a free port."""
        listener = socket.create_server((self.host, 0))
        self.port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listener, started), name="smtp-server", daemon=True
        )
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the SMTP server did not start")

    def stop(self) -> None:
        """Close everything; safe to call twice."""
        if self._thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, listener: socket.socket, started: threading.Event) -> None:
        loop = self.loop
        implicit = self.tls if self.security == "tls" else None
        server = loop.run_until_complete(
            loop.create_server(lambda: Protocol(self), sock=listener, ssl=implicit)
        )
        loop.call_soon(started.set)
        try:
            loop.run_forever()
        finally:
            loop.remove_reader(listener)  # asyncio leaks what it accepts while a server closes
            loop.run_until_complete(_let_callbacks_run())
            server.close()
            loop.run_until_complete(self._wind_up())
            loop.close()

    async def _wind_up(self) -> None:
        """Leave nothing open, connections just being accepted included."""
        self._abort_all()
        transports: Any = getattr(self.loop, "_transports", {})  # handshakes have no protocol yet
        for transport in list(transports.values()):
            transport.abort()
        await _let_callbacks_run()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await _let_callbacks_run()

    def _abort_all(self) -> None:
        for protocol in list(self.protocols):
            protocol.abort()

    # ------------------------------------------------------------------ for the protocol

    def _script(self, script: Script) -> None:
        with self._changed:
            self._scripts.append(script)

    def scripted(self, stage: Stage, address: str | None = None) -> Script | None:
        """Return the first script that applies, and count it."""
        with self._changed:
            for script in self._scripts:
                if script.stage != stage or script.address not in (None, address):
                    continue
                if script.skip:
                    script.skip -= 1
                elif script.left != 0:
                    if script.left is not None:
                        script.left -= 1
                    return script
        return None

    def note(self, command: str) -> None:
        with self._changed:
            self._commands.append(command)

    def keep(self, message: ReceivedMessage) -> None:
        with self._changed:
            self._received.append(message)
            self._changed.notify_all()


async def _let_callbacks_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
