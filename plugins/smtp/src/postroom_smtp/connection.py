"""A connection that is ready to take messages: resolve, connect, TLS, log in."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from postroom.api import Context, Problem, SettingsError, TransientError, codes

from postroom_smtp.errors import SMTP_CLIENT_REFUSED, busy, translated, unexpected
from postroom_smtp.login import Login
from postroom_smtp.reply import Reply, printable, shortened
from postroom_smtp.wire import Endpoint, Wire

if TYPE_CHECKING:
    from postroom_smtp.settings import SmtpSettings

QUIT_TIMEOUT = 2.0
RESET_TIMEOUT = 10.0
"""Seconds; a connection that idled too long is cheaper to replace than to wait for."""


class Connection:
    """One session with a server, RFC 5321 section 3.1 to 3.2; the steps in their order.

    Each step returns what a person may want to know of it, and raises SettingsError, AuthError or
    TransientError: a server that refuses *us* says nothing about the message.
    """

    def __init__(
        self, settings: SmtpSettings, context: Context, interrupted: threading.Event
    ) -> None:
        self._settings = settings
        self._context = context
        self._interrupted = interrupted
        self._endpoints: list[Endpoint] = []
        self.wire = Wire(
            settings.host,
            settings.effective_port,
            timeout=settings.timeout_seconds,
            interrupted=interrupted,
        )
        self.where = self.wire.where
        self.data_timeout = settings.data_timeout_seconds
        self.offered: Mapping[str, str] = {}
        """EHLO keywords, upper case, with their arguments."""

    @property
    def is_open(self) -> bool:
        """Whether a message may be tried on it."""
        return self.wire.is_open

    def open(self) -> None:
        """Take all steps; on an error nothing stays open."""
        try:
            self.resolve()
            self.connect()
            self.secure()
            self.log_in()
        except BaseException:
            self.drop()
            raise
        self._context.logger.debug("connected to %s", self.where)

    def resolve(self) -> str:
        """Find the host's addresses."""
        host, port = self._settings.host, self._settings.effective_port
        try:
            with translated(self.where, "resolving", self._interrupted):
                self._endpoints = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except ValueError as error:  # a label too long or empty, or a NUL
            problem = Problem("host", "is not a host name")
            sentence = f"{printable(host)} is not a host name."
            raise SettingsError(codes.SETTINGS_INVALID, sentence, problems=[problem]) from error
        return ", ".join(dict.fromkeys(str(endpoint[4][0]) for endpoint in self._endpoints))

    def connect(self) -> str:
        """Open the TCP connection; where it begins in clear, read the greeting."""
        address = self.wire.connect(self._endpoints)
        if self._settings.security == "tls":
            return address
        return f"{address}: {self._greet()}"

    def secure(self) -> str:
        """Put TLS on the connection as the settings say, and learn what the server offers."""
        match self._settings.security:
            case "tls":
                self.wire.start_tls(self._context.tls(self._settings))
                self._greet()
            case "starttls":
                self._say_hello()
                self._start_tls()
        self._say_hello()
        tls = self.wire.tls
        return f"{tls.version()}, {(tls.cipher() or ('?',))[0]}" if tls else "in clear"

    def log_in(self) -> str:
        """Log in where there is an account."""
        if self._settings.username is None and self._settings.credential is None:
            return "without an account"
        mechanism = Login(self.wire, self._settings, self._context).run(
            self.offered.get("AUTH", "")
        )
        return f"as {self._settings.username or self._context.mailbox} by {mechanism}"

    def reset(self) -> None:
        """Make sure the connection is alive and between two messages (RFC 5321 section 4.1.1.5).

        :raises TransientError: it is not; nothing was sent, another connection will do
        """
        reply = self.command("RSET", at="RSET", timeout=RESET_TIMEOUT)
        if not reply.is_positive:
            raise unexpected(self.where, "RSET", reply)

    def command(self, line: str, *, at: str, timeout: float | None = None) -> Reply:
        """Send a command and return the answer.

        :raises TransientError: 421, the server is closing (RFC 5321 section 3.8); lost; not SMTP
        """
        reply = self.wire.exchange(line, at=at, timeout=timeout)
        if reply.code == 421:
            self.drop()
            raise busy(self.where, at, reply)
        return reply

    def quit(self) -> None:
        """Say good-bye, if the server still listens."""
        try:
            if self.is_open and not self._interrupted.is_set():
                self.wire.exchange("QUIT", at="QUIT", timeout=QUIT_TIMEOUT)
        except TransientError as error:  # all messages have their answers already
            self._context.logger.debug("QUIT failed: %s", error)
        finally:
            self.drop()

    def drop(self) -> None:
        """Close without a word."""
        self.wire.close()

    def _greet(self) -> str:
        reply = self.wire.read_reply(at="the greeting")
        self._require(reply, at="the greeting")
        return reply.words

    def _say_hello(self) -> None:
        """EHLO, and HELO for the servers of old (RFC 5321 section 3.2). Forgets what an earlier
        EHLO offered, RFC 3207 section 4.2."""
        self.offered = {}
        reply = self.command(f"EHLO {self._helo_name()}", at="EHLO")
        if reply.code in (500, 502, 504):
            self._require(self.command(f"HELO {self._helo_name()}", at="HELO"), at="HELO")
            return
        self._require(reply, at="EHLO")
        self.offered = _offers(reply)

    def _helo_name(self) -> str:
        """The name in the settings, else the address literal (RFC 5321 section 4.1.4)."""
        if self._settings.helo_name:
            return self._settings.helo_name
        address = self.wire.local_address().partition("%")[0]
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    def _start_tls(self) -> None:
        """RFC 3207. Whoever asked for it gets it or nothing."""
        if "STARTTLS" not in self.offered:
            raise SettingsError(
                codes.STARTTLS_REFUSED, f"{self.where} does not offer STARTTLS; nothing was sent."
            )
        reply = self.command("STARTTLS", at="STARTTLS")
        if reply.code != 220:
            raise SettingsError(
                codes.STARTTLS_REFUSED, f"{self.where} refused STARTTLS: {reply.words}"
            )
        self.wire.start_tls(self._context.tls(self._settings))

    def _require(self, reply: Reply, *, at: str) -> None:
        """Judge an answer that is about this client, not about a message."""
        if reply.is_transient:
            raise busy(self.where, at, reply)
        if reply.is_permanent:
            raise SettingsError(
                SMTP_CLIENT_REFUSED, f"{self.where} does not serve us, at {at}: {reply.words}"
            )
        if not reply.is_positive:
            raise unexpected(self.where, at, reply)


def _offers(reply: Reply) -> dict[str, str]:
    """Read EHLO's keywords; ``AUTH=`` is how servers before RFC 2554 wrote it."""
    offers: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, arguments = shortened(line).replace("AUTH=", "AUTH ", 1).partition(" ")
        previous = offers.get(keyword.upper())
        offers[keyword.upper()] = f"{previous} {arguments}" if previous else arguments
    return offers
