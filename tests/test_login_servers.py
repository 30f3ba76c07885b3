"""The stand-ins for Microsoft's and Google's logins, vouched for by msal and google-auth."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials
import msal
import pytest
import requests
from google.oauth2 import service_account
from postroom_test_servers.google_login import MAIL, GoogleLogin
from postroom_test_servers.microsoft_login import (
    APP_DISABLED,
    BUSY,
    GRAPH,
    OUTLOOK,
    SECRET_WRONG,
    App,
    MicrosoftLogin,
    as_pem,
    as_pfx,
    new_certificate,
)
from postroom_test_servers.tls import PrivateAuthority

DEFAULT = [f"{GRAPH}/.default"]


@pytest.fixture
def session(authority: PrivateAuthority) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(authority.ca_file)
    return session


@pytest.fixture
def confidential(
    microsoft_login: MicrosoftLogin, session: requests.Session
) -> Callable[..., msal.ConfidentialClientApplication]:
    """Make msal's client of an app: ``confidential(app, credential)``."""

    def make(app: App, credential: Any) -> msal.ConfidentialClientApplication:
        return msal.ConfidentialClientApplication(
            app.client_id,
            authority=f"{microsoft_login.authority}/{app.tenant}",
            client_credential=credential,
            instance_discovery=False,
            http_client=session,
        )

    return make


@pytest.fixture
def public(
    microsoft_login: MicrosoftLogin, session: requests.Session
) -> Callable[[App], msal.PublicClientApplication]:
    def make(app: App) -> msal.PublicClientApplication:
        return msal.PublicClientApplication(
            app.client_id,
            authority=f"{microsoft_login.authority}/{app.tenant}",
            instance_discovery=False,
            http_client=session,
        )

    return make


def test_a_secret_gives_a_token_for_one_resource(microsoft_login, confidential):
    app = microsoft_login.new_app(roles={GRAPH: ["Mail.Send"]})

    result = confidential(app, app.secret).acquire_token_for_client(DEFAULT)

    claims = microsoft_login.accepts(result["access_token"], GRAPH)
    assert claims["roles"] == ["Mail.Send"] and claims["tid"] == app.tenant
    assert microsoft_login.accepts(result["access_token"], OUTLOOK) is None
    assert microsoft_login.grants == {"client_credentials": 1}
    microsoft_login.revoke_tokens()
    assert microsoft_login.accepts(result["access_token"], GRAPH) is None


@pytest.mark.parametrize("form", ["pem", "pfx"])
def test_a_certificate_signs_an_assertion(microsoft_login, confidential, tmp_path, form):
    certificate, key = new_certificate()
    app = microsoft_login.new_app(certificate=certificate)
    pem = as_pem(certificate, key).decode()
    (tmp_path / "x.pfx").write_bytes(as_pfx(certificate, key))
    credential = {"private_key": pem, "public_certificate": pem}
    if form == "pfx":
        credential = {"private_key_pfx_path": str(tmp_path / "x.pfx"), "public_certificate": True}

    assert "access_token" in confidential(app, credential).acquire_token_for_client(DEFAULT)

    app.certificate, _ = new_certificate()
    refused = confidential(app, credential).acquire_token_for_client(DEFAULT)
    assert refused["error_codes"] == [700027]


def test_refusals_have_microsofts_form(microsoft_login, confidential):
    app = microsoft_login.new_app()

    wrong = confidential(app, "wrong").acquire_token_for_client(DEFAULT)
    assert wrong["error"] == SECRET_WRONG.error
    assert wrong["error_description"].startswith("AADSTS7000215: ")
    assert {"correlation_id", "trace_id", "timestamp", "error_uri"} <= {*wrong}
    app.enabled = False
    disabled = confidential(app, app.secret).acquire_token_for_client(DEFAULT)
    assert disabled["error_codes"] == [APP_DISABLED.code]


def test_wrong_scope_resource_and_tenant(microsoft_login, confidential):
    app = microsoft_login.new_app()
    client = confidential(app, app.secret)

    assert client.acquire_token_for_client([f"{GRAPH}/Mail.Send"])["error_codes"] == [1002012]
    assert client.acquire_token_for_client(["https://x.example/.default"])["error_codes"] == [
        500011
    ]
    with pytest.raises(ValueError, match="tenant"):
        confidential(App("nowhere", app.client_id), app.secret)


def test_busy_tells_when_to_come_back(microsoft_login, session):
    app = microsoft_login.new_app()
    microsoft_login.refuse(BUSY)

    url = f"{microsoft_login.authority}/{app.tenant}/oauth2/v2.0/token"
    answer = session.post(url, data={"client_id": app.client_id})

    assert answer.status_code == 429 and answer.headers["Retry-After"] == "7"


def test_a_person_signs_in_with_a_code_and_refresh_tokens_rotate(microsoft_login, public):
    app = microsoft_login.new_app(secret=None)
    client = public(app)
    flow = client.initiate_device_flow([f"{GRAPH}/Mail.ReadWrite"])
    pending = client.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
    assert pending["error"] == "authorization_pending"

    microsoft_login.sign_in(flow["user_code"], "ann@contoso.example")
    first = client.acquire_token_by_device_flow(flow)
    assert microsoft_login.accepts(first["access_token"], GRAPH)["upn"] == "ann@contoso.example"
    [account] = client.get_accounts()
    assert account["username"] == "ann@contoso.example"
    other = client.acquire_token_silent_with_error(
        ["https://outlook.office.com/IMAP.AccessAsUser.All"], account
    )
    assert microsoft_login.accepts(other["access_token"], OUTLOOK)["scp"] == "IMAP.AccessAsUser.All"
    stale = client.acquire_token_by_refresh_token(first["refresh_token"], [f"{GRAPH}/Mail.Send"])
    assert stale["error_codes"] == [700082]


def test_a_sign_in_may_be_declined_or_need_consent(microsoft_login, public):
    app = microsoft_login.new_app(scopes={GRAPH: ["Mail.Send"]})
    for act, error in ((microsoft_login.decline, 70018), (None, 65001)):
        client = public(app)
        flow = client.initiate_device_flow([f"{GRAPH}/Mail.ReadWrite"])
        if act:
            act(flow["user_code"])
        else:
            microsoft_login.sign_in(flow["user_code"], "ann@contoso.example")
        assert client.acquire_token_by_device_flow(flow)["error_codes"] == [error]


# ---------------------------------------------------------------------------- Google


def test_a_service_account_acts_for_a_mailbox(google_login: GoogleLogin, session) -> None:
    info = json.loads(google_login.new_service_account())
    request = google.auth.transport.requests.Request(session)
    credentials = service_account.Credentials.from_service_account_info(
        info, scopes=[MAIL], subject="info@example.org"
    )

    credentials.refresh(request)

    assert google_login.accepts(credentials.token) == "info@example.org"
    google_login.delegated[info["client_email"]] = set()
    with pytest.raises(google.auth.exceptions.RefreshError, match="unauthorized_client"):
        credentials.refresh(request)


def test_a_refresh_token_gives_tokens_until_it_is_revoked(google_login, session) -> None:
    identity, secret, refresh = google_login.new_client()
    request = google.auth.transport.requests.Request(session)
    credentials = google.oauth2.credentials.Credentials(
        None,
        refresh_token=refresh,
        token_uri=google_login.token_uri,
        client_id=identity,
        client_secret=secret,
    )

    credentials.refresh(request)

    assert google_login.accepts(credentials.token) == "consented"
    google_login.revoke()
    with pytest.raises(google.auth.exceptions.RefreshError, match="expired or revoked"):
        credentials.refresh(request)


def test_introspection_tells_a_mail_server(microsoft_login, confidential, session) -> None:
    app = microsoft_login.new_app()
    client = confidential(app, app.secret)
    token = client.acquire_token_for_client([f"{OUTLOOK}/.default"])["access_token"]

    url = f"{microsoft_login.authority}/x/introspect"

    def ask(value: str) -> Any:
        return session.post(url, data={"token": value}).json()

    assert ask(token) == {"active": True, "username": "app"}
    assert ask(base64.b64encode(b"x").decode()) == {"active": False}
