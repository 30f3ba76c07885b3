"""The one place that speaks HTTP, for msal and for google-auth alike.

Certificates are verified with the core's context, not with what REQUESTS_CA_BUNDLE names: requests
would let that win over ``ca_file``. Proxies are those of the environment. Nothing is redirected:
a secret goes to the address that was configured, or nowhere.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote_plus, urlsplit

import requests
from postroom.api import CredentialContext, SettingsError, TransientError, TransportError
from postroom.api.codes import CONNECTION_LOST, SERVER_BUSY
from postroom.api.network import explain_network_error
from postroom.api.settings import CredentialSettings
from postroom.api.throttling import retry_after
from requests.adapters import HTTPAdapter

from postroom_oauth import codes

_SECRET_FIELDS: Final = (
    "client_secret",
    "client_assertion",
    "refresh_token",
    "device_code",
    "assertion",
)
_ALPN: Final = ("http/1.1",)  # what urllib3 offers


class IssuerHttp:
    """A session with an issuer; the form of client that msal takes. Close it.

    `refusal` is the last answer that was an error, as JSON.
    """

    def __init__(self, settings: CredentialSettings, context: CredentialContext) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no .netrc, no other CA; proxies are looked up below
        self._session.mount("https://", _Adapter(context.tls(settings, alpn=_ALPN)))
        self._timeout = settings.timeout_seconds
        self._context = context
        self.refusal: Mapping[str, Any] | None = None

    def get(self, url: str, **options: Any) -> requests.Response:
        """GET for msal: `params` and `headers`."""
        return self._ask("GET", url, options)

    def post(self, url: str, **options: Any) -> requests.Response:
        """POST for msal: `params`, `headers` and `data`."""
        return self._ask("POST", url, options)

    def close(self) -> None:
        """End the connections; msal calls it too."""
        self._session.close()

    def __enter__(self) -> IssuerHttp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, url: str, options: Mapping[str, Any]) -> requests.Response:
        known = {k: v for k, v in options.items() if k in ("params", "headers", "data")}
        where = _where(url)
        try:
            response = self._session.request(
                method,
                url,
                **known,
                timeout=self._timeout,
                allow_redirects=False,
                proxies=requests.utils.get_environ_proxies(url),
            )
        except requests.RequestException as error:
            raise _explain(error, where) from None  # its words may hold the URL with a query
        if response.status_code == 429 or response.status_code >= 500:
            raise TransientError(
                SERVER_BUSY,
                f"{where} is busy (HTTP {response.status_code}).",
                retry_after=retry_after(response.headers, self._context.now()),
            )
        if response.status_code >= 400:
            _scrub(response, known.get("data"))
        document = _document(response, where)
        if response.status_code >= 400:
            self.refusal = document
        return response


class _Adapter(HTTPAdapter):
    """Connects with one TLS context, directly and through proxies."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Hand the context on."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Hand the context on."""
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Add no authorities: the context has them."""

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Say nothing about certificates: the context does."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}


def _scrub(response: requests.Response, sent: Any) -> None:
    """Cut what we sent out of an issuer's refusal, which msal writes into its debug log."""
    form = sent if isinstance(sent, Mapping) else dict(parse_qsl(_text(sent or b"")))
    content = response.content
    for name in _SECRET_FIELDS:
        value = _text(form.get(name) or "")
        if value:
            for form_of_it in (value, quote_plus(value)):
                content = content.replace(form_of_it.encode(), b"***")
    response._content = content


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _document(response: requests.Response, where: str) -> Mapping[str, Any]:
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if response.status_code < 300 and isinstance(document, dict):
        return document
    if response.status_code >= 400 and isinstance(document, dict) and "error" in document:
        return document
    raise SettingsError(
        codes.NOT_AN_ISSUER,
        f"{where} answers HTTP {response.status_code}, but not as an issuer of tokens does.",
    )


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 443}"


def _explain(error: requests.RequestException, where: str) -> TransportError:
    if isinstance(error, requests.exceptions.ProxyError):
        return TransientError(
            CONNECTION_LOST,
            f"The proxy on the way to {where} does not let us through.",
            next_step="Check HTTPS_PROXY and NO_PROXY, and the proxy's log.",
        )
    if isinstance(error, requests.Timeout):
        return explain_network_error(TimeoutError(), where)
    for cause in _causes(error):
        if isinstance(cause, OSError | EOFError) and not isinstance(
            cause, requests.RequestException
        ):
            return explain_network_error(cause, where)
    return explain_network_error(ConnectionError(), where)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an exception was made of: requests and urllib3 wrap in several ways."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inside = [part for part in one.args if isinstance(part, BaseException)]
        reason = getattr(one, "reason", None)
        queue += [*inside, reason if isinstance(reason, BaseException) else None]
        queue += [one.__cause__, one.__context__]
