"""Both kinds keep the contract, at the stand-ins of their issuers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from postroom.testing import CredentialConformance, CredentialHarness
from postroom_oauth.plugin import GoogleKind, MicrosoftKind
from postroom_test_servers.google_login import GoogleLogin
from postroom_test_servers.microsoft_login import (
    OUTLOOK,
    App,
    MicrosoftLogin,
    Refusal,
    as_pem,
    new_certificate,
)
from postroom_test_servers.tls import PrivateAuthority

ROLES = {OUTLOOK: ["IMAP.AccessAsApp"]}
HEAVY = ("msal", "google", "google.auth", "requests", "urllib3", "pydantic", "cryptography")


class MicrosoftHarness(CredentialHarness):
    """The stand-in of Microsoft's login."""

    def __init__(self, login: MicrosoftLogin, app: App, values: dict[str, Any]) -> None:
        self.login, self.app = login, app
        self._values = values
        self._secret = app.secret
        self._certificate = app.certificate
        self._goes_on = threading.Event()
        self._kept: dict[str, Any] = {}

    def settings(self):
        return self._values

    def takes(self, token):
        return self.login.accepts(token, OUTLOOK) is not None

    def fetches(self):
        return self.login.requests["token"]

    def issued(self):
        return list(self.login.issued)

    def refuse_password(self):
        if self._secret is not None:
            self.app.secret = "another"
        if self._certificate is not None:
            self.app.certificate, _ = new_certificate()
        self._kept = self.login.put_refresh_tokens({})

    def throttle(self, retry_after):
        self.login.always = Refusal(429, "temporarily_unavailable", 0, "Busy.", int(retry_after))

    def cut_connection(self, after_bytes):
        self.login.cut = True

    def be_silent(self):
        self.login.before_answer = lambda _: self._goes_on.wait(30)

    def heal(self):
        self.app.secret, self.app.certificate = self._secret, self._certificate
        if self._kept:
            self.login.put_refresh_tokens(self._kept)
        self.login.always = None
        self.login.cut = False
        self._goes_on.set()
        self.login.before_answer = lambda _: None

    def sign_in(self, sign_in):
        self.login.sign_in(sign_in.code, "ann@contoso.example")


class GoogleHarness(CredentialHarness):
    """The stand-in of Google's token endpoint."""

    tells_retry_after = False

    def __init__(self, login: GoogleLogin, values: dict[str, Any]) -> None:
        self.login = login
        self._values = values
        self._goes_on = threading.Event()

    def settings(self):
        return self._values

    def takes(self, token):
        return self.login.accepts(token) is not None

    def fetches(self):
        return self.login.asked

    def issued(self):
        return list(self.login.issued)

    def refuse_password(self):
        self.login.is_strict = True

    def throttle(self, retry_after):
        self.login.status = 429

    def cut_connection(self, after_bytes):
        self.login.cut = True

    def be_silent(self):
        self.login.before_answer = lambda _: self._goes_on.wait(30)

    def heal(self):
        self._goes_on.set()
        self.login.before_answer = lambda _: None
        self.login.is_strict = False
        self.login.cut = False
        self.login.status = 200


class _Kind(CredentialConformance):
    plugin = "postroom_oauth.plugin"
    heavy = HEAVY


class _Microsoft(_Kind):
    """An app, as `made` registers it: returns it, and settings beside its own."""

    kind = MicrosoftKind()

    def made(self, login: MicrosoftLogin) -> tuple[App, dict[str, Any]]:
        raise NotImplementedError

    @pytest.fixture
    def harness(
        self, microsoft_login: MicrosoftLogin, microsoft_values: Callable[[App], dict[str, Any]]
    ) -> Iterator[MicrosoftHarness]:
        app, more = self.made(microsoft_login)
        harness = MicrosoftHarness(microsoft_login, app, microsoft_values(app) | more)
        yield harness
        harness.heal()


class TestSecret(_Microsoft):
    def made(self, login):
        return login.new_app(roles=ROLES), {}


class TestCertificate(_Microsoft):
    def made(self, login):
        certificate, key = new_certificate()
        app = login.new_app(certificate=certificate, roles=ROLES)
        return app, {"certificate": as_pem(certificate, key).decode()}


class TestDeviceCode(_Microsoft):
    def made(self, login):
        app = login.new_app(secret=None)
        return app, {"account": "ann@contoso.example", "sign_in_for": ["imap"]}


class _Google(_Kind):
    """An account, as `values` registers it: returns the settings."""

    kind = GoogleKind()

    def values(self, login: GoogleLogin) -> dict[str, Any]:
        raise NotImplementedError

    @pytest.fixture
    def harness(
        self, google_login: GoogleLogin, authority: PrivateAuthority
    ) -> Iterator[GoogleHarness]:
        values = self.values(google_login) | {"ca_file": str(authority.ca_file)}
        harness = GoogleHarness(google_login, values)
        yield harness
        harness.heal()


class TestServiceAccount(_Google):
    def values(self, login):
        return {"service_account": login.new_service_account()}


class TestRefreshToken(_Google):
    def values(self, login):
        identity, secret, refresh = login.new_client()
        return {
            "client_id": identity,
            "client_secret": secret,
            "refresh_token": refresh,
            "token_uri": login.token_uri,
        }
