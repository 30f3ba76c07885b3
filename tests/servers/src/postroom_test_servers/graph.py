"""A stand-in for Microsoft Graph's mail API: real HTTPS on loopback.

Throttling, latency and faults on demand; it counts what a client must not do: more than four
requests at once for a mailbox, and a request before ``Retry-After`` is over. It is held to
Microsoft's contract from outside: see `graph_contract`, and Microsoft's own SDK in the tests.
"""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self

from postroom_test_servers.graph_api import Api
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.graph_wire import GraphAnswer, GraphRequest, RefusedError, refusal
from postroom_test_servers.https import HttpsServer, Request, Response

AT_ONCE: Final = 4
"""https://learn.microsoft.com/graph/throttling-limits, for an application and a mailbox."""


CUT: Final = GraphAnswer(-1)
"""Instead of an answer: the connection is closed."""
STALL: Final = GraphAnswer(-2)
"""Instead of an answer: nothing, until the server is closed or healed."""
Fault = GraphAnswer | Callable[[GraphRequest], GraphAnswer | None]


@dataclass
class _Rule:
    pattern: re.Pattern[str]
    fault: Fault
    left: float
    is_after: bool


class GraphServer:
    """Listens on loopback. Use it as a context manager.

    :param tls: the server's context
    :param takes_token: says whether a bearer token is good; default: those that `issue` gave
    """

    def __init__(
        self, tls: ssl.SSLContext, *, takes_token: Callable[[str], bool] | None = None
    ) -> None:
        self._takes_token = takes_token or self._is_issued
        self.mailboxes: dict[str, GraphMailbox] = {}
        self.tokens: dict[str, float] = {}
        """Token → how many more requests it is good for."""
        self.token_life = float("inf")
        self.issued = 0
        self.latency = 0.0
        self.page_size = 10
        """Of a client that asks for none; the most it may ask for is 1000."""
        self.throttle_every = 0
        """Each so manieth request of a mailbox is refused, with `retry_after`."""
        self.retry_after = "0.3"
        self.requests: list[str] = []
        """Method, path and query options of each, in order."""
        self.count = 0
        self.most_at_once: Counter[str] = Counter()
        self.early: list[str] = []
        """Requests that came although the server had asked to wait."""
        self.under_way = 0.2
        """Seconds; what comes so soon after a refusal had left before the client could know."""
        self.without_immutable_ids: list[str] = []
        self.witness: Callable[[GraphRequest, Response], None] | None = None
        self._active: Counter[str] = Counter()
        self._served: Counter[str] = Counter()
        self._closed_until: dict[str, float] = {}
        self._closed_at: dict[str, float] = {}
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self.released = threading.Event()
        self._api = Api(self)
        self._https = HttpsServer(tls, self._respond)
        self.port: int = self._https.port
        self.handshakes = self._https.handshakes
        """While it is not set, new connections wait for their TLS handshake."""

    @property
    def url(self) -> str:
        """The base URL."""
        return f"https://localhost:{self.port}/v1.0"

    def __enter__(self) -> Self:
        self._https.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.released.set()
        self._https.__exit__()

    def new_mailbox(self, address: str, name: str = "") -> GraphMailbox:
        """Make a mailbox with the folders that every one has."""
        made = self.mailboxes[address.lower()] = GraphMailbox(address, name)
        return made

    # ------------------------------------------------------------------ tokens

    def issue(self) -> str:
        """Return a new token."""
        with self._lock:
            self.issued += 1
            token = f"eyJ0eXAi.{secrets.token_urlsafe(24)}.{self.issued}"
            self.tokens[token] = self.token_life
            return token

    def expire_tokens(self) -> None:
        """Refuse every token that was issued so far."""
        with self._lock:
            self.tokens.clear()

    def _is_issued(self, token: str) -> bool:
        with self._lock:
            if self.tokens.get(token, 0) <= 0:
                return False
            self.tokens[token] -= 1
            return True

    # ------------------------------------------------------------------ faults

    def on(self, pattern: str, fault: Fault, *, times: float = 1, after: bool = False) -> None:
        """Answer requests whose ``METHOD path`` matches by a fault, so many times.

        :param fault: an answer, or what makes one of the request; None: no fault after all
        :param after: do what was asked for first
        """
        self._rules.append(_Rule(re.compile(pattern), fault, times, after))

    def close_mailbox(self, address: str, seconds: float) -> None:
        """Refuse every request for a mailbox for so long."""
        with self._lock:
            self._close(address.lower(), seconds)

    def heal(self) -> None:
        """End every fault."""
        with self._lock:
            self._rules.clear()
            self._closed_until.clear()
        self.latency, self.throttle_every = 0.0, 0
        self.released.set()
        self.released = threading.Event()

    def _fault(self, request: GraphRequest, *, after: bool) -> GraphAnswer | None:
        line = f"{request.method} {request.path}"
        for rule in list(self._rules):
            if rule.is_after is after and rule.left > 0 and rule.pattern.search(line):
                fault = rule.fault
                answer = fault(request) if callable(fault) else fault
                if answer is not None:
                    rule.left -= 1
                    return answer
        return None

    # ------------------------------------------------------------------ answering

    def _respond(self, http: Request) -> Response | None:
        request = GraphRequest.of(http)
        answer = self.answer(request)
        if answer is STALL:
            self.released.wait(60)
        if answer.status < 0:
            return None
        response = answer.response()
        if self.witness is not None:
            self.witness(request, response)
        return response

    def answer(self, request: GraphRequest) -> GraphAnswer:
        """Answer a request, with all that may stand in its way."""
        match = re.match(r"/users/([^/]+)", request.path, re.I)
        key = match[1].lower() if match else ""
        with self._entered(key, request) as throttled:
            if throttled is not None:
                return throttled
            if self.latency:
                self.released.wait(self.latency)
            if (fault := self._fault(request, after=False)) is not None:
                return self._noted(key, fault)
            answer = self._done(key, request)
            return self._noted(key, self._fault(request, after=True) or answer)

    @contextlib.contextmanager
    def _entered(self, key: str, request: GraphRequest) -> Iterator[GraphAnswer | None]:
        with self._lock:
            self.count += 1
            self._served[key] += 1
            self.requests.append(f"{request.method} {request.path} {' '.join(request.query)}")
            self._active[key] += 1
            active = self._active[key]
            self.most_at_once[key] = max(self.most_at_once[key], active)
            throttled = self._throttled(key, active, request)
        try:
            yield throttled
        finally:
            with self._lock:
                self._active[key] -= 1

    def _throttled(self, key: str, active: int, request: GraphRequest) -> GraphAnswer | None:
        left = self._closed_until.get(key, 0) - time.monotonic()
        if left > 0:
            if time.monotonic() - self._closed_at.get(key, 0) > self.under_way:
                self.early.append(f"{request.method} {request.path}, {left:.3f} s too early")
            return self._too_many("TooManyRequests", f"{left:.3f}")
        if active > AT_ONCE:
            message = "Application is over its MailboxConcurrency limit."
            return self._too_many("ApplicationThrottled", "0.2", message)
        if self.throttle_every and self._served[key] % self.throttle_every == 0:
            self._close(key, float(self.retry_after))
            return self._too_many("ApplicationThrottled", self.retry_after)
        return None

    def _close(self, key: str, seconds: float) -> None:
        self._closed_at[key] = time.monotonic()
        self._closed_until[key] = self._closed_at[key] + seconds

    def _too_many(self, code: str, retry_after: str, message: str = "") -> GraphAnswer:
        return refusal(429, code, message, retry_after=retry_after)

    def _noted(self, key: str, answer: GraphAnswer) -> GraphAnswer:
        """Remember the time that a fault names, to count who does not keep it."""
        told = answer.headers.get("Retry-After")
        if told is not None and answer.status in (429, 503, 504):
            with contextlib.suppress(ValueError), self._lock:
                seconds = _seconds(told)
                self._close(key, seconds if math.isfinite(seconds) else 0.0)
        return answer

    def _done(self, key: str, request: GraphRequest) -> GraphAnswer:
        try:
            if request.path.lower().startswith("/upload/"):
                return self._api.upload(request)
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not self._takes_token(token):
                raise RefusedError(401, "InvalidAuthenticationToken", "Lifetime validation failed.")
            if not request.wants_immutable_ids:
                self.without_immutable_ids.append(f"{request.method} {request.path}")
            mailbox = self.mailboxes.get(key)
            if mailbox is None:
                raise RefusedError(
                    404, "ErrorInvalidUser", f"The requested user '{key}' is invalid."
                )
            if not mailbox.is_enabled_for_rest:
                raise RefusedError(
                    404,
                    "MailboxNotEnabledForRESTAPI",
                    "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
                )
            return self._api.answer(mailbox, request)
        except RefusedError as error:
            answer = refusal(error.status, error.code, error.message)
            return GraphAnswer(answer.status, answer.body, error.headers)


def _seconds(told: str) -> float:
    """Return how long it is to the end that a Retry-After names, by the clock on the wall."""
    if told.endswith("GMT"):
        return parsedate_to_datetime(told).timestamp() - time.time()
    return float(told)
