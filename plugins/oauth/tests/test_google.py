"""Tokens of Google, from the stand-in of its token endpoint."""

from __future__ import annotations

import json

import pytest
from postroom.api import AuthError, SettingsError, TransientError
from postroom.api import codes as core_codes
from postroom_oauth import codes


def test_a_service_account_acts_for_each_mailbox(google_login, google):
    opened = google(service_account=google_login.new_service_account())

    tokens = [opened.token("imap", mailbox) for mailbox in ("a@x.org", "b@x.org")]

    assert [google_login.accepts(token) for token in tokens] == ["a@x.org", "b@x.org"]
    key = opened.kind.token_key
    assert key(opened.settings, "imap", "a@x.org") == key(opened.settings, "smtp", "A@x.org")
    assert key(opened.settings, "imap", "a@x.org") != key(opened.settings, "imap", "b@x.org")


def test_a_subject_is_acted_for_instead(google_login, google):
    opened = google(service_account=google_login.new_service_account(), subject="desk@x.org")

    assert google_login.accepts(opened.token("imap", "a@x.org")) == "desk@x.org"


def test_a_refresh_token_is_for_one_account(google_login, google):
    identity, secret, refresh = google_login.new_client()
    opened = google(
        client_id=identity,
        client_secret=secret,
        refresh_token=refresh,
        token_uri=google_login.token_uri,
    )

    assert google_login.accepts(opened.token("imap")) == "consented"
    google_login.revoke()
    with pytest.raises(AuthError) as caught:
        opened.token("imap")
    assert caught.value.code is codes.CONSENT_ENDED


def test_graph_is_not_for_google(google_login, google):
    opened = google(service_account=google_login.new_service_account())

    with pytest.raises(SettingsError) as caught:
        opened.kind.token_key(opened.settings, "graph", "a@x.org")

    assert caught.value.code is core_codes.CREDENTIAL_UNFIT


def refusal(opened, mailbox="a@x.org"):
    with pytest.raises(AuthError) as caught:
        opened.token("imap", mailbox)
    assert "NAME" not in caught.value.next_step and '"contoso"' in caught.value.sentence
    return caught.value


def test_each_refusal_has_a_sentence_of_its_own(google_login, google):
    opened = google(service_account=google_login.new_service_account())
    google_login.users = {"a@x.org"}
    unknown = refusal(opened, "nobody@x.org")
    assert unknown.code is codes.USER_UNKNOWN and "nobody@x.org" in unknown.sentence
    assert unknown.only_this_token

    undelegated = refusal(google(service_account=google_login.new_service_account(scopes=set())))
    assert undelegated.code is codes.NOT_DELEGATED and not undelegated.only_this_token

    other = json.loads(google_login.new_service_account())
    other["client_email"] = json.loads(google_login.new_service_account())["client_email"]
    assert refusal(google(service_account=json.dumps(other))).code is codes.KEY_REFUSED

    broken = other | {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n"}
    assert "cannot be used" in refusal(google(service_account=json.dumps(broken))).sentence

    client = google(
        client_id="x", client_secret="y", refresh_token="z", token_uri=google_login.token_uri
    )
    assert refusal(client).code is codes.CLIENT_REFUSED


def test_busy_is_a_passing_trouble(google_login, google):
    opened = google(service_account=google_login.new_service_account())
    google_login.status = 503

    with pytest.raises(TransientError) as caught:
        opened.token("imap")

    assert caught.value.code is core_codes.SERVER_BUSY


def test_the_check_goes_step_by_step(google_login, google):
    opened = google(service_account=google_login.new_service_account())

    assert [step.outcome for step in opened.check("imap").values()] == ["ok", "ok"]
    assert [s.outcome for s in opened.check("imap", mailbox="").values()] == ["ok", "skip"]
    google_login.users = {"b@x.org"}
    assert [step.outcome for step in opened.check("imap").values()] == ["ok", "fail"]
