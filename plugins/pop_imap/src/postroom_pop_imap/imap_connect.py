"""Connecting and logging in, with imapclient."""

from __future__ import annotations

import ast
import contextlib
import imaplib
import io
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

from imapclient import IMAPClient  # type: ignore[import-untyped]  # it has no types
from postroom.api import (
    AuthError,
    Context,
    SettingsError,
    Token,
    TransientError,
    TransportError,
    codes,
)

from postroom_pop_imap.errors import (
    Refused,
    SaidGoodbye,
    explain_refusal,
    quote_reply,
)
from postroom_pop_imap.imap_wire import LONGEST_LINE, Wire, split_code
from postroom_pop_imap.line import Line, read_pieces
from postroom_pop_imap.login import token_login, with_login
from postroom_pop_imap.settings import ImapSettings

_LARGEST_LITERAL = 1 << 20
_ATOM = re.compile(r"[A-Za-z0-9@._+-]+\Z")
_FAILED = re.compile(r"b(?P<quote>['\"])(?P<reply>.*)(?P=quote)", re.S)


class _InjectedError(Exception):
    """Bytes came in clear after the answer to STARTTLS."""


class _Protocol(imaplib.IMAP4):
    """imaplib over a `Line`: its documented methods for opening, reading and sending."""

    def __init__(self, line: Line, make_socket: Callable[[], socket.socket]) -> None:
        self._line, self._make_socket = line, make_socket
        self.reader: io.BufferedReader
        super().__init__(line.host, line.port)

    def open(
        self,
        host: str = "",
        port: int = 0,
        timeout: float | None = None,  # noqa: ARG002 - imaplib's; the line has its own
    ) -> None:
        """Connect; with implicit TLS, the handshake comes before the first byte is read."""
        self.host, self.port = host, port
        self.sock = self._make_socket()
        self.reader = self._line.reader()

    def read(self, size: int) -> bytes:
        """Read a literal of the few answers that imaplib itself reads."""
        if size > _LARGEST_LITERAL:
            raise self.abort("unexpected response: literal too large")
        with self._line.errors():
            return b"".join(read_pieces(self.reader, size))

    def readline(self) -> bytes:
        """Read a line."""
        with self._line.errors():
            if not (text := self.reader.readline(LONGEST_LINE)):
                raise EOFError
            return text

    def send(self, data: Any) -> None:
        """Send a command."""
        self._line.send(bytes(data))

    def shutdown(self) -> None:
        """Close the connection."""
        self._line.close()

    def start_tls(self, context: Context, settings: ImapSettings) -> None:
        """Encrypt the connection, RFC 3501 section 6.2.1.

        :raises _InjectedError: somebody spoke in clear after the answer
        """
        answer, words = self._simple_command("STARTTLS")
        if answer != "OK":
            raise self.error(str(words[-1]))
        if self._line.has_unread(self.reader):
            raise _InjectedError
        self.sock = self._line.secure(context.tls(settings))
        self.reader = self._line.reader()
        self.untagged_responses.clear()
        self._get_capabilities()


class _Client(IMAPClient):  # type: ignore[misc]  # imapclient has no types
    """imapclient on our protocol class."""

    def __init__(self, line: Line, make_socket: Callable[[], socket.socket]) -> None:
        self._line, self._make_socket = line, make_socket
        super().__init__(line.host, line.port, ssl=False, timeout=line.timeout)
        # imapclient sets imaplib's debug to 5, which formats each line and literal with repr()
        # twice, whether it is logged or not, and passwords among them
        self.protocol.debug = 0

    def _create_IMAP4(self) -> _Protocol:  # noqa: N802 - imapclient's name
        return _Protocol(self._line, self._make_socket)

    @property
    def protocol(self) -> _Protocol:
        """imaplib's object underneath."""
        return self._imap  # type: ignore[no-any-return]


def open_wire(
    settings: ImapSettings, context: Context, line: Line, report: Callable[[str], None]
) -> Wire:
    """Connect and log in.

    :param report: told the name of each step that succeeded: resolve, connect, tls, log in
    :raises AuthError, SettingsError, TransientError:
    """
    return with_login(
        settings, context, "imap", lambda token: _open(settings, context, line, report, token)
    )


def _open(
    settings: ImapSettings,
    context: Context,
    line: Line,
    report: Callable[[str], None],
    token: Token | None,
) -> Wire:
    try:
        client = _connect(settings, context, line, report)
        if token is None:
            _log_in(client, settings, line.where)
        else:
            _log_in_with(token, client, settings, context, line)
        report("log in")
        capabilities = _capabilities(client, line.where)
        secret = settings.secret() if token is None else token.value
        wire = Wire(line, client.protocol.reader, capabilities, secret)
        _introduce(wire)
    except BaseException:
        line.close()
        raise
    return wire


def _connect(
    settings: ImapSettings, context: Context, line: Line, report: Callable[[str], None]
) -> _Client:
    with _imaplib_errors(line.where, "open a session", settings.secret()):
        client = _Client(line, lambda: line.open(settings, context, report))
    if client.protocol.state != "NONAUTH":  # PREAUTH: as whom? And nothing may be said in clear
        code = codes.STARTTLS_REFUSED if settings.security == "starttls" else codes.AUTH_UNSUPPORTED
        raise SettingsError(code, f"{line.where} opens sessions without any login (PREAUTH).")
    if settings.security == "starttls":
        _start_tls(client, settings, context, line)
        report("tls")
    return client


def _start_tls(client: _Client, settings: ImapSettings, context: Context, line: Line) -> None:
    if "STARTTLS" not in client.protocol.capabilities:
        raise SettingsError(codes.STARTTLS_REFUSED, f"{line.where} does not offer STARTTLS.")
    try:
        client.protocol.start_tls(context, settings)
    except imaplib.IMAP4.abort as error:
        raise _gone(error, line.where, settings.secret()) from None
    except imaplib.IMAP4.error as error:
        _, said = split_code(quote_reply(_answer_in(error), settings.secret()))
        sentence = f"{line.where} refused STARTTLS: {said or 'no reason given'}"
        raise SettingsError(codes.STARTTLS_REFUSED, sentence) from None
    except _InjectedError:
        sentence = f"Somebody spoke in clear between {line.where} and us during STARTTLS."
        raise TransientError(codes.PROTOCOL, sentence) from None


def _log_in(client: _Client, settings: ImapSettings, where: str) -> None:
    name, secret = settings.username or "", settings.secret()
    offered = client.protocol.capabilities
    try:
        with _imaplib_errors(where, "log in", secret):
            if (name + secret).isascii() and "LOGINDISABLED" not in offered:
                # neither imapclient nor imaplib quotes the name
                client.login(name if _ATOM.match(name) else _quoted(name), secret)
            elif "AUTH=PLAIN" in offered:
                client.plain_login(name, secret)  # RFC 4616: UTF-8
            else:
                raise AuthError(codes.AUTH_UNSUPPORTED, _no_way_in(where, offered))
    except UnicodeError:
        raise AuthError(codes.AUTH_UNSUPPORTED, _no_way_in(where, offered)) from None


def _log_in_with(
    token: Token, client: _Client, settings: ImapSettings, context: Context, line: Line
) -> None:
    offered = client.protocol.capabilities
    mechanisms = [name.removeprefix("AUTH=") for name in offered if name.startswith("AUTH=")]
    with (
        token_login(token, mechanisms, settings, context, line) as login,
        _refusals(line.where, *login.secrets),
    ):
        client.sasl_login(login.mechanism, login.answer)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _no_way_in(where: str, offered: tuple[str, ...]) -> str:
    if "LOGINDISABLED" in offered:
        return f"{where} takes no passwords on this connection (LOGINDISABLED)."
    return f"{where} offers no login for a name or password beyond ASCII (AUTH=PLAIN)."


def _capabilities(client: _Client, where: str) -> frozenset[str]:
    with _imaplib_errors(where, "tell its capabilities", ""):
        return frozenset(item.decode("ascii", "replace") for item in client.capabilities())


def _introduce(wire: Wire) -> None:
    """Send ID (RFC 2971): some providers open no folder for clients without a name."""
    if wire.has("ID"):
        with contextlib.suppress(Refused):
            wire.ask(b'ID ("name" "postroom")', "introduce ourselves")


@contextlib.contextmanager
def _imaplib_errors(where: str, doing: str, secret: str) -> Iterator[None]:
    """Raise imaplib's and imapclient's errors as the contract's."""
    try:
        with _refusals(where, secret):
            yield
    except Refused as refused:
        raise explain_refusal(refused, where, doing) from None


@contextlib.contextmanager
def _refusals(where: str, *secrets: str) -> Iterator[None]:
    """Raise NO and BAD as `Refused`, and an end of the session as one of the contract's errors.

    Without a cause: their text may repeat the command, and the password in it.
    """
    try:
        yield
    except imaplib.IMAP4.error as error:
        # imapclient's LoginError hides that the connection is gone
        if isinstance(error.__context__ or error, imaplib.IMAP4.abort):
            raise _gone(error, where, *secrets) from None
        text = str(error)
        if text == "None":  # imaplib takes the + of POP3's +OK for a request to go on
            raise _no_imap(where, "it greeted with a +") from None
        code, said = split_code(quote_reply(_answer_in(error), *secrets))
        match = _FAILED.search(text)
        status = "BAD" if "BAD" in text[: match.start() if match else None] else "NO"
        raise Refused(status, code, said) from None


def _answer_in(error: imaplib.IMAP4.error) -> bytes:
    """Return a server's answer out of imaplib's error, where it often stands as Python writes
    bytes."""
    text = str(error)
    if (match := _FAILED.search(text)) is None:
        return text.encode()
    with contextlib.suppress(ValueError, SyntaxError):
        if isinstance(answer := ast.literal_eval(match[0]), bytes):
            return answer
    return match["reply"].encode()


def _gone(error: imaplib.IMAP4.error, where: str, *secrets: str) -> TransportError:
    """imaplib aborts on BYE, and on what is no IMAP."""
    said = quote_reply(str(error).rpartition("=> ")[2].encode(), *secrets)
    if said.startswith(("unexpected ", "socket error: unterminated")):
        return _no_imap(where, _FAILED.sub(r'"\g<reply>"', said))
    return explain_refusal(SaidGoodbye(*split_code(said)), where, "go on")


def _no_imap(where: str, why: str) -> TransientError:
    return TransientError(codes.PROTOCOL, f"{where} does not speak IMAP: {why}.")
