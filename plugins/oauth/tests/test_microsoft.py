"""Tokens of Microsoft 365, from the stand-in of its login."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from postroom.api import AuthError, SettingsError, TransientError
from postroom.api import codes as core_codes
from postroom_oauth import codes
from postroom_test_servers.microsoft_login import (
    BUSY,
    GRAPH,
    NO_CONSENT,
    OUTLOOK,
    Refusal,
    as_pem,
    as_pfx,
    new_certificate,
)

ANN = "ann@contoso.example"


def test_the_kinds_are_described_without_loading_a_library():
    code = (
        "import sys, postroom_oauth.plugin as p; p.postroom_credentials();"
        "print([m for m in ('msal', 'requests', 'google.auth', 'pydantic') if m in sys.modules])"
    )

    found = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert found.strip() == "[]"


@pytest.mark.parametrize(
    ("purpose", "resource"),
    [("graph", GRAPH), ("ews", OUTLOOK), ("imap", OUTLOOK), ("pop", OUTLOOK), ("smtp", OUTLOOK)],
)
def test_a_secret_gives_a_token_for_each_purpose(microsoft_login, microsoft, purpose, resource):
    app = microsoft_login.new_app(roles={GRAPH: ["Mail.Send"]})

    token = microsoft(app).token(purpose)

    assert microsoft_login.accepts(token, resource)["appid"] == app.client_id


@pytest.mark.parametrize("password", ["", "pässword"])
@pytest.mark.parametrize("form", ["pem", "pfx"])
def test_a_certificate_gives_one_too(microsoft_login, microsoft, form, password):
    certificate, key = new_certificate(days=100)
    app = microsoft_login.new_app(certificate=certificate)
    content = as_pem(certificate, key, password).decode()
    if form == "pfx":
        content = base64.b64encode(as_pfx(certificate, key, password)).decode()
    more = {"certificate_password": password} if password else {}

    opened = microsoft(app, certificate=content, **more)

    assert microsoft_login.accepts(opened.token(), GRAPH)
    assert opened.kind.expires_at(opened.settings) == certificate.not_valid_after_utc


def test_mailboxes_and_mail_protocols_share_a_token(microsoft_login, microsoft):
    opened = microsoft(microsoft_login.new_app())

    def key(purpose: str, mailbox: str) -> str:
        return opened.kind.token_key(opened.settings, purpose, mailbox)

    assert key("imap", "a@x.org") == key("smtp", "b@x.org") == key("ews", "c@x.org")
    assert key("graph", "a@x.org") != key("imap", "a@x.org")
    with pytest.raises(SettingsError) as caught:
        key("dance", "a@x.org")
    assert caught.value.code is core_codes.CREDENTIAL_UNFIT


def test_a_national_cloud_has_resources_of_its_own(microsoft_login, microsoft):
    opened = microsoft(microsoft_login.new_app(), authority="https://login.microsoftonline.us/")
    named = microsoft(microsoft_login.new_app(), graph_resource="https://dod-graph.microsoft.us")

    key = opened.kind.token_key
    assert key(opened.settings, "graph", "") == "https://graph.microsoft.us/.default"
    assert key(opened.settings, "imap", "") == "https://outlook.office365.us/.default"
    assert key(named.settings, "graph", "") == "https://dod-graph.microsoft.us/.default"


# ---------------------------------------------------------------------------- refusals


REFUSALS = [
    ("invalid_client", 7000215, codes.SECRET_WRONG, "does not know this client secret"),
    ("invalid_client", 7000222, codes.SECRET_EXPIRED, "has expired"),
    ("invalid_client", 700027, codes.CERTIFICATE_UNKNOWN, "certificate"),
    ("invalid_client", 7000277, codes.CERTIFICATE_UNKNOWN, "certificate"),
    ("invalid_client", 7000218, codes.SECRET_MISSING, "wants a client secret"),
    ("unauthorized_client", 700016, codes.APP_UNKNOWN, "There is no application"),
    ("unauthorized_client", 7000112, codes.APP_DISABLED, "switched off"),
    ("invalid_request", 90002, codes.TENANT_UNKNOWN, "knows no tenant"),
    ("invalid_grant", 90002, codes.TENANT_UNKNOWN, "knows no tenant"),
    ("invalid_grant", 50034, codes.USER_UNKNOWN, "knows no account"),
    ("invalid_grant", 65001, codes.CONSENT_MISSING, "consent"),
    ("invalid_grant", 50126, codes.USER_REFUSED, "does not let"),
    ("interaction_required", 50076, codes.SIGN_IN_AGAIN, "done again"),
    ("invalid_grant", 50079, codes.SIGN_IN_AGAIN, "done again"),
    ("interaction_required", 50158, codes.SIGN_IN_AGAIN, "done again"),
    ("interaction_required", 53003, codes.POLICY, "Conditional Access"),
    ("invalid_grant", 53000, codes.POLICY, "Conditional Access"),
    ("invalid_grant", 530036, codes.POLICY, "Conditional Access"),
    ("invalid_grant", 700082, codes.SIGN_IN_AGAIN, "done again"),
    ("invalid_grant", 70043, codes.SIGN_IN_AGAIN, "done again"),
    ("invalid_grant", 50173, codes.SIGN_IN_AGAIN, "done again"),
    ("invalid_grant", 70008, codes.SIGN_IN_AGAIN, "done again"),
    ("invalid_scope", 70011, codes.SCOPE_REFUSED, "asked for"),
    ("invalid_scope", 1002012, codes.SCOPE_REFUSED, "asked for"),
    ("invalid_resource", 500011, codes.RESOURCE_UNKNOWN, "is not there"),
    ("expired_token", 70020, codes.CODE_EXPIRED, "Nobody signed in"),
    ("invalid_resource", 1, codes.RESOURCE_UNKNOWN, "is not there"),
    ("invalid_client", 4242, codes.ISSUER_REFUSED, "[AADSTS4242]: It cannot be."),
    ("brand_new", 0, codes.ISSUER_REFUSED, "[brand_new]"),
]


@pytest.mark.parametrize(("error", "number", "code", "words"), REFUSALS)
def test_every_refusal_is_a_sentence_and_a_next_step(
    microsoft_login, microsoft, error, number, code, words
):
    app = microsoft_login.new_app()
    microsoft_login.refuse(Refusal(400, error, number, "It cannot be."))

    with pytest.raises(AuthError) as caught:
        microsoft(app).token()

    assert caught.value.code is code
    assert words in caught.value.sentence and caught.value.sentence.endswith(".")
    assert "Trace ID" not in caught.value.sentence
    assert "NAME" not in caught.value.next_step


def test_each_mistake_of_an_administrator_has_a_sentence_of_its_own(microsoft_login, microsoft):
    app = microsoft_login.new_app()
    certificate, key = new_certificate()
    made = {
        "secret": microsoft(app, client_secret="wrong"),
        "app": microsoft(app, client_id="not-there"),
        "tenant": microsoft(app, tenant_id="elsewhere.example"),
        "certificate": microsoft(
            microsoft_login.new_app(certificate=new_certificate()[0]),
            certificate=as_pem(certificate, key).decode(),
        ),
    }
    told = {}
    for name, opened in made.items():
        with pytest.raises(AuthError) as caught:
            opened.token()
        told[name] = caught.value.code
    app.secret_expired = True
    with pytest.raises(AuthError) as caught:
        microsoft(app).token()

    assert caught.value.code is codes.SECRET_EXPIRED
    assert told == {
        "secret": codes.SECRET_WRONG,
        "app": codes.APP_UNKNOWN,
        "tenant": codes.TENANT_UNKNOWN,
        "certificate": codes.CERTIFICATE_UNKNOWN,
    }


def test_a_repaired_consent_helps_at_once(microsoft_login, microsoft):
    """msal remembers an answer of 400 for a minute; a fresh client does not."""
    opened = microsoft(microsoft_login.new_app())
    microsoft_login.refuse(NO_CONSENT)
    with pytest.raises(AuthError):
        opened.token()

    assert microsoft_login.accepts(opened.token(), GRAPH)


def test_the_issuers_words_are_told_without_secrets(microsoft_login, microsoft):
    app = microsoft_login.new_app()
    microsoft_login.refuse(Refusal(400, "odd", 1, f"The secret {app.secret} is odd."))

    with pytest.raises(AuthError) as caught:
        microsoft(app).token()

    assert "is odd" in caught.value.sentence
    assert app.secret not in repr(caught.value) + caught.value.sentence


# ---------------------------------------------------------------------------- an account


@pytest.fixture
def app(microsoft_login):
    return microsoft_login.new_app(secret=None)


def signed_in(microsoft_login, opened, user=ANN):
    sign_in = opened.kind.begin_sign_in(opened.settings, opened.context)
    microsoft_login.sign_in(sign_in.code, user)
    opened.context.state = opened.kind.finish_sign_in(
        opened.settings, sign_in, opened.context.state, opened.context, lambda: False
    )
    return sign_in


def test_an_account_signs_in_with_a_code(microsoft_login, microsoft, app):
    opened = microsoft(app, account=ANN, sign_in_for=["imap", "smtp", "graph"])
    assert opened.kind.can_sign_in(opened.settings)
    with pytest.raises(AuthError) as caught:
        opened.token("imap")
    assert caught.value.code is core_codes.SIGN_IN_NEEDED
    assert "sign-in contoso" in caught.value.next_step

    sign_in = signed_in(microsoft_login, opened)

    assert sign_in.code in sign_in.message and ANN in sign_in.message
    assert "device_code" not in repr(sign_in)
    claims = microsoft_login.accepts(opened.token("imap"), OUTLOOK)
    assert claims["upn"] == ANN and claims["scp"] == "IMAP.AccessAsUser.All"
    assert microsoft_login.accepts(opened.token("graph"), GRAPH)["upn"] == ANN


def test_rotated_refresh_tokens_are_kept(microsoft_login, microsoft, app):
    """The stand-in takes each refresh token once."""
    opened = microsoft(app, account=ANN)
    signed_in(microsoft_login, opened)

    tokens = {opened.token() for _ in range(5)}

    assert len(tokens) == 5
    assert microsoft_login.grants["refresh_token"] == 5


def test_a_sign_in_that_ended_asks_for_another(microsoft_login, microsoft, app):
    opened = microsoft(app, account=ANN)
    signed_in(microsoft_login, opened)
    microsoft_login.revoke_refresh_tokens()

    with pytest.raises(AuthError) as caught:
        opened.token()

    assert caught.value.code is codes.SIGN_IN_AGAIN
    assert caught.value.next_step == "Run `postroom credential sign-in contoso`."
    signed_in(microsoft_login, opened)
    assert opened.token()


def test_another_account_that_signs_in_is_refused(microsoft_login, microsoft, app):
    opened = microsoft(app, account=ANN)

    with pytest.raises(AuthError) as caught:
        signed_in(microsoft_login, opened, "admin@contoso.example")

    assert caught.value.code is codes.OTHER_ACCOUNT
    assert "admin@contoso.example signed in" in caught.value.sentence
    assert opened.context.state is None


def test_what_ends_a_sign_in(microsoft_login, microsoft, app):
    opened = microsoft(app, account=ANN)

    def finish(stopped=lambda: False, act=lambda code: None):
        sign_in = opened.kind.begin_sign_in(opened.settings, opened.context)
        act(sign_in.code)
        opened.kind.finish_sign_in(opened.settings, sign_in, None, opened.context, stopped)

    with pytest.raises(AuthError) as caught:
        finish(act=microsoft_login.decline)
    assert caught.value.code is codes.DECLINED
    with pytest.raises(TransientError):
        finish(stopped=lambda: True)
    microsoft_login.device_seconds = 0
    with pytest.raises(AuthError) as caught:
        finish()
    assert caught.value.code is codes.CODE_EXPIRED
    app.public_client, microsoft_login.device_seconds = False, 900
    with pytest.raises(AuthError) as caught:
        finish()
    assert caught.value.code is codes.SECRET_MISSING
    assert "Allow public client flows" in " ".join(caught.value.next_step.split())


def test_a_resource_without_consent_is_told_at_the_sign_in(microsoft_login, microsoft, app):
    app.scopes = {OUTLOOK: ["IMAP.AccessAsUser.All"]}
    opened = microsoft(app, account=ANN, sign_in_for=["imap", "graph"])

    with pytest.raises(AuthError) as caught:
        signed_in(microsoft_login, opened)

    assert caught.value.code is codes.CONSENT_MISSING


# ---------------------------------------------------------------------------- network


def test_busy_is_honoured(microsoft_login, microsoft):
    app = microsoft_login.new_app()
    microsoft_login.refuse(BUSY)

    with pytest.raises(TransientError) as caught:
        microsoft(app).token()

    assert caught.value.retry_after == 7
    assert caught.value.code is core_codes.SERVER_BUSY


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"authority": "https://localhost:1"}, core_codes.PORT_REFUSED),
        ({"authority": "https://nowhere.invalid"}, core_codes.HOST_UNKNOWN),
        ({"ca_file": None}, core_codes.TLS_UNTRUSTED),
        ({"ca_file": "/nowhere/ca.pem"}, core_codes.CA_FILE_UNREADABLE),
    ],
)
def test_troubles_on_the_way_have_the_codes_of_all_transports(
    microsoft_login, microsoft, changes, code
):
    with pytest.raises((TransientError, SettingsError)) as caught:
        microsoft(microsoft_login.new_app(), **changes).token()

    assert caught.value.code is code


def test_a_cut_connection_is_a_passing_trouble(microsoft_login, microsoft):
    app = microsoft_login.new_app()
    microsoft_login.cut = True

    with pytest.raises(TransientError) as caught:
        microsoft(app).token()

    assert caught.value.code is core_codes.CONNECTION_LOST


def test_our_ca_file_wins_over_the_environment(microsoft_login, microsoft, monkeypatch, tmp_path):
    (tmp_path / "other.pem").write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "other.pem"))

    assert microsoft(microsoft_login.new_app()).token()


def test_a_proxy_that_does_not_answer_is_named(microsoft_login, microsoft, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")

    with pytest.raises(TransientError, match="proxy"):
        microsoft(microsoft_login.new_app()).token()


# ---------------------------------------------------------------------------- the check


def test_the_check_goes_step_by_step(microsoft_login, microsoft):
    app = microsoft_login.new_app(
        roles={GRAPH: ["Mail.ReadWrite", "Mail.Send"], OUTLOOK: ["IMAP.AccessAsApp"]}
    )

    steps = microsoft(app).check("graph", "imap", "smtp")

    assert {name: step.outcome for name, step in steps.items()} == {
        "settings": "ok",
        "authority": "ok",
        "token for graph": "ok",
        "rights for graph": "ok",
        "token for imap": "ok",
        "rights for imap": "ok",
        "token for smtp": "ok",
        "rights for smtp": "warn",
    }
    assert "Mail.Send" in steps["rights for graph"].detail
    assert "SMTP.SendAsApp" in steps["rights for smtp"].detail


def test_the_check_tells_missing_consent(microsoft_login, microsoft):
    steps = microsoft(microsoft_login.new_app()).check("graph")

    step = steps["rights for graph"]
    assert step.outcome == "warn"  # the rights may have been given in Exchange
    assert step.detail == "Without consent: Mail.ReadWrite, Mail.Send."
    assert "Grant admin consent" in " ".join(step.next_step.split())


def test_the_check_of_a_wrong_secret_skips_the_rest(microsoft_login, microsoft):
    secret_id = "11111111-2222-3333-4444-555555555555"

    steps = microsoft(microsoft_login.new_app(), client_secret=secret_id).check("graph")

    assert [step.outcome for step in steps.values()] == ["warn", "ok", "fail", "skip"]
    assert "Value" in steps["token for graph"].next_step


def test_the_check_of_an_unknown_tenant_ends_at_the_authority(microsoft_login, microsoft):
    steps = microsoft(microsoft_login.new_app(), tenant_id="nowhere.example").check("graph")

    assert [step.outcome for step in steps.values()] == ["ok", "fail", "skip", "skip"]
    assert "nowhere.example" in steps["authority"].detail
