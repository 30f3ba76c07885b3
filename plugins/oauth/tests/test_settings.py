"""Settings: what is wrong is said in plain words, and no secret with it."""

from __future__ import annotations

import base64

import pytest
from postroom_oauth.settings import GoogleSettings, MicrosoftSettings
from postroom_test_servers.microsoft_login import as_pem, as_pfx, new_certificate
from pydantic import ValidationError

GOOD = {"tenant_id": "contoso.example", "client_id": "app", "client_secret": "hush"}
CERTIFICATE, KEY = new_certificate()
PEM = as_pem(CERTIFICATE, KEY).decode()


def problems(model, values):
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    assert "hush" not in str(caught.value)
    return " ".join(error["msg"] for error in caught.value.errors())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tenant_id": "common"}, "id of your tenant"),
        ({"tenant_id": "../x"}, "id of your tenant"),
        ({"tenant_id": ""}, "at least 1 character"),
        ({"client_id": "a b"}, "pattern"),
        ({"authority": "http://login.example.org"}, "must be an address like https"),
        ({"authority": "https://user:hush@login.example.org"}, "no user name"),
        ({"client_secret": None}, "none of them is there"),
        ({"client_secret": " "}, "is empty"),
        ({"account": "ann@x.org"}, "client_secret and account is there"),
        ({"sign_in_for": []}, "at least 1"),
        ({"client_secret": None, "certificate": "hush!"}, "neither PEM nor PFX"),
        (
            {"client_secret": None, "certificate": PEM[PEM.index("-----BEGIN CERT") :]},
            "no private key",
        ),
        (
            {"client_secret": None, "certificate": PEM[: PEM.index("-----BEGIN CERT")]},
            "but no certificate",
        ),
        (
            {
                "client_secret": None,
                "certificate": PEM[: PEM.index("-----BEGIN CERT")]
                + as_pem(*new_certificate()).decode().partition("-----END PRIVATE KEY-----\n")[2],
            },
            "do not belong together",
        ),
        (
            {
                "client_secret": None,
                "certificate": as_pem(CERTIFICATE, KEY, "hush").decode(),
            },
            "needs a password",
        ),
        (
            {
                "client_secret": None,
                "certificate": as_pem(CERTIFICATE, KEY, "hush").decode(),
                "certificate_password": "other",
            },
            "password does not open",
        ),
        (
            {
                "client_secret": None,
                "certificate": base64.b64encode(as_pfx(CERTIFICATE, KEY, "hush")).decode(),
                "certificate_password": "other",
            },
            "no PFX that this password opens",
        ),
    ],
)
def test_what_is_wrong_with_microsofts(changes, words):
    assert words in problems(MicrosoftSettings, GOOD | changes)


def test_the_authority_may_name_the_tenant():
    settings = MicrosoftSettings.model_validate(
        GOOD | {"authority": "https://login.microsoftonline.com/contoso.example/"}
    )

    assert settings.base() == "https://login.microsoftonline.com/contoso.example"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "service_account is wanted"),
        ({"client_id": "x", "client_secret": "hush"}, "together"),
        ({"service_account": "hush"}, "is no JSON"),
        ({"service_account": '{"type": "authorized_user", "x": "hush"}'}, "no key of a service"),
        ({"service_account": '{"type": "service_account", "private_key": "hush"}'}, "client_email"),
        (
            {
                "service_account": '{"type": "service_account", "private_key": "hush", '
                '"client_email": "x", "token_uri": "http://x.org"}'
            },
            "must be an address",
        ),
        (
            {
                "service_account": '{"type": "service_account", "private_key": "hush", '
                '"client_email": "x"}',
                "refresh_token": "hush",
            },
            "exclude each other",
        ),
    ],
)
def test_what_is_wrong_with_googles(values, words):
    assert words in problems(GoogleSettings, values)
