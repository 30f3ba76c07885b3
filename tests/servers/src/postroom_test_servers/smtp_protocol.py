"""The connections of `postroom_test_servers.smtp`: aiosmtpd, made to follow scripts."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import re
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from aiosmtpd.smtp import (
    MISSING,
    SMTP,
    AuthResult,
    Envelope,
    LoginPassword,
    Session,
    TLSSetupException,
)

if TYPE_CHECKING:
    from postroom_test_servers.smtp import SmtpServer

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
class Script:
    """What to do at a stage instead of the usual."""

    stage: Stage
    reply: str = ""
    """The answer to give; "" with `cut` or `stall`: none."""
    address: str | None = None
    cut: bool = False
    stall: bool = False
    accept: bool = False
    """Keep the message before the connection is cut."""
    skip: int = 0
    """How often it is passed by before it applies."""
    left: int | None = None
    """How often it still applies; None: always."""


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
        self, server: Protocol, session: Session, envelope: Envelope
    ) -> str:
        """Keep the message, or do as the script says."""
        if any(len(line) > 998 for line in (envelope.original_content or b"").split(b"\r\n")):
            return "500 5.5.2 line too long"
        script = self._server.scripted("END")
        if script is None or script.accept:
            self._server.keep(_message(session, envelope, tls=server.is_encrypted))
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

    async def auth_OAUTHBEARER(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        """RFC 7628; a refusal is a challenge that the client answers with one byte."""
        answer: Any = base64.b64decode(args[1]) if args[1:] else await server.challenge_auth("")
        if answer is MISSING:
            return AuthResult(success=False, handled=True)
        form = "n,a=(.*),\1host=(.*)\1port=(\\d+)\1auth=Bearer (.*)\1\1"
        found = re.fullmatch(form, answer.decode())
        if found and self._server.tokens.get(found[1]) == found[4]:
            data = LoginPassword(found[1].encode(), b"")
            return AuthResult(success=True, handled=False, auth_data=data)
        last = await server.challenge_auth('{"status":"invalid_token","scope":"mail"}')
        if last != b"\1":
            await server.push("501 5.5.2 The exchange ends with one byte")
            return AuthResult(success=False, handled=True)
        return AuthResult(success=False, handled=False)


class Protocol(SMTP):
    """One connection."""

    line_length_limit = 1 << 16  # for log-ins; aiosmtpd has one limit for commands and content

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        offered = {"CRAM-MD5", "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"}
        super().__init__(
            _Handler(server),
            data_size_limit=server.size_limit,
            enable_SMTPUTF8="SMTPUTF8" not in server.without,
            hostname="smtp.test",
            tls_context=server.tls if server.security == "starttls" else None,
            auth_require_tls=server.security == "starttls",
            auth_exclude_mechanism=offered
            - server.mechanisms
            - ({"XOAUTH2"} if server.tokens and "OAUTHBEARER" not in server.mechanisms else set()),
            authenticator=self._authenticated,
            loop=server.loop,
        )
        self.command_size_limits["AUTH"] = 12288  # RFC 4954 section 4

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count connections, not their TLS layers."""
        if self._original_transport is None:
            self._server.connections += 1
            self._server.protocols.add(self)
            connection: Any = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._server.protocols.discard(self)
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

    async def play(self, script: Script) -> str:
        """Do as the script says: return its answer, or never return."""
        if script.cut:
            self.abort()
        if script.cut or script.stall:
            await asyncio.Event().wait()
        return script.reply

    async def _handle_client(self) -> None:
        script = self._server.scripted("GREETING")
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
        self._server.note(f"{stage}{shown}")
        script = self._server.scripted(stage, address)
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
            try:
                await super().smtp_STARTTLS(arg)
            except TLSSetupException:  # the client went, or did not like the certificate
                self.abort()
                await asyncio.Event().wait()

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
        taken = len(self.envelope.rcpt_tos) if self.envelope else 0
        if self._server.max_recipients is not None and taken >= self._server.max_recipients:
            self._server.note(f"RCPT {arg}")
            await self.push(self._server.too_many)
            return
        if not await self._is_scripted("RCPT", arg, found[1] if found else None):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if await self._is_scripted("DATA", arg):
            return
        script = self._server.scripted("BODY")
        if script is not None:
            await self.push("354 go on")
            await self._reader.read(100)
            await self.push(await self.play(script))
            self.abort_soon()
            return
        await super().smtp_DATA(arg)

    async def smtp_RSET(self, arg: str) -> None:  # noqa: N802
        self._server.note("RSET")
        await super().smtp_RSET(arg)

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        self._server.note("QUIT")
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
