"""Tokens of Google, by google-auth: a service account, or the consent of one account."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any, Final

from google.auth import exceptions, transport
from google.oauth2 import credentials, service_account
from postroom.api import (
    AuthError,
    CheckStep,
    CredentialContext,
    Token,
    TransportError,
)

from postroom_oauth import codes
from postroom_oauth.http import IssuerHttp
from postroom_oauth.scopes import GOOGLE_MAIL
from postroom_oauth.settings import GoogleSettings

_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class _Response(transport.Response):
    """An answer as google-auth wants it."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._parts = (status, headers, data)

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._parts[0]

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers."""
        return self._parts[1]

    @property
    def data(self) -> bytes:
        """Body."""
        return self._parts[2]


class _Request(transport.Request):
    """google-auth's way out, by our session. Its own would write assertions into a debug log."""

    def __init__(self, http: IssuerHttp) -> None:
        self._http = http

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the settings' is used
        **_: Any,
    ) -> _Response:
        ask = self._http.post if method == "POST" else self._http.get
        found = ask(url, headers=headers, data=body)
        return _Response(found.status_code, found.headers, found.content)


def fetch(settings: GoogleSettings, context: CredentialContext, mailbox: str) -> Token:
    """Ask for a new token; see `CredentialKind.fetch`."""
    subject = settings.subject or mailbox
    with IssuerHttp(settings, context) as http:
        try:
            source = _source(settings, subject)
            source.refresh(_Request(http))
        except (exceptions.GoogleAuthError, ValueError) as error:  # a key that is none
            raise _explain(http.refusal or {}, settings, context, subject, error) from None
    end = source.expiry.replace(tzinfo=UTC) if source.expiry else None
    return Token(str(source.token), end or context.now() + timedelta(hours=1))


def _source(settings: GoogleSettings, subject: str) -> Any:
    if settings.service_account is not None:
        info = json.loads(settings.service_account.get_secret_value())
        info["token_uri"] = settings.token_uri or info.get("token_uri") or _TOKEN_URI
        return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            info, scopes=[GOOGLE_MAIL], subject=subject
        )
    assert settings.client_secret and settings.refresh_token  # noqa: S101 - the model saw to it
    return credentials.Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=settings.refresh_token.get_secret_value(),
        token_uri=settings.token_uri or _TOKEN_URI,
        client_id=settings.client_id,
        client_secret=settings.client_secret.get_secret_value(),
    )


def _explain(
    answer: Mapping[str, Any],
    settings: GoogleSettings,
    context: CredentialContext,
    subject: str,
    error: Exception,
) -> AuthError:
    """Return the contract's error for an error answer; Google's texts choose the sentence."""
    said = str(answer.get("error", ""))
    text = " ".join(str(answer.get("error_description", "")).split())[:200]
    code, sentence, only = codes.ISSUER_REFUSED, f"Google refuses to give a token [{said}]", False
    if not answer:
        code = codes.KEY_REFUSED if settings.service_account else codes.ISSUER_REFUSED
        sentence = f"Google's key or answer cannot be used ({type(error).__name__})"
    elif settings.service_account is None:
        code, sentence = _about_a_consent(said)
    elif said == "unauthorized_client" or said == "access_denied":
        code = codes.NOT_DELEGATED
        sentence = "The service account may not act for the accounts of the domain"
    elif "JWT" in text or "account not found" in text:
        code, sentence = codes.KEY_REFUSED, "Google does not take the key of the service account"
    elif said == "invalid_grant":
        code, only = codes.USER_UNKNOWN, True
        sentence = f"Google knows no account {subject} that the service account may act for"
    words = f": {text.rstrip('.')}" if code is codes.ISSUER_REFUSED and text else ""
    return AuthError(
        code,
        f'{sentence}{words} (credential "{context.name}").',
        next_step=code.next_step.replace("NAME", context.name),
        only_this_token=only,
    )


def _about_a_consent(said: str) -> tuple[Any, str]:
    if said == "invalid_grant":
        return codes.CONSENT_ENDED, "The refresh token has expired or was revoked"
    if said in ("invalid_client", "unauthorized_client"):
        return codes.CLIENT_REFUSED, "Google does not know the client id and secret"
    return codes.ISSUER_REFUSED, f"Google refuses to give a token [{said}]"


def check(
    settings: GoogleSettings, context: CredentialContext, *, purposes: Sequence[str], mailbox: str
) -> Iterator[CheckStep]:
    """Go through settings and token; see `CredentialKind.check`."""
    if settings.service_account is not None:
        info = json.loads(settings.service_account.get_secret_value())
        subject = settings.subject or mailbox
        who = f"{info['client_email']} acts for {subject or 'each mailbox'}."
        yield CheckStep("settings", "ok", who)
        if not subject:
            step = "Name a mailbox with --mailbox, or set one up that uses the credential."
            yield CheckStep("token", "skip", "There is no mailbox to ask for.", step)
            return
    else:
        yield CheckStep("settings", "ok", "The application acts with the consent of one account.")
    try:
        token = context.token(purposes[0], mailbox)
    except TransportError as error:
        yield CheckStep("token", "fail", error.sentence, error.next_step)
        return
    until = f" until {token.expires_at:%H:%M} UTC" if token.expires_at else ""
    yield CheckStep("token", "ok", f"Good{until}, for {', '.join(purposes)}.")
