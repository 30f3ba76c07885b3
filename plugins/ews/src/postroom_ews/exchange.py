"""One session's way to the server: log-in, SOAP, versions and errors by exchangelib; what may be
asked again and what may not is decided here.

Nothing of exchangelib is shared between sessions: its `Protocol` is made past its cache, and its
policy of retries is replaced by one that never waits and never repeats.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from exchangelib import DELEGATE, IMPERSONATION, Build, Configuration, Version
from exchangelib import errors as ews
from exchangelib.account import Identity
from exchangelib.protocol import FailFast, Protocol
from exchangelib.services.common import EWSAccountService
from exchangelib.transport import DEFAULT_HEADERS
from exchangelib.util import to_xml
from postroom.api import Context, Token, TransientError, TransportError, codes
from postroom.api.throttling import MARGIN, Gate, PausedError, borrow
from requests.auth import AuthBase, HTTPBasicAuth

from postroom_ews import __version__
from postroom_ews.elements import NAMES, Element, text
from postroom_ews.errors import Explainer, HttpRefused
from postroom_ews.link import Link, NoSlotError, new_http

if TYPE_CHECKING:
    import requests

    from postroom_ews.settings import EwsSettings

A = TypeVar("A")
VERSIONS: Final = (
    "Exchange2016", "Exchange2013_SP1", "Exchange2013", "Exchange2010_SP2", "Exchange2010_SP1",
    "Exchange2010",
)  # fmt: skip
"""Those of Microsoft's schema, the newest first; exchangelib would ask for some more."""
_LONGEST_WAIT: Final = 10.0
"""Seconds that are waited here when the server is busy; a longer time ends the visit."""
MOST_WAITS: Final = 6

# it logs whole requests, with what they carry and how they log in
logging.getLogger("exchangelib").setLevel(logging.CRITICAL + 1)


class _Verdict(FailFast):  # type: ignore[misc]
    """Reads the HTTP status; exchangelib would take "Connection: close" for load."""

    def raise_response_errors(self, response: requests.Response) -> None:
        """Raise `HttpRefused` unless there is SOAP to read."""
        is_soap = response.status_code == 500 and b"Envelope" in response.content[:1000]
        if response.status_code != 200 and not is_soap:
            raise HttpRefused(response)


class _BearerAuth(AuthBase):
    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token()}"
        return request


class _Protocol(Protocol):  # type: ignore[misc]
    """A protocol that belongs to one session.

    :param new_session: returns a session of requests, ready to log in
    """

    def __init__(self, config: Configuration, new_session: Callable[[], Any]) -> None:
        super().__init__(config=config)
        self._new_session = new_session

    def create_session(self) -> Any:
        """Return a session with what exchangelib wants to find on one."""
        made = self._new_session()
        made.session_id, made.usage_count = 0, 0
        return made


class _Account:
    """What exchangelib's services ask of an account."""

    default_timezone = None
    affinity_cookie: str | None = None

    def __init__(self, protocol: _Protocol, address: str, *, impersonates: bool) -> None:
        self.protocol, self.primary_smtp_address = protocol, address
        self.access_type = IMPERSONATION if impersonates else DELEGATE
        self.identity = Identity(primary_smtp_address=address)
        self.version = Version(build=Build(15, 1), api_version=VERSIONS[0])
        self.is_sure = False
        """Whether the server has answered in this version."""


class _Operation(EWSAccountService):  # type: ignore[misc]
    """An operation whose answer is handed on as it is."""

    prefer_affinity = True

    def messages(self, payload: Element) -> list[Element]:
        """Return the response messages, errors among them included."""
        found = list(self._get_elements(payload))
        self.account.is_sure = True
        return found

    def _api_versions_to_try(self) -> tuple[str, ...]:
        if self.account.is_sure:
            return (self._version_hint.api_version,)
        return VERSIONS

    @classmethod
    def _get_soap_parts(cls, response: requests.Response) -> tuple[Element, Element]:
        """Parse at once; exchangelib would feed single bytes."""
        root = to_xml(response.content)
        space = "{http://schemas.xmlsoap.org/soap/envelope/}"
        body = root.find(f"{space}Body")
        if body is None:
            raise ews.MalformedResponseError("no SOAP body")
        return root.find(f"{space}Header"), body

    def _get_elements_in_response(self, response: list[Element]) -> list[Element]:
        return response


@functools.cache
def _operation(name: str) -> type[_Operation]:
    return type(name, (_Operation,), {"SERVICE_NAME": name})


class _Streamed(_Operation):
    """An operation whose answer is read as it comes."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.streaming = True

    @classmethod
    def _get_soap_parts(cls, response: requests.Response) -> tuple[None, Any]:
        return None, response

    def _get_soap_messages(self, body: Any) -> list[Any]:
        return [body]


@functools.cache
def _streamed(name: str) -> type[_Streamed]:
    return type(name, (_Streamed,), {"SERVICE_NAME": name})


def raise_fault(operation: str, answer: bytes) -> None:
    """Raise exchangelib's exception for the SOAP fault in an answer that was streamed."""
    body = to_xml(answer).find("{http://schemas.xmlsoap.org/soap/envelope/}Body")
    if body is not None:
        fault = body.find("{http://schemas.xmlsoap.org/soap/envelope/}Fault")
        if fault is not None:
            _operation(operation)._raise_soap_errors(fault=fault)
    raise ews.MalformedResponseError("no SOAP answer")


class Exchange:
    """The connection of one session with one mailbox."""

    def __init__(self, settings: EwsSettings, context: Context, url: str, link: Link) -> None:
        self.settings, self.context, self.link = settings, context, link
        self.url = url
        self.mailbox = settings.mailbox or context.mailbox
        self.explainer = new_explainer(settings, context, url)
        self._token: Token | None = None
        self.protocol = self._new_protocol()
        self.account = _Account(self.protocol, self.mailbox, impersonates=settings.impersonates)

    def close(self) -> None:
        """Close what is open. Never raises."""
        with contextlib.suppress(Exception):
            self.protocol.close()
        self.link.let_go()

    @property
    def can_suppress_receipts(self) -> bool:
        """Whether the version knows SuppressReadReceipts (Exchange 2013 SP1)."""
        return str(self.account.version.api_version) >= "Exchange2013_SP1"

    # ------------------------------------------------------------------ asking

    def call(
        self, operation: str, payload: Element, doing: str, *, is_repeatable: bool = True
    ) -> list[Element]:
        """Return the response messages; a short time that a busy server names is waited for.

        :param doing: for errors, a verb phrase: ``list the folder inbox``
        :param is_repeatable: doing it twice is the same as doing it once
        :raises TransportError:
        """

        def work() -> list[Element]:
            return _busy_checked(self._service(operation).messages(payload))

        return self.patiently(work, doing, is_repeatable=is_repeatable)

    def call_once(self, operation: str, payload: Element) -> list[Element]:
        """Return the response messages; nothing is asked again but with a new token.

        :raises Exception: exchangelib's, or `HttpRefused`; `explain` knows them
        """

        def work() -> list[Element]:
            self.link.has_asked = False
            return self._service(operation).messages(payload)

        return self._with_new_token(work)

    def patiently(self, work: Callable[[], A], doing: str, *, is_repeatable: bool = True) -> A:
        """Return what some work returns, tried again where that is safe and of use."""
        for _ in range(MOST_WAITS):
            try:
                return self._reconnecting(lambda: self._with_new_token(work), is_repeatable)
            except TransportError:
                raise
            except Exception as error:
                explained = self.explain(error, doing)
                cause = error
            if not self.has_waited(explained):
                break
        raise explained from cause

    def has_waited(self, error: TransportError) -> bool:
        """Wait for the short time that a busy server named; False where there is none to wait."""
        named = getattr(error, "retry_after", None)
        if named is None:
            return False
        pause = max(named, self.link.paused_for())
        return pause <= _LONGEST_WAIT + MARGIN and not self.link.interrupted.wait(pause)

    def explain(self, error: BaseException, doing: str) -> TransportError:
        """Return the contract's error; a pause that it names is one for all sessions."""
        if self.link.interrupted.is_set():
            sentence = f"The connection with {self.explainer.where} was interrupted."
            return TransientError(codes.CONNECTION_LOST, sentence)
        if is_caused_by(error, NoSlotError):
            sentence = f"Too many connections with {self.explainer.where} are in use."
            return TransientError(codes.SERVER_BUSY, sentence)
        if isinstance(error, PausedError):
            return self.explainer.busy(doing, error.seconds)
        explained = self.explainer.explain(error, doing, self.context.now())
        if isinstance(explained, TransientError) and explained.retry_after is not None:
            self.link.pause(explained.retry_after)
        return explained

    def read(self, operation: str, payload: Element, read: Callable[[Any], A], doing: str) -> A:
        """Have an answer read piece by piece; `read` gets the response, and may be called again.

        :raises TransportError:
        """

        def work() -> A:
            service = _streamed(operation)(account=self.account)
            with contextlib.closing(service._get_elements(payload)) as answers:
                for response in answers:
                    return read(response)
            raise ews.MalformedResponseError("no answer")

        return self.patiently(work, doing)

    def _service(self, operation: str) -> _Operation:
        return _operation(operation)(account=self.account)

    def _with_new_token(self, work: Callable[[], A]) -> A:
        """Do the work; a token that the server refuses is replaced once."""
        rejected: Token | None = None
        if self.settings.method == "oauth":
            self._token = self.context.token("ews")
        try:
            return work()
        except HttpRefused as error:
            if error.status != 401 or self._token is None:
                raise
            rejected = self._token
        self._token = self.context.token("ews", rejected=rejected)
        return work()

    def _reconnecting(self, work: Callable[[], A], is_repeatable: bool) -> A:
        """Do the work; once more if the server had closed the connection while it was idle."""
        before = self.link.connections if is_repeatable else 0
        try:
            return work()
        except ews.ErrorTimeoutExpired as error:
            was_idle = before > 0 and self.link.connections == before
            if not was_idle or self.link.interrupted.is_set() or is_caused_by(error, TimeoutError):
                raise
        return work()

    # ------------------------------------------------------------------ exchangelib's objects

    def _new_protocol(self) -> _Protocol:
        config = Configuration(
            service_endpoint=self.url,
            version=Version(build=Build(15, 1), api_version=VERSIONS[0]),
            retry_policy=_Verdict(),
            max_connections=1,
        )
        made: _Protocol = type.__call__(_Protocol, config, self._new_session)  # past the cache
        made.TIMEOUT = self.settings.timeout_seconds
        made.RETRY_WAIT = 0  # a time that no server named is not made up
        return made

    def _new_session(self) -> requests.Session:
        tls = self.context.tls(self.settings, alpn=("http/1.1",))
        made = new_http(self.link, tls, verify=self.settings.verify_tls, url=self.url)
        made.headers.update(DEFAULT_HEADERS)
        made.headers["User-Agent"] = f"postroom/{__version__}"
        made.auth = self.new_auth()
        return made

    def new_auth(self) -> AuthBase:
        """Return what logs in."""
        settings, name = self.settings, self.settings.username or ""
        if settings.method == "oauth":
            return _BearerAuth(lambda: self._token.value if self._token else "")
        if settings.method == "ntlm":
            from requests_ntlm import HttpNtlmAuth

            made: AuthBase = HttpNtlmAuth(name, settings.secret())
            return made
        return HTTPBasicAuth(name.encode(), settings.secret().encode())


def new_explainer(settings: EwsSettings, context: Context, url: str) -> Explainer:
    """Return what explains errors of a server."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Explainer(
        parts.hostname or "", port,
        mailbox=settings.mailbox or context.mailbox, address=context.mailbox,
        username=settings.username or "", method=settings.method,
    )  # fmt: skip


def new_link(url: str, timeout: float, pause: Gate | None = None) -> Link:
    """Return the link for an endpoint."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Link(parts.hostname or "", port, timeout, pause)


def pause_of(settings: EwsSettings, context: Context, url: str) -> Gate:
    """Return what keeps the pauses of the account that Exchange charges: with impersonation and
    OAuth the mailbox's, else that of the user who logs in.

    See https://learn.microsoft.com/exchange/client-developer/exchange-web-services/ews-throttling-in-exchange.
    """
    mailbox = settings.mailbox or context.mailbox
    is_mailboxs = settings.impersonates or settings.method == "oauth"
    account = mailbox if is_mailboxs else settings.username or mailbox
    return borrow(f"{url.lower()}|{account.lower()}")


# ---------------------------------------------------------------------------- response messages


def failure(message: Element) -> Exception | None:
    """Return exchangelib's exception for a response message, None if it tells of success."""
    code = text(message, "m:ResponseCode")
    if message.get("ResponseClass") == "Success" or code == "NoError":
        return None
    details = message.find("m:MessageXml", NAMES)
    error = error_of(code, text(message, "m:MessageText"), details)
    if isinstance(error, ews.ErrorServerBusy):
        error.back_off = _back_off(details)
    return error


def error_of(code: str, said: str, details: Element = None) -> Exception:
    """Return exchangelib's exception for a response code."""
    if code and code not in vars(ews):  # newer than exchangelib
        made: Exception = type(code, (ews.ResponseMessageError,), {})(said)
        return made
    found: Exception = EWSAccountService._get_exception(code, said, details)
    return found


def raise_failure(message: Element) -> None:
    """Raise what `failure` returns."""
    if (error := failure(message)) is not None:
        raise error


def _back_off(details: Element) -> float | None:
    for value in details if details is not None else ():
        if value.get("Name") == "BackOffMilliseconds":
            with contextlib.suppress(ValueError):
                return int(value.text or "") / 1000
    return None


def _busy_checked(messages: list[Element]) -> list[Element]:
    """Raise if the server was too busy for one of them."""
    for message in messages:
        error = failure(message)
        if isinstance(error, ews.ErrorServerBusy):
            raise error
    return messages


def is_caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Tell whether an exception, or what is behind it, is of a kind."""
    return any(isinstance(one, kind) for one in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            more = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
            waiting += [inner for inner in more if isinstance(inner, BaseException)]
