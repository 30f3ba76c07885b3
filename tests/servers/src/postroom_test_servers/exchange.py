"""A stand-in of an Exchange server: EWS over HTTP or HTTPS on loopback, several mailboxes.

Every request and every answer is held to Microsoft's schemas (`exchange_schema`); what does not fit
is in `ExchangeServer.invalid`, which a test should find empty. What no schema says, and where it is
known from:

============================================  ====================================================
what                                          from
============================================  ====================================================
path in any case, 401 on a kept connection    IIS; DavMail depends on both
sync: newest first, 512 at most               Microsoft, mailbox-synchronization-and-ews
an invalid state has an empty SyncState       Microsoft, handling-synchronization-related-errors
a moved item gets another id                  Microsoft, ews-identifiers-in-exchange
SendOnly and SendAndSaveCopy return no id     Microsoft, createitem
three shapes of ErrorServerBusy               Microsoft, ews-throttling-in-exchange
HTTP 403 where EWS is switched off            Microsoft 365 message MC1191578; the body is unknown
MIME is rebuilt                               `exchange_mime`
============================================  ====================================================

::

    with ExchangeServer(tls=authority.server_context("localhost", "127.0.0.1")) as server:
        box = server.add_mailbox("info@example.org", user="info", password="secret")
        box.deliver(raw)
        server.fail("GetItem", back_off=5000)
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self

from postroom_test_servers import exchange_soap as soap
from postroom_test_servers.exchange_login import Caller as LoggedIn
from postroom_test_servers.exchange_login import Login, NtlmHandshake
from postroom_test_servers.exchange_operations import (
    Caller,
    Operations,
    Submission,
    with_errors,
)
from postroom_test_servers.exchange_soap import NAMES, Element, M, Refused, T
from postroom_test_servers.exchange_store import Mailbox

PATH: Final = "/EWS/Exchange.asmx"
_AUTODISCOVER: Final = """<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">
<Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a">
<User><DisplayName>Support</DisplayName></User><Account><AccountType>email</AccountType>
<Action>settings</Action><Protocol><Type>EXCH</Type><EwsUrl>{url}</EwsUrl></Protocol></Account>
</Response></Autodiscover>"""


@dataclass
class Fault:
    """What goes wrong, for one operation or ("") for all."""

    operation: str
    status: int = 0
    """An HTTP status instead of an answer."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    code: str = ""
    """A response code for all of it."""
    inner: str = ""
    """A response code behind ErrorInternalServerError."""
    back_off: int | None = None
    """Milliseconds, in a SOAP fault ErrorServerBusy, or with `inner`."""
    cut: Literal["", "before", "after"] = ""
    """Break the connection before or after the work is done, without an answer."""
    silent: bool = False
    """Do the work and never answer."""
    times: int | None = 1
    skip: int = 0


class ExchangeServer:
    """Listens from `__enter__` to `__exit__`, in threads of its own.

    :param tls: the server's context; None: http
    :param methods: how callers may log in
    :param accepts: returns the address or application a token stands for: ``app:NAME``; None: no
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        methods: tuple[str, ...] = ("ntlm", "basic", "oauth"),
        accepts: Callable[[str], str | None] | None = None,
        size_limit: int = 40 << 20,
    ) -> None:
        self.tls = tls
        self.mailboxes: dict[str, Mailbox] = {}
        self.tokens: dict[str, str] = {}
        """Token → address of a user, or ``app:NAME``."""
        self._accepts = accepts or self.tokens.get
        self.users: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self.delegates: dict[str, set[str]] = {}
        """Name of a user → addresses of mailboxes that are shared with it."""
        self.impersonators: set[str] = set()
        """Names of users and applications that may impersonate."""
        self.send_as: dict[str, set[str]] = {}
        """Address of a mailbox → addresses it may send as, beside its own."""
        self.login = Login(methods, self.users, self._bearer)
        self.operations = Operations(self.mailboxes, size_limit)
        self.invalid: list[str] = []
        """What the schemas have against requests and answers."""
        self.requests: list[str] = []
        """Operations, in their order."""
        self.items_read: int = 0
        self.newest_version = "Exchange2016"
        self.says_close = False
        """Whether every answer says "Connection: close" and ends the connection, as behind some
        proxies."""
        self.headers_seen: list[dict[str, str]] = []
        self.connections = 0
        self.open_connections: set[socket.socket] = set()
        self.most_open = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._faults: list[Fault] = []
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}{PATH}"

    @property
    def sent(self) -> list[Submission]:
        """What was sent, in order."""
        return list(self.operations.sent)

    def add_mailbox(self, address: str, *, user: str = "", password: str = "") -> Mailbox:
        """Make a mailbox, with an account if one is named."""
        box = self.mailboxes[address.lower()] = Mailbox(address)
        if user:
            self.users[user] = password
            self._owners[user] = address.lower()
        return box

    def accept_tokens(self, accepts: Callable[[str], str | None]) -> None:
        """Ask this from now on whom a token stands for, see `accepts`."""
        self._accepts = accepts

    def fail(self, operation: str = "", **what: Any) -> None:
        """Let something go wrong, once unless `times` says otherwise; see `Fault`."""
        with self.lock:
            self._faults.append(Fault(operation, **what))

    def heal(self) -> None:
        """Forget every fault that did not happen yet."""
        with self.lock:
            self._faults.clear()

    def cut_all(self) -> None:
        """Close every connection that is open now."""
        with self.lock:
            open_now = list(self.open_connections)
        for one in open_now:
            _shut(one)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()
        self.cut_all()
        for box in self.mailboxes.values():
            with box.lock:
                box.lock.notify_all()
        self._thread.join(5)

    # ------------------------------------------------------------------ one request

    def take_fault(self, operation: str) -> Fault | None:
        """Return the fault that is due, and count it."""
        with self.lock:
            for fault in self._faults:
                if fault.operation in ("", operation):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self._faults.remove(fault)
                    return fault
        return None

    def answer(self, who: LoggedIn, header: list[Element], request: Element) -> Element:
        """Carry an operation out.

        :raises Refused: with a SOAP fault
        """
        return self.operations.run(self._caller(who, header), request)

    def _bearer(self, token: str) -> LoggedIn | None:
        found = self._accepts(token)
        if found is None:
            return None
        if found.startswith("app:"):
            return LoggedIn(found, is_application=True)
        return LoggedIn(found)

    def _caller(self, who: LoggedIn, header: list[Element]) -> Caller:
        own = self._owners.get(who.name, who.name.lower())
        acted_for = _impersonated(header)
        if acted_for is not None:
            if not who.is_application and who.name not in self.impersonators:
                raise Refused("ErrorImpersonateUserDenied", "The account may not impersonate.")
            if acted_for not in self.mailboxes:
                raise Refused("ErrorNonExistentMailbox", "The SMTP address has no mailbox.")
            own = acted_for
        if own not in self.mailboxes:
            raise Refused("ErrorAccessDenied", "No mailbox, and no ExchangeImpersonation header.")
        shared = {one.lower() for one in self.delegates.get(who.name, ())}
        return Caller(
            self.mailboxes[own],
            self.mailboxes,
            lambda address: address == own or address in shared,
            lambda sender: sender in {own, *shared, *self.send_as.get(own, ())},
        )


def _impersonated(header: list[Element]) -> str | None:
    for element in header:
        if element.tag.endswith("}ExchangeImpersonation"):
            return "".join(element.itertext()).strip().lower()
    return None


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break connections: that is what they are tested for."""


def _handler(server: ExchangeServer) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"exchange": server})


class _Cut(Exception):  # noqa: N818
    """End the connection without a word."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    exchange: ExchangeServer
    protocol_version = "HTTP/1.1"
    server_version = "Microsoft-IIS/10.0"
    sys_version = ""
    wbufsize = 1 << 16

    def setup(self) -> None:
        self.caller: LoggedIn | None = None
        """Who NTLM has authenticated on this connection."""
        self.ntlm = NtlmHandshake(self.exchange.users)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.exchange.tls is not None:
            self.request.settimeout(20)
            self.request = self.exchange.tls.wrap_socket(self.request, server_side=True)
            self.request.settimeout(None)
        with self.exchange.lock:
            self.exchange.connections += 1
            self.exchange.open_connections.add(self.request)
            count = len(self.exchange.open_connections)
            self.exchange.most_open = max(self.exchange.most_open, count)
        super().setup()

    def finish(self) -> None:
        with self.exchange.lock:
            self.exchange.open_connections.discard(self.request)
        for file in (self.wfile, self.rfile):
            with contextlib.suppress(OSError, ValueError):
                file.close()
        _shut(self.request)
        self.request.close()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """As IIS answers a GET: who are you, then nothing to see."""
        if self._log_in() is not None:
            self._reply(200, b"", content_type="text/html")

    def do_POST(self) -> None:
        """A SOAP request, or autodiscover's."""
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        try:
            if len(body) < length:
                raise _Cut  # by whoever asks
            self._post(body)
        except _Cut:
            self.close_connection = True
            _shut(self.request)

    def _post(self, body: bytes) -> None:
        path = self.path.lower()
        caller = self._log_in()
        if caller is None:
            return
        if path == "/autodiscover/autodiscover.xml":
            found = _AUTODISCOVER.format(url=self.exchange.url).encode()
            self._reply(200, found)
        elif path == PATH.lower():
            self._soap(caller, body)
        else:
            self._reply(404, b"")

    # ------------------------------------------------------------------ logging in

    def _log_in(self) -> LoggedIn | None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        login, found, more = self.exchange.login, self.caller, ""
        methods = login.methods
        if scheme.lower() == "basic" and "basic" in methods:
            found = login.basic(value)
        elif scheme.lower() == "bearer" and "oauth" in methods:
            found = login.bearer(value)
        elif scheme.lower() in ("ntlm", "negotiate") and "ntlm" in methods:
            token, found = self.ntlm.step(value)
            self.caller = found
            more = f"NTLM {token}" if token else ""
        if found is None:
            challenges = [more] if more else login.challenges()
            headers = [("WWW-Authenticate", challenge) for challenge in challenges]
            self._reply(401, b"", headers=headers, content_type="text/html")
        return found

    # ------------------------------------------------------------------ SOAP

    def _soap(self, caller: LoggedIn, body: bytes) -> None:
        server = self.exchange
        try:
            header, content = soap.parse(body)
        except ValueError as error:
            server.invalid.append(f"request: {error}")
            self._reply(400, b"")
            return
        request = content[0]
        operation = request.tag.rpartition("}")[2]
        with server.lock:
            server.requests.append(operation)
            server.headers_seen.append(dict(self.headers.items()))
        wrong = soap.problems([*header, request])
        if wrong:
            server.invalid += [f"request {one}" for one in wrong]
            self._reply(500, soap.fault("ErrorSchemaValidation", "; ".join(wrong)[:500]))
            return
        if self._is_too_new(header):
            self._reply(500, soap.fault("ErrorInvalidServerVersion", "Invalid server version."))
            return
        self._run(caller, header, request, server.take_fault(operation))

    def _is_too_new(self, header: list[Element]) -> bool:
        asked = [e.get("Version") for e in header if e.tag.endswith("}RequestServerVersion")]
        return bool(asked) and asked[0] > self.exchange.newest_version

    def _run(
        self, caller: LoggedIn, header: list[Element], request: Element, fault: Fault | None
    ) -> None:
        operation = request.tag.rpartition("}")[2]
        if fault is not None and not (fault.cut == "after" or fault.silent):
            self._fail(operation, fault)
            return
        if operation == "GetStreamingEvents":
            self._stream(request)
            return
        try:
            answer = self.exchange.answer(caller, header, request)
        except Refused as error:
            self._reply(500, soap.fault(error.code, error.text))
            return
        wrong = soap.problems([answer])
        self.exchange.invalid += [f"answer {one}" for one in wrong]
        if fault is not None:
            if fault.silent:
                self.exchange.ended.wait()
            raise _Cut
        self._reply(200, soap.envelope(answer))

    def _fail(self, operation: str, fault: Fault) -> None:
        if fault.cut == "before":
            raise _Cut
        if fault.status:
            self._reply(fault.status, fault.body, headers=list(fault.headers))
        elif fault.back_off is not None and not fault.inner:
            text = "The server cannot service this request right now. Try again later."
            self._reply(500, soap.fault("ErrorServerBusy", text, back_off=fault.back_off))
        elif fault.code or fault.inner:
            code = fault.code or "ErrorInternalServerError"
            also = with_errors(operation)
            message = soap.refusal(
                operation, code, "", *also, inner=fault.inner, back_off=fault.back_off
            )
            answer = soap.response(operation, [message])
            self.exchange.invalid += [f"answer {one}" for one in soap.problems([answer])]
            self._reply(200, soap.envelope(answer))
        else:
            raise AssertionError("a fault must say what goes wrong")

    def _stream(self, request: Element) -> None:
        names = [e.text for e in request.findall("m:SubscriptionIds/t:SubscriptionId", NAMES)]
        minutes = int(request.findtext("m:ConnectionTimeout", namespaces=NAMES))
        operations = self.exchange.operations
        self._begin_chunked()
        missing = [name for name in names if name not in operations.subscriptions]
        if missing:
            ids = M.ErrorSubscriptionIds(*(T.SubscriptionId(name) for name in missing))
            more = ids, M.ConnectionStatus("Closed")
            code = "ErrorSubscriptionNotFound"
            self._chunk(soap.refusal("GetStreamingEvents", code, "", *more))
        else:
            self._chunk(soap.result("GetStreamingEvents", M.ConnectionStatus("OK")))
            operations.streams[names[0]] = self  # an older stream ends
            self._tell(names[0], time.monotonic() + minutes * 60)
        self.wfile.write(b"0\r\n\r\n")

    def _tell(self, name: str, deadline: float) -> None:
        operations = self.exchange.operations
        mailbox = operations.subscriptions[name][0]
        while time.monotonic() < deadline and not self.exchange.ended.is_set():
            with mailbox.lock:
                is_mine = operations.streams.get(name) is self
                if name not in operations.subscriptions or not is_mine or self._is_left():
                    return
                news = operations.events(name)
                if news is None:
                    mailbox.lock.wait(1)
                    continue
            self._chunk(soap.result("GetStreamingEvents", M.Notifications(news)))

    def _is_left(self) -> bool:
        """Tell whether the client closed the connection: it has nothing else to say here."""
        return bool(select.select([self.request], [], [], 0)[0])

    def _begin_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, message: Element) -> None:
        answer = soap.response("GetStreamingEvents", [message])
        self.exchange.invalid += [f"answer {one}" for one in soap.problems([answer])]
        body = soap.envelope(answer)
        self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        self.wfile.flush()

    def _reply(
        self, status: int, body: bytes, *, headers: list[tuple[str, str]] | None = None,
        content_type: str = "text/xml; charset=utf-8",
    ) -> None:  # fmt: skip
        self.send_response(status)
        if self.exchange.says_close:
            self.send_header("Connection", "close")  # which also ends it here
        for name, value in headers or []:
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)
            self.wfile.flush()


def running(**options: Any) -> Iterator[ExchangeServer]:
    """Yield a running server, for a fixture; what the schemas had against anything fails it."""
    with ExchangeServer(**options) as server:
        yield server
    assert not server.invalid, server.invalid[:5]
