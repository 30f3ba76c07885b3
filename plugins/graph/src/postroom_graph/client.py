"""HTTP with Graph: the one module that speaks it.

Every request passes the mailbox's gate, carries the token and asks for immutable ids. What passes
by itself is waited for here, up to a bound; what does not is raised as `GraphError` or as an error
of the contract.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import httpx
from postroom.api import (
    AuthError,
    Context,
    Problem,
    SettingsError,
    Token,
    TransientError,
    TransportError,
    codes,
)
from postroom.api.network import explain_network_error
from postroom.api.throttling import InterruptedGateError, Passage, PausedError, borrow, give_back
from postroom.api.throttling import retry_after as told_pause

from postroom_graph.errors import GraphError, explain, parse_error
from postroom_graph.settings import GraphSettings, is_loopback
from postroom_graph.sockets import Sockets

AT_ONCE: Final = 4
"""Requests that Exchange Online allows an application for a mailbox; what is sent while it
throttles counts too. See https://learn.microsoft.com/graph/throttling-limits.
"""
LONGEST_WAIT: Final = 30.0
"""Seconds; a longer pause is not waited out in the session."""
LONGEST_PATIENCE: Final = 120.0
"""Seconds that one request may wait altogether."""
MOST_TRIES: Final = 8
"""Of a request that is throttled."""
_MOST_TRIES_IN_TROUBLE: Final = 4
IMMUTABLE: Final = 'IdType="ImmutableId"'
"""Ids that survive a move, https://learn.microsoft.com/graph/outlook-immutable-id; on each request.
"""
_THROTTLING: Final = (429, 503, 504)
_CONNECT_SECONDS: Final = 10.0
_IN_QUERY: Final = "$,'():/"
_FRESH_FOR: Final = timedelta(seconds=30)
_MOST_JSON: Final = 32 << 20
_MOST_ERROR: Final = 64 << 10
_PIECE: Final = 1 << 16

for _name in ("httpx", "httpcore"):  # they log URLs, and an upload's URL is a key to the draft
    logging.getLogger(_name).setLevel(logging.WARNING)


class LostError(TransientError):
    """The connection broke. `may_have_arrived`: the server may have got the whole request."""

    may_have_arrived = False


class TokenRefusedError(Exception):
    """The server refused this token (401)."""

    def __init__(self, token: Token, error: GraphError) -> None:
        super().__init__(str(error))
        self.token, self.error = token, error


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `is_repeatable`: doing it twice is as good as once."""

    method: str
    url: str
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_repeatable: bool = True
    has_token: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to a request that succeeded."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    def json(self) -> dict[str, Any]:
        """Return the body's object.

        :raises ValueError: it is none
        """
        found = json.loads(self.body)
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found


Sink = Callable[[httpx.Response], bytes]
"""Reads a successful response's body."""
Trace = Callable[[str, Mapping[str, Any]], None]
"""See https://www.encode.io/httpcore/extensions/#trace."""


class Client:
    """One session's way to Graph.

    `ask` and what is built on it belong to the session's thread, which alone may ask the core for
    tokens; `attempt` may be called from any.
    """

    def __init__(self, settings: GraphSettings, context: Context) -> None:
        self._settings, self._context = settings, context
        self.base = settings.base_url
        parts = urlsplit(self.base)
        self.where = parts.netloc
        self.mailbox = settings.mailbox or context.mailbox
        self.user = f"/users/{quote(self.mailbox, safe='')}"
        self._gate = borrow(f"{self.base.lower()}|{self.mailbox.lower()}", at_once=AT_ONCE)
        self._sockets = Sockets(encrypted=parts.scheme == "https")
        self.interrupted = self._sockets.interrupted
        self._http: httpx.Client | None = None
        self._http_lock = threading.Lock()
        self._token: Token | None = None
        self._is_closed = False

    # ------------------------------------------------------------------ what callers say

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return the JSON object at a path below the mailbox.

        :raises GraphError: the server refused
        """
        return self.ask_json(Request("GET", self.url(path, **query)))

    def ask_json(self, request: Request, *, accept: tuple[int, ...] = ()) -> dict[str, Any]:
        """Return the JSON object that answers a request."""
        answer = self.ask(request, accept=accept)
        try:
            return answer.json()
        except ValueError as error:
            raise self.strange("something that is not JSON") from error

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, is_repeatable: bool = False
    ) -> Request:
        """Return a request with a JSON body."""
        return self._with_json("POST", path, body, is_repeatable=is_repeatable)

    def patch(self, path: str, body: Mapping[str, Any]) -> Request:
        """Return a request that changes properties."""
        return self._with_json("PATCH", path, body, is_repeatable=True)

    def delete(self, path: str) -> Request:
        """Return a request that deletes."""
        return Request("DELETE", self.url(path))

    def url(self, path: str, **query: str) -> str:
        """Return the URL of a path below the mailbox; keys of the query get their ``$``."""
        # not urlencode: it writes spaces as +, which OData does not read so
        pairs = [f"${key}={quote(value, safe=_IN_QUERY)}" for key, value in query.items()]
        return f"{self.base}{self.user}{path}" + ("?" + "&".join(pairs) if pairs else "")

    def follow(self, link: Any, request_url: str) -> str:
        """Return a link that the server gave, absolute.

        :raises TransientError: it leads to another server, which must not get the token
        """
        if not isinstance(link, str) or not link:
            raise self.strange("a link that is none")
        try:
            url = urljoin(request_url, link)
        except ValueError:
            url = ""
        if not self.is_ours(url):
            raise self.strange("a link to another server, which was not followed")
        return url

    def is_ours(self, url: str) -> bool:
        """Say whether a URL leads to the server that the settings name, its port included."""
        try:
            return _origin(url) == _origin(self.base)
        except ValueError:
            return False

    def explained(self, error: GraphError, doing: str) -> TransportError:
        """Return the contract's error for a refusal."""
        return explain(error, self.where, self.mailbox, doing)

    @contextmanager
    def doing(self, doing: str) -> Iterator[None]:
        """Raise refusals in the block as the contract's errors."""
        try:
            yield
        except GraphError as error:
            raise self.explained(error, doing) from error

    # ------------------------------------------------------------------ the token

    def ask(
        self, request: Request, sink: Sink | None = None, *, accept: tuple[int, ...] = ()
    ) -> Answer:
        """Do a request in the session's thread; a token that was refused is replaced once.

        :param accept: the statuses that mean success; default: every 2xx
        :raises GraphError: the server refused
        :raises LostError: the connection broke
        :raises AuthError, SettingsError, TransientError:
        """
        self.ready()
        try:
            return self.attempt(request, sink, accept=accept)
        except TokenRefusedError as refused:
            self.renew(refused)
        try:
            return self.attempt(request, sink, accept=accept)
        except TokenRefusedError as refused:
            raise self.refused(refused) from refused.error

    def ready(self) -> None:
        """Have a token that is still good for a while."""
        expires_at = self._token.expires_at if self._token else None
        if self._token is None or (
            expires_at is not None and expires_at - self._context.now() < _FRESH_FOR
        ):
            self._token = self._context.token("graph")

    def renew(self, refused: TokenRefusedError) -> None:
        """Get another token than the one that was refused, unless there is one already."""
        if self._token is refused.token:
            self._token = self._context.token("graph", rejected=refused.token)

    def refused(self, refused: TokenRefusedError) -> AuthError:
        """Return the error for a token that was refused although it is new."""
        error = self.explained(refused.error, "take the access token")
        assert isinstance(error, AuthError)  # noqa: S101 - it is a 401
        return error

    @property
    def token(self) -> Token:
        """The token in use."""
        assert self._token is not None  # noqa: S101 - `ready` comes first
        return self._token

    # ------------------------------------------------------------------ from any thread

    def attempt(
        self, request: Request, sink: Sink | None = None, *, accept: tuple[int, ...] = ()
    ) -> Answer:
        """Do a request with the token in use; wait out what passes, up to a bound.

        :raises TokenRefusedError: the token was refused
        """
        patience = _Patience(self.interrupted, self.where)
        while True:
            token = self.token
            try:
                with self._gate.passed(self.interrupted) as passage:
                    return self._once(request, token, sink or _read_json, accept, passage)
            except PausedError as paused:
                patience.wait(paused.seconds, self._busy(paused.seconds))
            except InterruptedGateError:
                raise self.interruption(was_sent=False) from None
            except LostError as lost:
                if not request.is_repeatable or not patience.repeats(lost):
                    raise
            except GraphError as error:
                self._heed(request, error, patience)

    def _heed(self, request: Request, error: GraphError, patience: _Patience) -> None:
        """Wait where the trouble passes by itself and the request may be done again."""
        may_repeat = request.is_repeatable or error.is_throttling
        if not error.is_passing or not may_repeat or error.status == 507:
            raise error
        pause = patience.pause_for(error)
        if error.status in _THROTTLING:
            self._gate.pause(pause)
        if not patience.has_tries_left(error):
            raise error
        patience.wait(pause, error)

    def _once(
        self,
        request: Request,
        token: Token,
        sink: Sink,
        accept: tuple[int, ...],
        passage: Passage,
    ) -> Answer:
        headers = dict(request.headers)
        if request.has_token:
            headers["Authorization"] = f"Bearer {token.value}"
            headers["client-request-id"] = str(uuid.uuid4())
            headers["Prefer"] = ", ".join([IMMUTABLE, *filter(None, [headers.get("Prefer")])])
        with self._translated(passage), self._client().stream(
            request.method, request.url, content=request.content, headers=headers,
            extensions={"trace": self._traced(passage)},
        ) as response:  # fmt: skip
            if response.is_success and (not accept or response.status_code in accept):
                return Answer(response.status_code, response.headers, sink(response))
            error = self._error_of(response, token)
        if error.status == 401 and request.has_token:
            raise TokenRefusedError(token, error)
        raise error

    def _traced(self, passage: Passage) -> Trace:
        """Return what hears of the connection's doings: the gate is asked again when it stands."""

        def hear(event: str, info: Mapping[str, Any]) -> None:
            self._sockets.trace(event, info)
            if event == "http11.send_request_headers.started":
                if info["request"].method != b"CONNECT":  # that is the proxy's
                    passage.begin()
            elif event == "http11.receive_response_body.complete":
                passage.end()

        return hear

    def _error_of(self, response: httpx.Response, token: Token) -> GraphError:
        """Read a refusal; the mailbox is closed before its body is read, for the others' sake."""
        retry_after = told_pause(response.headers, self._context.now())
        if retry_after is not None:
            self._gate.pause(retry_after)
        try:
            body = _read(response, _MOST_ERROR)
        except httpx.HTTPError:
            if response.status_code not in _THROTTLING:
                raise
            body = b""  # its status says all: nothing was done
        return parse_error(
            response.status_code,
            body,
            request_id=response.headers.get("request-id", ""),
            retry_after=retry_after,
            secret=token.value,
        )

    def interrupt(self) -> None:
        """End whatever waits, from any thread."""
        self._sockets.interrupt()

    def close(self) -> None:
        """End the session's connections."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._http is not None:
            self._http.close()
        self._sockets.interrupt()  # httpx knows nothing of connections that are being made
        self._sockets.close()
        give_back(self._gate)

    def _client(self) -> httpx.Client:
        with self._http_lock:
            if self._http is None:
                timeout = self._settings.timeout_seconds
                host = urlsplit(self.base).hostname or ""
                self._http = httpx.Client(
                    verify=self._context.tls(self._settings, alpn=("http/1.1",)),
                    timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=4),
                    headers={"User-Agent": "postroom", "Accept": "application/json"},
                    trust_env=not is_loopback(host),
                )
            return self._http

    @contextmanager
    def _translated(self, passage: Passage) -> Iterator[None]:
        """Raise httpx's errors as the contract's."""
        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            problem = Problem("base_url", "cannot be used")
            sentence = f"No request to {self.where} can be made with these settings."
            raise SettingsError(codes.SETTINGS_INVALID, sentence, problems=[problem]) from error
        except httpx.HTTPError as error:
            raise self._lost(error, was_sent=passage.has_begun) from error

    def _lost(self, error: httpx.HTTPError, *, was_sent: bool) -> TransportError:
        if self.interrupted.is_set():
            return self.interruption(was_sent=was_sent)
        found = _os_error(error)
        if isinstance(error, httpx.TimeoutException):
            found = TimeoutError()
        elif found is None:
            found = ConnectionResetError()
        explained = explain_network_error(found, self._host_and_port())
        if not isinstance(explained, TransientError):
            return explained
        lost = LostError(explained.code, explained.sentence)
        lost.may_have_arrived = was_sent
        return lost

    def _host_and_port(self) -> str:
        parts = urlsplit(self.base)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    def interruption(self, *, was_sent: bool = True) -> TransientError:
        """Return the error for a session that was interrupted, maybe in the middle of a request."""
        lost = LostError(codes.CONNECTION_LOST, f"The session with {self.where} was interrupted.")
        lost.may_have_arrived = was_sent
        return lost

    def _busy(self, seconds: float) -> TransientError:
        sentence = f"{self.where} asked not to be asked about {self.mailbox} for {seconds:.0f} s."
        return TransientError(codes.SERVER_BUSY, sentence, retry_after=seconds)

    def strange(self, what: str) -> TransientError:
        """Return the error for an answer that Graph does not give."""
        return TransientError(codes.PROTOCOL, f"{self.where} answered with {what}.")

    def _with_json(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, is_repeatable: bool
    ) -> Request:
        if body is None:
            return Request(method, self.url(path), b"", is_repeatable=is_repeatable)
        return Request(
            method,
            self.url(path),
            json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
            {"Content-Type": "application/json"},
            is_repeatable,
        )


class _Patience:
    """How long one request has waited already, and whether it may wait on."""

    def __init__(self, interrupted: threading.Event, where: str) -> None:
        self._interrupted, self._where = interrupted, where
        self._begun = time.monotonic()
        self._tries = 0
        self._losses = 0

    def has_tries_left(self, error: GraphError) -> bool:
        """Say whether the request may be tried again."""
        self._tries += 1
        return self._tries < (MOST_TRIES if error.is_throttling else _MOST_TRIES_IN_TROUBLE)

    def repeats(self, lost: LostError) -> bool:
        """Say whether a request whose connection broke is done once more, at once."""
        self._losses += 1
        return self._losses == 1 and lost.code is codes.CONNECTION_LOST and not (
            self._interrupted.is_set()
        )  # fmt: skip

    def pause_for(self, error: GraphError) -> float:
        """Return what the server asked for; else a back-off that doubles."""
        least = min(0.25 * (1 << self._tries), 16.0) * random.uniform(1, 1.5)  # noqa: S311
        if error.retry_after is None:
            return least
        return max(error.retry_after, 0.0 if error.retry_after else min(least, 1.0))

    def wait(self, seconds: float, error: Exception) -> None:
        """Wait; raise `error` where that takes too long."""
        waited = time.monotonic() - self._begun
        if seconds > LONGEST_WAIT or waited + seconds > LONGEST_PATIENCE:
            raise error
        if self._interrupted.wait(seconds):
            sentence = f"The session with {self._where} was interrupted."
            raise LostError(codes.CONNECTION_LOST, sentence)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return found if found.tzinfo else None


def server_time(answer: Answer) -> datetime | None:
    """Return when the server answered, by its own clock."""
    return _date(answer.headers.get("Date", ""))


def _read(response: httpx.Response, most: int) -> bytes:
    """Read a body, up to a bound."""
    body = bytearray()
    for piece in response.iter_bytes(_PIECE):
        body += piece
        if len(body) >= most:
            break
    return bytes(body[:most])


def _read_json(response: httpx.Response) -> bytes:
    return _read(response, _MOST_JSON)


def _os_error(error: BaseException) -> OSError | None:
    """Return what the socket said, from below httpx's and httpcore's own errors."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found
        found = found.__cause__ or found.__context__
    return None
