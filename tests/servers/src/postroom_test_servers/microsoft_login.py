"""A stand-in for Microsoft's login (the identity platform, v2.0): OpenID configuration, tokens by
secret, by certificate, by device code and by refresh token, errors in Microsoft's form.

msal vouches for it. Sources: Microsoft's pages "OAuth 2.0 client credentials flow", "OAuth 2.0
device authorization grant" and "error codes". Error texts are shortened.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import itertools
import json
import secrets
import ssl
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from postroom_test_servers.https import HttpsServer, Request, Response

GRAPH: Final = "https://graph.microsoft.com"
OUTLOOK: Final = "https://outlook.office365.com"
_RESOURCES: Final = {
    GRAPH: GRAPH,
    OUTLOOK: OUTLOOK,
    "https://outlook.office.com": OUTLOOK,
}
"""What stands in a scope, and the audience of its tokens."""
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OWN_SCOPES: Final = {"openid", "profile", "offline_access", "email"}


@dataclass(slots=True)
class App:
    """An app registration. Tests change it at any time."""

    tenant: str
    client_id: str
    secret: str | None = None
    secret_expired: bool = False
    certificate: x509.Certificate | None = None
    roles: dict[str, list[str]] = field(default_factory=dict)
    """Application permissions with consent, by resource."""
    scopes: dict[str, list[str]] | None = None
    """Delegated permissions with consent, by resource; None: whatever is asked for."""
    public_client: bool = True
    """Whether "Allow public client flows" is on."""
    enabled: bool = True


@dataclass(slots=True)
class _Device:
    app: App
    scope: str
    state: str = "pending"
    user: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error in Microsoft's form."""

    status: int
    error: str
    code: int
    text: str
    retry_after: int | None = None


# The errors that it tells by itself; tests may `refuse` with any other.
SECRET_WRONG = Refusal(401, "invalid_client", 7000215, "Invalid client secret provided.")
SECRET_EXPIRED = Refusal(401, "invalid_client", 7000222, "The provided client secret keys expired.")
SECRET_MISSING = Refusal(
    401, "invalid_client", 7000218, "The request body must contain client_assertion or secret."
)
ASSERTION_WRONG = Refusal(401, "invalid_client", 700027, "The certificate is not registered.")
APP_UNKNOWN = Refusal(400, "unauthorized_client", 700016, "Application was not found.")
APP_DISABLED = Refusal(400, "unauthorized_client", 7000112, "Application is disabled.")
TENANT_UNKNOWN = Refusal(400, "invalid_tenant", 90002, "Tenant not found.")
SCOPE_WRONG = Refusal(400, "invalid_scope", 1002012, "The provided scope is not valid.")
RESOURCE_UNKNOWN = Refusal(400, "invalid_resource", 500011, "The resource principal is unknown.")
NO_CONSENT = Refusal(400, "invalid_grant", 65001, "The user has not consented.")
REFRESH_WRONG = Refusal(400, "invalid_grant", 700082, "The refresh token has expired.")
PENDING = Refusal(400, "authorization_pending", 70016, "Authorization is pending.")
DECLINED = Refusal(400, "authorization_declined", 70018, "The user declined.")
CODE_EXPIRED = Refusal(400, "expired_token", 70020, "The code has expired.")
GRANT_UNKNOWN = Refusal(400, "unsupported_grant_type", 70003, "The grant is not supported.")
BUSY = Refusal(429, "temporarily_unavailable", 90033, "A transient error occurred.", 7)


class MicrosoftLogin:
    """The server; a context manager. All clients share its state.

    `authority` is what a credential is set up with, `requests` counts by path's end (``token``,
    ``devicecode``, ``openid-configuration``), `grants` counts tokens by grant.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._server = HttpsServer(tls, self._answer)
        self._lock = threading.RLock()
        self._resets = 0
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._apps: dict[tuple[str, str], App] = {}
        self._devices: dict[str, _Device] = {}
        self._refresh_tokens: dict[str, tuple[App, str, set[str]]] = {}
        self._revoked: set[str] = set()
        self._seen_assertions: set[str] = set()
        self._numbers = itertools.count(1)
        self.authority = self._server.url
        self.issued: list[str] = []
        """Every access and refresh token, in order: what may stand nowhere in clear."""
        self.reset()

    def reset(self) -> None:
        """Forget apps, faults and counts; between tests."""
        with self._lock:
            self._resets += 1
            self._apps.clear()
            self.tenants: set[str] = set()
            self.requests: Counter[str] = Counter()
            self.grants: Counter[str] = Counter()
            self.refusals: list[Refusal] = []
            self.always: Refusal | None = None
            self.before_answer: Callable[[Request], object] = lambda _: None
            self.cut = False
            self.token_seconds = 3600
            self.device_seconds = 900
            self.issued.clear()

    def __enter__(self) -> MicrosoftLogin:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    # ------------------------------------------------------------------------ what tests do

    def new_app(self, **values: Any) -> App:
        """Register an app in a tenant of its own, with a secret: fields of `App` as keywords."""
        values.setdefault("tenant", str(uuid.uuid4()))
        values.setdefault("client_id", str(uuid.uuid4()))
        if "certificate" not in values:
            values.setdefault("secret", f"Q~{secrets.token_urlsafe(30)}")
        app = App(**values)
        with self._lock:
            self.tenants.add(app.tenant)
            self._apps[app.tenant, app.client_id] = app
        return app

    def refuse(self, *refusals: Refusal) -> None:
        """Refuse the next token requests so, one each; then answer as usual."""
        with self._lock:
            self.refusals.extend(refusals)

    def sign_in(self, user_code: str, user: str) -> None:
        """Be the person who types the code in."""
        with self._lock:
            device = self._devices[self._device_code(user_code)]
            device.state, device.user = "done", user

    def decline(self, user_code: str) -> None:
        """Be the person who does not want to."""
        with self._lock:
            self._devices[self._device_code(user_code)].state = "declined"

    def token_for(self, user: str, resource: str = OUTLOOK) -> str:
        """Return an access token of a user, as if one had signed in."""
        app = App(tenant="stand-in", client_id="stand-in")
        claims = {"idtyp": "user", "scp": "IMAP.AccessAsUser.All", "upn": user}
        with self._lock:
            return str(self._access(app, resource, claims)["access_token"])

    def revoke_tokens(self) -> None:
        """Let servers refuse every access token that was issued so far."""
        with self._lock:
            self._revoked.update(self.issued)

    def revoke_refresh_tokens(self) -> None:
        """Let no refresh token be good any more, as after a change of password."""
        with self._lock:
            self._refresh_tokens.clear()

    def put_refresh_tokens(self, tokens: dict[str, Any]) -> dict[str, Any]:
        """Let these refresh tokens be good instead; return those of before."""
        with self._lock:
            before, self._refresh_tokens = self._refresh_tokens, dict(tokens)
            return before

    def accepts(self, token: str, resource: str) -> dict[str, Any] | None:
        """Return the claims of a token if a server of the resource takes it, else None.

        :param resource: `GRAPH` or `OUTLOOK`
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key.public_key(), algorithms=["RS256"], audience=resource
            )
        except jwt.InvalidTokenError:
            return None
        return None if token in self._revoked else claims

    # ------------------------------------------------------------------------ answering

    def _answer(self, request: Request) -> Response | None:
        began = self._resets
        self.before_answer(request)
        tenant, _, rest = request.path.strip("/").partition("/")
        with self._lock:
            if self._resets != began:
                return None  # it waited beyond the end of its test
            self.requests[rest.rpartition("/")[2]] += 1
            if self.cut:
                return None
            try:
                return self._route(request, tenant, rest)
            except _RefusedError as error:
                return _refused(error.refusal)

    def _route(self, request: Request, tenant: str, rest: str) -> Response:
        if rest == "introspect":
            return self._introspect(request.form())
        if self.always is not None and self.always.status >= 500:
            raise _RefusedError(self.always)
        if tenant not in self.tenants:
            raise _RefusedError(TENANT_UNKNOWN)
        match request.method, rest:
            case "GET", "v2.0/.well-known/openid-configuration":
                return Response.of_json(200, self._configuration(tenant))
            case "POST", "oauth2/v2.0/devicecode":
                return self._begin_device(tenant, request.form())
            case "POST", "oauth2/v2.0/token":
                return self._token(tenant, request.form())
        return Response.of_json(404, {"error": "not_found"})

    def _configuration(self, tenant: str) -> dict[str, Any]:
        base = f"{self.authority}/{tenant}"
        return {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _introspect(self, form: Mapping[str, str]) -> Response:
        """Tell a mail server about a token (RFC 7662), for Dovecot."""
        claims = self.accepts(form.get("token", ""), OUTLOOK)
        if claims is None:
            return Response.of_json(200, {"active": False})
        return Response.of_json(200, {"active": True, "username": claims.get("upn", "app")})

    def _token(self, tenant: str, form: Mapping[str, str]) -> Response:
        if self.refusals:
            raise _RefusedError(self.refusals.pop(0))
        if self.always is not None:
            raise _RefusedError(self.always)
        app = self._app(tenant, form)
        grant = form.get("grant_type", "")
        match grant:
            case "client_credentials":
                self._authenticate(app, form, tenant)
                found = self._for_app(app, form)
            case "refresh_token":
                found = self._refreshed(app, form)
            case _ if grant == _DEVICE_GRANT:
                found = self._for_device(app, form)
            case _:
                raise _RefusedError(GRANT_UNKNOWN)
        self.grants[grant] += 1
        return Response.of_json(200, found, Cache_Control="no-store")

    def _app(self, tenant: str, form: Mapping[str, str]) -> App:
        app = self._apps.get((tenant, form.get("client_id", "")))
        if app is None:
            raise _RefusedError(APP_UNKNOWN)
        if not app.enabled:
            raise _RefusedError(APP_DISABLED)
        return app

    def _authenticate(self, app: App, form: Mapping[str, str], tenant: str) -> None:
        if "client_assertion" in form:
            self._check_assertion(app, form, tenant)
        elif "client_secret" not in form:
            raise _RefusedError(SECRET_MISSING)
        elif form["client_secret"] != app.secret:
            raise _RefusedError(SECRET_WRONG)
        elif app.secret_expired:
            raise _RefusedError(SECRET_EXPIRED)

    def _check_assertion(self, app: App, form: Mapping[str, str], tenant: str) -> None:
        """Verify a certificate's assertion (RFC 7523), as Microsoft describes its claims."""
        assertion = form["client_assertion"]
        if app.certificate is None or form.get("client_assertion_type") != _ASSERTION:
            raise _RefusedError(ASSERTION_WRONG)
        try:
            claims = jwt.decode(
                assertion,
                app.certificate.public_key(),  # type: ignore[arg-type]
                algorithms=["RS256", "PS256"],
                audience=f"{self.authority}/{tenant}/oauth2/v2.0/token",
                issuer=app.client_id,
                options={"require": ["exp", "iss", "sub", "jti", "aud"]},
            )
        except jwt.InvalidTokenError:
            raise _RefusedError(ASSERTION_WRONG) from None
        print_ = jwt.get_unverified_header(assertion).get("x5t#S256", "")
        known = app.certificate.fingerprint(hashes.SHA256())
        if claims["sub"] != app.client_id or _decode64(print_) != known:
            raise _RefusedError(ASSERTION_WRONG)
        if claims["jti"] in self._seen_assertions:
            raise _RefusedError(ASSERTION_WRONG)
        self._seen_assertions.add(claims["jti"])

    # ------------------------------------------------------------------------ grants

    def _for_app(self, app: App, form: Mapping[str, str]) -> dict[str, Any]:
        scope = form.get("scope", "")
        resource, slash, what = scope.rpartition("/")
        if not slash or what != ".default" or " " in scope:
            raise _RefusedError(SCOPE_WRONG)
        audience = self._audience(resource)
        claims = {"idtyp": "app", "roles": app.roles.get(audience, [])}
        if not claims["roles"]:
            del claims["roles"]  # Microsoft issues a token that may do nothing
        return self._access(app, audience, claims)

    def _begin_device(self, tenant: str, form: Mapping[str, str]) -> Response:
        app = self._app(tenant, form)
        code = secrets.token_urlsafe(40)
        user_code = self._user_code(code)
        self._devices[code] = _Device(app, form.get("scope", ""))
        address = f"{self.authority}/device"
        return Response.of_json(
            200,
            {
                "device_code": code,
                "user_code": user_code,
                "verification_uri": address,
                "expires_in": self.device_seconds,
                "interval": 1,
                "message": f"Open {address} and enter the code {user_code} to authenticate.",
            },
        )

    @staticmethod
    def _user_code(device_code: str) -> str:
        return hashlib.sha256(device_code.encode()).hexdigest()[:9].upper()

    def _device_code(self, user_code: str) -> str:
        return next(code for code in self._devices if self._user_code(code) == user_code)

    def _for_device(self, app: App, form: Mapping[str, str]) -> dict[str, Any]:
        if not app.public_client:
            raise _RefusedError(SECRET_MISSING)
        device = self._devices.get(form.get("device_code", ""))
        if device is None or device.app is not app or self.device_seconds <= 0:
            raise _RefusedError(CODE_EXPIRED)
        if device.state == "declined":
            raise _RefusedError(DECLINED)
        if device.state == "pending":
            raise _RefusedError(PENDING)
        del self._devices[form["device_code"]]
        return self._for_user(app, device.user, device.scope, set())

    def _refreshed(self, app: App, form: Mapping[str, str]) -> dict[str, Any]:
        """Give new tokens for a refresh token, which is not good any more: stricter than
        Microsoft, so that a client that loses the new one is noticed."""
        found = self._refresh_tokens.pop(form.get("refresh_token", ""), None)
        if found is None or found[0] is not app:
            raise _RefusedError(REFRESH_WRONG)
        return self._for_user(app, found[1], form.get("scope", ""), found[2])

    def _for_user(self, app: App, user: str, scope: str, granted: set[str]) -> dict[str, Any]:
        wanted = [word for word in scope.split() if word not in _OWN_SCOPES]
        resources = {word.rpartition("/")[0] for word in wanted}
        if len(resources) != 1:
            raise _RefusedError(SCOPE_WRONG)
        audience = self._audience(resources.pop())
        names = [word.rpartition("/")[2] for word in wanted]
        if app.scopes is not None and not {*names} <= {*app.scopes.get(audience, [])}:
            raise _RefusedError(NO_CONSENT)
        claims = {"idtyp": "user", "scp": " ".join(names), "upn": user}
        refresh = f"0.{secrets.token_urlsafe(40)}"
        self._refresh_tokens[refresh] = (app, user, granted | {*wanted})
        self.issued.append(refresh)
        return {
            **self._access(app, audience, claims),
            "scope": " ".join(wanted),
            "refresh_token": refresh,
            "id_token": self._id_token(app, user),
            "client_info": _encode64({"uid": _object_id(user), "utid": app.tenant}),
        }

    @staticmethod
    def _audience(resource: str) -> str:
        if resource not in _RESOURCES:
            raise _RefusedError(RESOURCE_UNKNOWN)
        return _RESOURCES[resource]

    def _access(self, app: App, audience: str, claims: Mapping[str, Any]) -> dict[str, Any]:
        instant = int(time.time())
        token = self._signed(
            {
                "aud": audience,
                "iss": f"https://sts.windows.net/{app.tenant}/",
                "iat": instant,
                "nbf": instant,
                "exp": instant + self.token_seconds,
                "appid": app.client_id,
                "tid": app.tenant,
                "uti": f"{next(self._numbers)}",
                **claims,
            }
        )
        self.issued.append(token)
        life = {"expires_in": self.token_seconds, "ext_expires_in": self.token_seconds}
        return {"token_type": "Bearer", "access_token": token, **life}

    def _id_token(self, app: App, user: str) -> str:
        instant = int(time.time())
        claims = {
            "aud": app.client_id,
            "iss": f"{self.authority}/{app.tenant}/v2.0",
            "iat": instant,
            "exp": instant + self.token_seconds,
            "oid": _object_id(user),
            "tid": app.tenant,
            "preferred_username": user,
            "ver": "2.0",
        }
        return self._signed({**claims, "sub": _object_id(user)})

    def _signed(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers={"kid": "stand-in"})


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def _refused(refusal: Refusal) -> Response:
    """Return an error as Microsoft writes it."""
    trace, correlation = uuid.uuid4(), uuid.uuid4()
    moment = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%SZ}"
    ending = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {moment}"
    document = {
        "error": refusal.error,
        "error_description": f"AADSTS{refusal.code}: {refusal.text} {ending}",
        "error_codes": [refusal.code],
        "timestamp": moment,
        "trace_id": str(trace),
        "correlation_id": str(correlation),
        "error_uri": f"https://login.microsoftonline.com/error?code={refusal.code}",
    }
    headers = {} if refusal.retry_after is None else {"Retry_After": str(refusal.retry_after)}
    return Response.of_json(refusal.status, document, **headers)


def _encode64(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def _decode64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _object_id(user: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, user))


def new_certificate(
    name: str = "postroom", *, days: int = 365
) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    """Return a self-signed certificate and its key, as an administrator would make them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    instant = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(instant - datetime.timedelta(days=1))
        .not_valid_after(instant + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def as_pem(certificate: x509.Certificate, key: rsa.RSAPrivateKey, password: str = "") -> bytes:
    """Return key and certificate in one PEM text."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def as_pfx(certificate: x509.Certificate, key: rsa.RSAPrivateKey, password: str = "") -> bytes:
    """Return key and certificate in a PFX file."""
    from cryptography.hazmat.primitives.serialization import pkcs12

    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(None, key, certificate, None, encryption)
