"""A stand-in for Google's token endpoint: service accounts with domain-wide delegation, and
refresh tokens. google-auth vouches for it.

Source: Google's page "Using OAuth 2.0 for Server to Server Applications".
"""

from __future__ import annotations

import json
import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from postroom_test_servers.https import HttpsServer, Request, Response

_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCE: Final = "https://oauth2.googleapis.com/token"  # whatever the token_uri is
MAIL: Final = "https://mail.google.com/"


class GoogleLogin:
    """The server; a context manager. `grants` counts tokens by grant, `subjects` by mailbox."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._server = HttpsServer(tls, self._answer)
        self._lock = threading.RLock()
        self._resets = 0
        self.token_uri = f"{self._server.url}/token"
        self.introspection_uri = f"{self._server.url}/introspect"
        self.issued: list[str] = []
        """Every access token: what may stand nowhere in clear."""
        self.reset()

    def reset(self) -> None:
        """Forget accounts and counts; between tests."""
        with self._lock:
            self._resets += 1
            self._keys: dict[str, Any] = {}
            self.delegated: dict[str, set[str]] = {}
            """The scopes that a domain's administrator allowed, by service account."""
            self.users: set[str] = set()
            """Those that exist; empty: everybody."""
            self.consented = "consented"
            """Whose mailbox refresh tokens open."""
            self._clients: dict[tuple[str, str], set[str]] = {}
            self._tokens: dict[str, str] = {}
            self.grants: Counter[str] = Counter()
            self.subjects: Counter[str] = Counter()
            self.status = 200
            self.before_answer: Callable[[Request], object] = lambda _: None
            self.cut = False
            """Whether it hangs up instead of answering."""
            self.asked = 0
            """How many requests there were."""
            self.is_strict = False
            """Whether everything is refused."""
            self.token_seconds = 3600
            self.issued.clear()

    def __enter__(self) -> GoogleLogin:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    def new_service_account(self, *, scopes: set[str] | None = None) -> str:
        """Return the JSON key file of a new service account with domain-wide delegation."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        address = f"postroom-{secrets.token_hex(4)}@project.iam.gserviceaccount.com"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with self._lock:
            self._keys[address] = key.public_key()
            self.delegated[address] = {MAIL} if scopes is None else scopes
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "project",
                "private_key_id": secrets.token_hex(20),
                "private_key": private.decode(),
                "client_email": address,
                "client_id": "1234567890",
                "token_uri": self.token_uri,
            }
        )

    def new_client(self) -> tuple[str, str, str]:
        """Return id and secret of an OAuth client, and a refresh token from a person's consent."""
        identity = f"{secrets.randbelow(10**12)}.apps.googleusercontent.com"
        secret, refresh = f"GOCSPX-{secrets.token_urlsafe(20)}", f"1//{secrets.token_urlsafe(40)}"
        with self._lock:
            self._clients[identity, secret] = {refresh}
        return identity, secret, refresh

    def revoke(self) -> None:
        """End every consent."""
        with self._lock:
            for tokens in self._clients.values():
                tokens.clear()

    def revoke_tokens(self) -> None:
        """Let mail servers refuse every access token that was issued so far."""
        self._tokens.clear()

    def accepts(self, token: str) -> str | None:
        """Return whose mailbox a token opens, None if it opens none."""
        return self._tokens.get(token)

    def _answer(self, request: Request) -> Response | None:
        began = self._resets
        form = request.form()
        if request.path == "/introspect":
            return self._introspect(form)
        self.before_answer(request)
        with self._lock:
            if self._resets != began:
                return None  # it waited beyond the end of its test
            self.asked += 1
            if self.cut:
                return None
            if self.is_strict:
                return _refused(401, "unauthorized_client", "Unauthorized")
            if self.status != 200:
                return Response(self.status, b"<html>busy</html>", {"Content-Type": "text/html"})
            if form.get("grant_type") == _JWT_GRANT:
                return self._by_assertion(form)
            if form.get("grant_type") == "refresh_token":
                return self._by_refresh_token(form)
        return _refused(400, "unsupported_grant_type", "Invalid grant_type")

    def _introspect(self, form: Mapping[str, str]) -> Response:
        """Tell a mail server about a token (RFC 7662), for Dovecot."""
        owner = self.accepts(form.get("token", ""))
        answer = {"active": False} if owner is None else {"active": True, "username": owner}
        return Response.of_json(200, answer)

    def _by_assertion(self, form: Mapping[str, str]) -> Response:
        assertion = form.get("assertion", "")
        claims = jwt.decode(assertion, options={"verify_signature": False})
        key = self._keys.get(claims.get("iss", ""))
        if key is None:
            return _refused(400, "invalid_grant", "Invalid grant: account not found")
        try:
            jwt.decode(assertion, key, algorithms=["RS256"], audience=_AUDIENCE)
        except jwt.InvalidTokenError:
            return _refused(400, "invalid_grant", "Invalid JWT Signature.")
        scopes = {*claims.get("scope", "").split()}
        if not scopes or not scopes <= self.delegated[claims["iss"]]:
            text = "Client is unauthorized to retrieve access tokens using this method."
            return _refused(401, "unauthorized_client", text)
        subject = claims.get("sub", "")
        if not subject or (self.users and subject not in self.users):
            return _refused(400, "invalid_grant", "Invalid email or User ID")
        self.subjects[subject] += 1
        return self._issue(_JWT_GRANT, subject)

    def _by_refresh_token(self, form: Mapping[str, str]) -> Response:
        known = self._clients.get((form.get("client_id", ""), form.get("client_secret", "")))
        if known is None:
            return _refused(401, "invalid_client", "The OAuth client was not found.")
        if form.get("refresh_token") not in known:
            return _refused(400, "invalid_grant", "Token has been expired or revoked.")
        return self._issue("refresh_token", self.consented)

    def _issue(self, grant: str, subject: str) -> Response:
        token = f"ya29.{secrets.token_urlsafe(60)}"
        self._tokens[token] = subject
        self.issued.append(token)
        self.grants[grant] += 1
        answer = {"access_token": token, "expires_in": self.token_seconds, "token_type": "Bearer"}
        return Response.of_json(200, {**answer, "scope": MAIL, "issued_at": int(time.time())})


def _refused(status: int, error: str, text: str) -> Response:
    return Response.of_json(status, {"error": error, "error_description": text})
