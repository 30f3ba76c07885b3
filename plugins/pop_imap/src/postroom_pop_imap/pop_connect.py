"""Connecting and logging in to POP3, with poplib."""

from __future__ import annotations

import base64
import contextlib
import poplib
import re
import socket
from collections.abc import Callable, Iterator

from postroom.api import (
    Context,
    SettingsError,
    Token,
    TransientError,
    TransportError,
    codes,
)
from postroom.api.sasl import TokenLogin

from postroom_pop_imap.errors import (
    Refused,
    explain_code,
    explain_refusal,
    quote_reply,
)
from postroom_pop_imap.line import Line
from postroom_pop_imap.login import token_login, with_login
from postroom_pop_imap.pop_reader import PopReader
from postroom_pop_imap.settings import PopSettings

_LARGEST_LIST = 64 << 10
_REPLY = re.compile(r"(-ERR)? ?(?:\[([A-Za-z/-]+)\])? ?(.*)", re.S)


class PopClient(poplib.POP3):
    """poplib over a `Line` and a `PopReader`.

    :ivar reader: where every answer is read
    :ivar offered: what CAPA (RFC 2449) listed, name → arguments; empty where it is unknown
    """

    def __init__(self, line: Line, step: Callable[[], socket.socket], secret: str) -> None:
        self.line, self._step, self._secret = line, step, secret
        self.reader: PopReader
        self.offered: dict[str, list[str]] = {}
        try:
            super().__init__(line.host, line.port)
        finally:
            if hasattr(self, "file"):  # poplib's own, never read from; it keeps the socket open
                self.file.close()

    # ------------------------------------------------------------------ what poplib stands on

    def _create_socket(self, timeout: float) -> socket.socket:  # noqa: ARG002
        made = self._step()
        self.reader = PopReader(self.line, self.line.reader())
        return made

    def _putline(self, line: bytes) -> None:
        self.line.send(line + b"\r\n")

    def _getline(self) -> tuple[bytes, int]:
        line = self.reader.read_status()
        return line, len(line) + 2

    def close(self) -> None:
        """Close the connection."""
        self.line.close()

    # ------------------------------------------------------------------ commands

    def send(self, *commands: bytes) -> None:
        """Send commands, without waiting for the answers."""
        self.line.send(b"".join(command + b"\r\n" for command in commands))
        if "PIPELINING" not in self.offered:  # an old server, and one command at a time
            self.line.acknowledge_at_once()

    def read_reply(self) -> bytes:
        """Read a status line.

        :raises Refused: it says -ERR
        :raises TransientError: it is no status line at all
        """
        status = self.reader.read_status()
        if status.startswith(b"+OK"):
            return status
        if status.startswith(b"-ERR"):
            raise parse_refusal(status, self._secret)
        said = quote_reply(status[:40], self._secret)
        raise TransientError(codes.PROTOCOL, f"{self.line.where} lost the thread: {said}")

    def ask(self, command: bytes) -> bytes:
        """Send a command and return its status line.

        :raises Refused: the server would not
        """
        self.send(command)
        return self.read_reply()

    def learn_capabilities(self) -> None:
        """Ask what the server offers; an old one does not know the question.

        :raises TransientError: it refuses whatever is asked, as Dovecot (2.3) does with
            ``[SYS/TEMP]`` where it cannot find out a message's size
        """
        self.offered = {}
        try:
            self.ask(b"CAPA")
        except Refused as refused:
            error = self.explain(refused, "open the maildrop")
            if isinstance(explain_code(refused, error.sentence), TransientError):
                raise error from refused
            return
        text = self.reader.read_text(spool_above=_LARGEST_LIST, most=0)
        for line in text.splitlines() if isinstance(text, bytes) else ():
            name, *arguments = line.decode("latin-1").upper().split() or [""]
            self.offered[name] = arguments

    def start_tls(self, context: Context, settings: PopSettings) -> None:
        """Encrypt the connection with STLS, RFC 2595 section 4.

        :raises SettingsError: the server would not
        """
        try:
            self.ask(b"STLS")
        except Refused as refused:
            sentence = f"{self.line.where} refused STLS: {refused.text or 'no reason given'}"
            raise SettingsError(codes.STARTTLS_REFUSED, sentence) from None
        if self.reader.has_unread:
            sentence = f"Somebody spoke in clear between {self.line.where} and us during STLS."
            raise TransientError(codes.PROTOCOL, sentence)
        self.sock = self.line.secure(context.tls(settings))
        self.reader = PopReader(self.line, self.line.reader())

    def authenticate_plain(self, response: bytes) -> None:
        """Log in with AUTH PLAIN (RFC 5034), which poplib lacks, and fail as poplib does."""
        self.send(b"AUTH PLAIN " + response)
        status = self.reader.read_status()
        if not status.startswith(b"+OK"):
            raise poplib.error_proto(status)

    def authenticate(self, login: TokenLogin) -> None:
        """Log in with a token, in the form of two lines that Exchange wants (RFC 5034 allows it).

        :raises Refused: the server would not
        """
        self.send(f"AUTH {login.mechanism}".encode())
        status = self.reader.read_status()
        while status.startswith(b"+") and not status.startswith(b"+OK"):
            self.send(login.answer_line(status[1:]))
            status = self.reader.read_status()
        if not status.startswith(b"+OK"):
            raise parse_refusal(status, *login.secrets)

    def explain(self, refused: Refused, doing: str) -> TransportError:
        """Return the contract's error for a refusal."""
        return explain_refusal(refused, self.line.where, doing)


def open_client(
    settings: PopSettings, context: Context, line: Line, report: Callable[[str], None]
) -> PopClient:
    """Connect and log in.

    :param report: told the name of each step that succeeded: resolve, connect, tls, log in
    :raises AuthError, SettingsError, TransientError:
    """
    return with_login(
        settings, context, "pop", lambda token: _open(settings, context, line, report, token)
    )


def _open(
    settings: PopSettings,
    context: Context,
    line: Line,
    report: Callable[[str], None],
    token: Token | None,
) -> PopClient:
    secret = settings.secret() if token is None else token.value
    try:
        with _poplib_errors(line.where, "open a session", secret):
            client = PopClient(line, lambda: line.open(settings, context, report), secret)
        if settings.security == "starttls":
            client.start_tls(context, settings)
            report("tls")
        client.learn_capabilities()
        if token is None:
            _log_in(client, settings)
        else:
            _log_in_with(token, client, settings, context)
        report("log in")
        client.learn_capabilities()  # a server may offer more to those it knows
    except BaseException:
        line.close()
        raise
    return client


def _log_in(client: PopClient, settings: PopSettings) -> None:
    name, secret = settings.username or "", settings.secret()
    with _poplib_errors(client.line.where, "log in", secret):
        if not (name + secret).isascii() and "UTF8" in client.offered:
            client.utf8()  # RFC 6856 section 2
        if "USER" not in client.offered and "PLAIN" in client.offered.get("SASL", []):
            coded = base64.b64encode(f"\0{name}\0{secret}".encode())
            client.authenticate_plain(coded)
        else:
            client.user(name)
            client.pass_(secret)


def _log_in_with(token: Token, client: PopClient, settings: PopSettings, context: Context) -> None:
    # a server without CAPA may know it all the same
    offered = client.offered.get("SASL", ["XOAUTH2"])
    with token_login(token, offered, settings, context, client.line) as login:
        client.authenticate(login)


@contextlib.contextmanager
def _poplib_errors(where: str, doing: str, secret: str) -> Iterator[None]:
    """Raise poplib's errors as the contract's, without their text, which may repeat the command."""
    try:
        yield
    except poplib.error_proto as error:
        reply = error.args[0] if error.args else b""
        raw = reply if isinstance(reply, bytes) else str(reply).encode()
        raise explain_refusal(parse_refusal(raw, secret), where, doing) from None


def parse_refusal(status: bytes, *secrets: str) -> Refused:
    """Read ``-ERR [IN-USE] Somebody else is logged in``; a line of no POP3 at all is BAD."""
    match = _REPLY.match(quote_reply(status, *secrets))
    if match is None or not match[1]:
        return Refused("BAD", "", quote_reply(status, *secrets))
    return Refused("-ERR", (match[2] or "").upper(), match[3])
