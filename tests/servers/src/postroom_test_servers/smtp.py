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
import base64
import contextlib
import hmac
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

Stage = Literal["GREETING", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY", "END"]
"""Where a script applies. BODY: after 354, while the message is read; END: after its final dot."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that the server took responsibility for."""

    sender: str
    """The envelope sender, "" for the null path."""
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    """Exactly the bytes that came, without the dots that were stuffed."""
    username: str | None = None
    tls: bool = False
    options: tuple[str, ...] = ()
    """Parameters of MAIL, upper case: ``SIZE=123``, ``BODY=8BITMIME``."""


@dataclass(slots=True)
class _Script:
    """What to do at a stage instead of the usual."""

    stage: Stage
    reply: str = ""
    """The answer to give; "" with `cut` or `stall`: none."""
    address: str | None = None
    cut: bool = False
    stall: bool = False
    accept: bool = False
    """Keep the message before the connection is cut."""
    left: int | None = None
    """How often it still applies; None: always."""


class SmtpServer:
    """Listens from `start` to `stop`, in a thread of its own; all methods may be called from any.

    :param security: ``none``, ``starttls`` (offered, and needed before a log-in), ``tls``
    :param tls: the server's context, see `PrivateAuthority.server_context`
    :param users: name → password; who is given here must log in. None: nobody may
    :param tokens: name → token, for XOAUTH2
    :param without: EHLO keywords not to offer: ``SMTPUTF8``, ``8BITMIME``, ``STARTTLS``, ``SIZE``
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
        host: str = "127.0.0.1",
    ) -> None:
        if security != "none" and tls is None:
            raise ValueError("TLS needs a server context")
        self.security, self.tls = security, tls
        self.users, self.tokens = dict(users or {}), dict(tokens or {})
        self.mechanisms, self.size_limit = frozenset(mechanisms), size_limit
        self.without = frozenset(without)
        self.host = host
        self.port = 0
        self.connections = 0
        """How many connections were made so far."""
        self._changed = threading.Condition()
        self._received: list[ReceivedMessage] = []
        self._commands: list[str] = []
        self._scripts: list[_Script] = []
        self._protocols: set[_Protocol] = set()
        self._loop = asyncio.new_event_loop()
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

    # ------------------------------------------------------------------ what to answer

    def refuse_recipient(self, address: str, reply: str = "550 5.1.1 unknown user") -> None:
        """Refuse a recipient, always."""
        self._script(_Script("RCPT", reply, address))

    def defer_recipient(
        self, address: str, reply: str = "450 4.2.0 greylisted", *, times: int | None = 1
    ) -> None:
        """Put a recipient off, `times` times (None: always)."""
        self._script(_Script("RCPT", reply, address, left=times))

    def answer(self, stage: Stage, reply: str, *, times: int | None = 1) -> None:
        """Give this answer at a stage; at END the message is not kept unless it is 2yz."""
        self._script(_Script(stage, reply, accept=reply.startswith("2"), left=times))

    def cut(self, stage: Stage, *, accept: bool = False, times: int | None = 1) -> None:
        """Drop the connection at a stage instead of answering.

        :param accept: at END, keep the message first: it was sent, and nobody says so
        """
        self._script(_Script(stage, cut=True, accept=accept, left=times))

    def stall(self, stage: Stage, *, accept: bool = False, times: int | None = 1) -> None:
        """Say nothing at a stage, for as long as the connection lasts."""
        self._script(_Script(stage, stall=True, accept=accept, left=times))

    def drop_connections(self) -> None:
        """Close what is open, as after an idle time."""
        done = threading.Event()

        def drop() -> None:
            self._abort_all()
            self._loop.call_later(0.01, done.set)

        self._loop.call_soon_threadsafe(drop)
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
            self._loop.call_soon_threadsafe(self._loop.stop)
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
        loop = self._loop
        implicit = self.tls if self.security == "tls" else None
        server = loop.run_until_complete(
            loop.create_server(lambda: _Protocol(self), sock=listener, ssl=implicit)
        )
        loop.call_soon(started.set)
        try:
            loop.run_forever()
        finally:
            server.close()
            loop.run_until_complete(self._wind_up())
            loop.close()

    async def _wind_up(self) -> None:
        self._abort_all()
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports close in callbacks

    def _abort_all(self) -> None:
        for protocol in list(self._protocols):
            protocol.abort()

    # ------------------------------------------------------------------ for the protocol

    def _script(self, script: _Script) -> None:
        with self._changed:
            self._scripts.append(script)

    def _scripted(self, stage: Stage, address: str | None = None) -> _Script | None:
        """Return the first script that applies, and count it."""
        with self._changed:
            for script in self._scripts:
                if script.stage == stage and script.address in (None, address) and script.left != 0:
                    if script.left is not None:
                        script.left -= 1
                    return script
        return None

    def _note(self, command: str) -> None:
        with self._changed:
            self._commands.append(command)

    def _keep(self, message: ReceivedMessage) -> None:
        with self._changed:
            self._received.append(message)
            self._changed.notify_all()


class _Handler:
    """aiosmtpd's hooks."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Take away what is not to be offered."""
        session.host_name = hostname
        hidden = set(self._server.without)
        if not (self._server.users or self._server.tokens):
            hidden.add("AUTH")
        return [line for line in responses if line[4:].partition(" ")[0] not in hidden]

    async def handle_DATA(  # noqa: N802
        self, server: _Protocol, session: Session, envelope: Envelope
    ) -> str:
        """Keep the message, or do as the script says."""
        if any(len(line) > 998 for line in (envelope.original_content or b"").split(b"\r\n")):
            return "500 5.5.2 line too long"
        script = self._server._scripted("END")
        if script is None or script.accept:
            self._server._keep(_message(session, envelope, tls=server.is_encrypted))
        if script is not None:
            return await server.play(script)
        return "250 2.0.0 OK: queued as 4711"

    async def auth_CRAM__MD5(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        """RFC 2195."""
        challenge = f"<{secrets.token_hex(8)}@{server.hostname}>"
        answer: Any = await server.challenge_auth(challenge)
        if answer is MISSING:
            return AuthResult(success=False, handled=True)
        name, _, digest = answer.decode().rpartition(" ")
        password = self._server.users.get(name, secrets.token_hex())
        expected = hmac.new(password.encode(), challenge.encode(), "md5").hexdigest()
        success = hmac.compare_digest(digest, expected)
        return AuthResult(
            success=success, handled=False, auth_data=LoginPassword(name.encode(), b"")
        )

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        """Google's and Microsoft's: a refusal is a challenge that the client answers empty."""
        answer: Any = base64.b64decode(args[1]) if args[1:] else await server.challenge_auth("")
        if answer is MISSING:
            return AuthResult(success=False, handled=True)
        said = answer.decode()
        found = re.fullmatch("user=(.*)\1auth=Bearer (.*)\1\1", said)
        if found and self._server.tokens.get(found[1]) == found[2]:
            data = LoginPassword(found[1].encode(), b"")
            return AuthResult(success=True, handled=False, auth_data=data)
        await server.challenge_auth('{"status":"401","schemes":"bearer"}')
        return AuthResult(success=False, handled=False)


class _Protocol(SMTP):
    """One connection."""

    line_length_limit = 1 << 16  # for log-ins; aiosmtpd has one limit for commands and content

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        offered = {"CRAM-MD5", "PLAIN", "LOGIN", "XOAUTH2"}
        super().__init__(
            _Handler(server),
            data_size_limit=server.size_limit,
            enable_SMTPUTF8="SMTPUTF8" not in server.without,
            hostname="smtp.test",
            tls_context=server.tls if server.security == "starttls" else None,
            auth_require_tls=server.security == "starttls",
            auth_exclude_mechanism=offered
            - server.mechanisms
            - ({"XOAUTH2"} if server.tokens else set()),
            authenticator=self._authenticated,
            loop=server._loop,
        )
        self.command_size_limits["AUTH"] = 12288  # RFC 4954 section 4

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count connections, not their TLS layers."""
        if self._original_transport is None:
            self._server.connections += 1
            self._server._protocols.add(self)
            connection: Any = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._server._protocols.discard(self)
        super().connection_lost(error)

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is on, from the first byte or since STARTTLS."""
        transport = self.transport
        return transport is not None and transport.get_extra_info("ssl_object") is not None

    def abort(self) -> None:
        """Drop the connection, with what is still to be written."""
        transport: Any = self._original_transport or self.transport
        if transport is not None:
            transport.abort()

    async def play(self, script: _Script) -> str:
        """Do as the script says: return its answer, or never return."""
        if script.cut:
            self.abort()
        if script.cut or script.stall:
            await asyncio.Event().wait()
        return script.reply

    async def _handle_client(self) -> None:
        script = self._server._scripted("GREETING")
        if script is not None:
            await self.push(await self.play(script))
            self.abort_soon()
            return
        with contextlib.suppress(ConnectionError):
            await super()._handle_client()

    def abort_soon(self) -> None:
        """Close once the answer is written."""
        if self.transport is not None:
            self.transport.close()

    async def _is_scripted(self, stage: Stage, arg: str | None, address: str | None = None) -> bool:
        """Note the command; answer it if a script applies."""
        shown = "" if stage == "AUTH" else f" {arg}" if arg else ""
        self._server._note(f"{stage}{shown}")
        script = self._server._scripted(stage, address)
        if script is None:
            return False
        reply = await self.play(script)
        await self.push(reply)
        if reply.startswith("421"):
            self.abort_soon()
        return True

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        if not await self._is_scripted("EHLO", hostname):
            await super().smtp_EHLO(hostname)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        if not await self._is_scripted("STARTTLS", arg):
            with contextlib.suppress(ssl.SSLError):
                await super().smtp_STARTTLS(arg)

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802
        if not await self._is_scripted("AUTH", arg):
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        if await self._is_scripted("MAIL", arg):
            return
        has_accounts = self._server.users or self._server.tokens
        if has_accounts and not (self.session and self.session.authenticated):
            await self.push("530 5.7.0 Authentication required")
            return
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        found = re.search("<(.*)>", arg or "")
        if not await self._is_scripted("RCPT", arg, found[1] if found else None):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if await self._is_scripted("DATA", arg):
            return
        script = self._server._scripted("BODY")
        if script is not None:
            await self.push("354 go on")
            await self._reader.read(100)
            await self.push(await self.play(script))
            self.abort_soon()
            return
        await super().smtp_DATA(arg)

    async def smtp_RSET(self, arg: str) -> None:  # noqa: N802
        self._server._note("RSET")
        await super().smtp_RSET(arg)

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        self._server._note("QUIT")
        await super().smtp_QUIT(arg)

    def _authenticated(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        password = self._server.users.get(data.login.decode())
        success = password is not None and hmac.compare_digest(data.password, password.encode())
        return AuthResult(success=success, handled=False, auth_data=data)


def _message(session: Session, envelope: Envelope, *, tls: bool) -> ReceivedMessage:
    login = session.auth_data
    sender = envelope.mail_from or ""
    return ReceivedMessage(
        sender="" if sender == "<>" else sender,
        recipients=tuple(envelope.rcpt_tos),
        raw=bytes(envelope.original_content or b""),
        username=login.login.decode() if isinstance(login, LoginPassword) else None,
        tls=tls,
        options=tuple(envelope.mail_options),
    )
