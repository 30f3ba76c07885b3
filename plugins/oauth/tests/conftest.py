"""Credentials for the stand-ins of the logins. The servers come from `postroom_test_servers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from postroom_oauth.plugin import GoogleKind, MicrosoftKind
from postroom_test_servers.context import LoopbackCredentialContext
from postroom_test_servers.google_login import GoogleLogin
from postroom_test_servers.microsoft_login import App, MicrosoftLogin
from postroom_test_servers.tls import PrivateAuthority


class Opened:
    """A kind with settings, as the core would use it."""

    def __init__(self, kind: Any, values: dict[str, Any]) -> None:
        self.kind = kind
        self.settings = kind.settings().model_validate(values)
        self.context = LoopbackCredentialContext(kind, self.settings)

    def token(self, purpose: str = "graph", mailbox: str = "info@example.org") -> str:
        """Return the value of a new token."""
        return self.context.token(purpose, mailbox).value

    def check(self, *purposes: str, mailbox: str = "info@example.org") -> dict[str, Any]:
        """Return the steps of the check by name."""
        wanted = purposes or ("graph",)
        steps = self.kind.check(self.settings, self.context, purposes=wanted, mailbox=mailbox)
        return {step.name: step for step in steps}


@pytest.fixture
def microsoft_values(
    microsoft_login: MicrosoftLogin, authority: PrivateAuthority
) -> Callable[[App], dict[str, Any]]:
    """Return the settings for an app of the stand-in."""

    def values(app: App) -> dict[str, Any]:
        found = {
            "tenant_id": app.tenant,
            "client_id": app.client_id,
            "client_secret": app.secret,
            "authority": microsoft_login.authority,
            "ca_file": str(authority.ca_file),
        }
        return {name: value for name, value in found.items() if value is not None}

    return values


@pytest.fixture
def microsoft(microsoft_values: Callable[[App], dict[str, Any]]) -> Callable[..., Opened]:
    """Open a credential for an app: ``microsoft(app, client_secret="wrong")``."""

    def make(app: App, **changes: Any) -> Opened:
        return Opened(MicrosoftKind(), microsoft_values(app) | changes)

    return make


@pytest.fixture
def google(google_login: GoogleLogin, authority: PrivateAuthority) -> Callable[..., Opened]:
    """Open a credential of Google: ``google(service_account=key)``."""

    def make(**values: Any) -> Opened:
        values.setdefault("ca_file", str(authority.ca_file))
        return Opened(GoogleKind(), values)

    return make


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's proxy is, the stand-ins are not behind it."""
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
