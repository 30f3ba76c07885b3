"""Tokens of Microsoft 365, by msal.

A fresh client for each fetch: msal's would remember refusals for a minute, so that a consent that
was just given would seem not to help. What is worth keeping is kept by the core: the tokens, and
for an account msal's cache with its refresh token.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from postroom.api import (
    AuthError,
    CheckStep,
    CredentialContext,
    SettingsError,
    SignIn,
    Token,
    TransientError,
    TransportError,
)
from postroom.api.codes import SIGN_IN_NEEDED, TIMEOUT

from postroom_oauth import aadsts, codes
from postroom_oauth.aadsts import Asked
from postroom_oauth.http import IssuerHttp
from postroom_oauth.scopes import rights_for, scopes_of
from postroom_oauth.settings import MicrosoftSettings

_IN_EXCHANGE: Final = (
    "Nothing is to be done where the rights were given in Exchange (RBAC for Applications): those "
    "do not show in a token."
)
_SECRET_ID: Final = 36  # a GUID: the secret's ID, where its Value is wanted


class Microsoft:
    """One conversation with the login; a context manager."""

    def __init__(self, settings: MicrosoftSettings, context: CredentialContext) -> None:
        self._settings = settings
        self._context = context
        self._http = IssuerHttp(settings, context)
        self._asked = Asked(
            context.name,
            settings.client_id,
            settings.tenant_id,
            settings.account,
            tuple(_secrets(settings)),
        )

    def __enter__(self) -> Microsoft:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # ------------------------------------------------------------------------ tokens

    def token(self, purpose: str, state: str | None) -> tuple[Token, str | None]:
        """Ask for a new token; see `CredentialKind.fetch`."""
        scopes = scopes_of(self._settings, purpose)
        if self._settings.account is None:
            return self._for_app(scopes), None
        return self._for_account(scopes, state)

    def _for_app(self, scopes: Sequence[str]) -> Token:
        import msal  # type: ignore[import-untyped]  # has no stubs

        with self._login_known():
            client = msal.ConfidentialClientApplication(
                **self._client(), client_credential=self._proof()
            )
            answer = client.acquire_token_for_client(list(scopes))
        return self._taken(answer)

    def _proof(self) -> Any:
        certificate = self._settings.app_certificate()
        if certificate is not None:
            return {
                "private_key": certificate.private_key,
                "public_certificate": certificate.certificate,
            }
        secret = self._settings.client_secret
        return secret.get_secret_value().strip() if secret else None

    def _for_account(self, scopes: Sequence[str], state: str | None) -> tuple[Token, str]:
        with self._login_known():
            client, cache = self._public_client(state)
            accounts = client.get_accounts(self._settings.account)
            if not accounts:
                raise self._sign_in_needed()
            # The core keeps the tokens: if it asks, it wants a new one.
            answer = client.acquire_token_silent_with_error(
                list(scopes), accounts[0], force_refresh=True
            )
        if answer is None:
            raise self._sign_in_needed()
        return self._taken(answer), cache.serialize()

    def _public_client(self, state: str | None) -> tuple[Any, Any]:
        import msal

        cache = msal.SerializableTokenCache()
        if state:
            cache.deserialize(state)
        return msal.PublicClientApplication(**self._client(), token_cache=cache), cache

    def _client(self) -> dict[str, Any]:
        return {
            "client_id": self._settings.client_id,
            "authority": self._settings.base(),
            "http_client": self._http,
            # Else msal asks login.microsoftonline.com about any other login, and trusts its word.
            "instance_discovery": False,
        }

    def _taken(self, answer: Mapping[str, Any]) -> Token:
        if "access_token" not in answer:
            raise aadsts.explain(answer, self._asked)
        life = timedelta(seconds=int(answer.get("expires_in", 3600)))
        return Token(str(answer["access_token"]), self._context.now() + life)

    @contextmanager
    def _login_known(self) -> Iterator[None]:
        """Translate what msal raises where it could not learn the login's addresses."""
        try:
            yield
        except (ValueError, KeyError) as error:
            if self._http.refusal is not None:
                raise aadsts.explain(self._http.refusal, self._asked) from None
            raise SettingsError(
                codes.NOT_AN_ISSUER,
                f"{self._settings.authority} does not answer as Microsoft's login does.",
            ) from error

    def _sign_in_needed(self) -> AuthError:
        return AuthError(
            SIGN_IN_NEEDED,
            f"Nobody has signed in as {self._settings.account} for the credential "
            f'"{self._context.name}" yet.',
            next_step=SIGN_IN_NEEDED.next_step.replace("NAME", self._context.name),
        )

    # ------------------------------------------------------------------------ signing in

    def begin_sign_in(self) -> SignIn:
        """Get a code for a person to type in."""
        with self._login_known():
            client, _ = self._public_client(None)
            flow = client.initiate_device_flow(list(self._first_scopes()))
        if "user_code" not in flow:
            raise aadsts.explain(flow, self._asked)
        flow["interval"] = max(1, flow["interval"])
        left = timedelta(seconds=flow["expires_in"])
        address = str(flow.get("verification_uri", "https://microsoft.com/devicelogin"))
        message = (
            f"Open {address}, type in {flow['user_code']}, sign in as {self._settings.account}."
        )
        return SignIn(address, str(flow["user_code"]), message, self._context.now() + left, flow)

    def finish_sign_in(
        self, sign_in: SignIn, state: str | None, stopped: Callable[[], bool]
    ) -> str:
        """Wait for the person; see that it is the right one, and that tokens come."""
        with self._login_known():
            client, cache = self._public_client(state)
            answer = client.acquire_token_by_device_flow(
                dict(sign_in.flow),
                exit_condition=lambda flow: flow["expires_at"] < time.time() or stopped(),
            )
            if answer.get("error") in ("authorization_pending", "slow_down") and stopped():
                raise TransientError(TIMEOUT, "The sign-in was broken off.")
            self._taken(answer)
            self._see_who(answer)
            self._try_the_others(client)
        return str(cache.serialize())

    def _first_scopes(self) -> tuple[str, ...]:
        """Return all scopes of the first purpose's resource: one sign-in consents to them."""
        every = [s for p in self._settings.sign_in_for for s in scopes_of(self._settings, p)]
        resource = every[0].rpartition("/")[0]
        return tuple(dict.fromkeys(s for s in every if s.rpartition("/")[0] == resource))

    def _see_who(self, answer: Mapping[str, Any]) -> None:
        who = str((answer.get("id_token_claims") or {}).get("preferred_username", ""))
        wanted = self._settings.account or ""
        if who.casefold() != wanted.casefold():
            raise AuthError(
                codes.OTHER_ACCOUNT,
                f'{who or "Another account"} signed in, but the credential "{self._context.name}" '
                f"is for {wanted}.",
            )

    def _try_the_others(self, client: Any) -> None:
        """Fetch a token of each other resource, so that what is missing is told now."""
        [account, *_] = client.get_accounts(self._settings.account)
        for purpose in self._settings.sign_in_for:
            scopes = scopes_of(self._settings, purpose)
            answer = client.acquire_token_silent_with_error(list(scopes), account)
            if answer is None:
                raise self._sign_in_needed()
            self._taken(answer)

    # ------------------------------------------------------------------------ checking

    def reach(self) -> str:
        """Ask the login for its configuration; return where it was."""
        with self._login_known():
            answer = self._http.get(
                f"{self._settings.base()}/v2.0/.well-known/openid-configuration"
            )
        if self._http.refusal is not None:
            raise aadsts.explain(self._http.refusal, self._asked)
        return str(answer.json().get("token_endpoint", self._settings.base()))


def check(
    settings: MicrosoftSettings,
    context: CredentialContext,
    *,
    purposes: Sequence[str],
    mailbox: str,
) -> Iterator[CheckStep]:
    """Go through settings, login, token and rights; see `CredentialKind.check`."""
    yield _settings_step(settings)
    try:
        with Microsoft(settings, context) as login:
            yield CheckStep("authority", "ok", f"{login.reach()} answers.")
    except TransportError as error:
        yield CheckStep("authority", "fail", error.sentence, error.next_step)
        yield from _skipped(purposes)
        return
    for purpose in purposes:
        yield from _check_purpose(settings, context, purpose, mailbox)


def _settings_step(settings: MicrosoftSettings) -> CheckStep:
    if settings.account is not None:
        return CheckStep("settings", "ok", f"{settings.account} signs in with a device code.")
    certificate = settings.app_certificate()
    if certificate is not None:
        end = certificate.expires_at
        return CheckStep("settings", "ok", f"The certificate holds until {end:%Y-%m-%d}.")
    secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
    if len(secret) == _SECRET_ID and secret.count("-") == 4:
        detail = "The client secret looks like its ID; its Value is wanted."
        return CheckStep("settings", "warn", detail, codes.SECRET_WRONG.next_step)
    return CheckStep("settings", "ok", "The application proves itself with a secret.")


def _skipped(purposes: Sequence[str]) -> Iterator[CheckStep]:
    for purpose in purposes:
        yield CheckStep(f"token for {purpose}", "skip")
        yield CheckStep(f"rights for {purpose}", "skip")


def _check_purpose(
    settings: MicrosoftSettings, context: CredentialContext, purpose: str, mailbox: str
) -> Iterator[CheckStep]:
    try:
        token = context.token(purpose, mailbox)
    except TransportError as error:
        yield CheckStep(f"token for {purpose}", "fail", error.sentence, error.next_step)
        yield CheckStep(f"rights for {purpose}", "skip")
        return
    until = f" until {token.expires_at:%H:%M} UTC" if token.expires_at else ""
    yield CheckStep(f"token for {purpose}", "ok", f"Good{until}.")
    yield _rights_step(settings, purpose, _rights_in(token.value))


def _rights_step(
    settings: MicrosoftSettings, purpose: str, there: Sequence[str] | None
) -> CheckStep:
    name = f"rights for {purpose}"
    if there is None:
        return CheckStep(name, "skip", "The token does not tell what it may do.")
    missing = [right for right in rights_for(settings, purpose) if right not in there]
    if not missing:
        return CheckStep(name, "ok", f"It may do: {', '.join(there)}.")
    step = codes.CONSENT_MISSING.next_step
    detail = f"Without consent: {', '.join(missing)}."
    if there:
        detail += f" It may do: {', '.join(there)}."
    if settings.account is not None:
        return CheckStep(name, "fail", detail, step)
    return CheckStep(name, "warn", detail, f"{step} {_IN_EXCHANGE}")


def _rights_in(token: str) -> list[str] | None:
    """Return the permissions that stand in a token; None if it is no readable JWT.

    Only for people to read: whether they are true is the resource's affair.
    """
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return [*claims.get("roles", []), *str(claims.get("scp", "")).split()]
    except (IndexError, ValueError, AttributeError, TypeError):
        return None


def _secrets(settings: MicrosoftSettings) -> Iterator[str]:
    for value in (settings.client_secret, settings.certificate, settings.certificate_password):
        if value is not None:
            yield value.get_secret_value()
