"""Credentials of Microsoft and Google from the command line to the mail server: one token for all,
nothing secret anywhere."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from postroom import plugins
from postroom.admin import credential_check
from postroom.api import AuthError, Token
from postroom.credentials import credentials, token_memory, tokens
from postroom.store.models import Credential, CredentialToken
from postroom_test_servers.dovecot import Dovecot, introspection, running_dovecot
from postroom_test_servers.google_login import GoogleLogin
from postroom_test_servers.microsoft_login import (
    GRAPH,
    OUTLOOK,
    MicrosoftLogin,
    Refusal,
    as_pem,
    as_pfx,
    new_certificate,
)
from postroom_test_servers.tls import PrivateAuthority

pytestmark = pytest.mark.usefixtures("store")
ROLES = {GRAPH: ["Mail.ReadWrite", "Mail.Send"], OUTLOOK: ["IMAP.AccessAsApp"]}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")


@pytest.fixture
def command() -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        from postroom.cli import cli

        return CliRunner().invoke(cli, arguments)

    return run


@pytest.fixture
def contoso(microsoft_login: MicrosoftLogin, authority: PrivateAuthority) -> dict[str, Any]:
    """The settings of an app of the stand-in, with a secret."""
    app = microsoft_login.new_app(roles=ROLES)
    return {
        "tenant_id": app.tenant,
        "client_id": app.client_id,
        "client_secret": app.secret,
        "authority": microsoft_login.authority,
        "ca_file": str(authority.ca_file),
    }


def token(mailbox: str, purpose: str = "graph", rejected: Token | None = None) -> str:
    return tokens.token("contoso", purpose, mailbox, rejected=rejected).value


# ---------------------------------------------------------------------------- one for all


def test_two_hundred_mailboxes_share_one_token(
    microsoft_login: MicrosoftLogin, contoso: dict[str, Any]
) -> None:
    credentials.put("contoso", "microsoft", contoso)

    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(token, [f"box{number}@contoso.example" for number in range(200)]))

    assert len(found) == 1
    assert microsoft_login.requests["token"] == 1
    assert microsoft_login.grants == {"client_credentials": 1}


def test_memory_does_not_grow_with_fetches(
    microsoft_login: MicrosoftLogin, contoso: dict[str, Any]
) -> None:
    """Each fetch makes a client of msal's; none of them is kept."""
    credentials.put("contoso", "microsoft", contoso)
    for _ in range(3):
        tokens.new_token("contoso", "graph", "info@contoso.example")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(200):
            if number % 20 == 0:
                tokens.new_token("contoso", "graph", "info@contoso.example")
            token(f"box{number}@contoso.example")
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert grown < 1_000_000


_PROCESS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from postroom import places
from postroom.credentials import tokens
from postroom.store import database
database.connect(places.database_url())
print("ready", flush=True)
sys.stdin.readline()
def ask(number):
    return tokens.token("contoso", "graph", f"box{number}@contoso.example").value
with ThreadPoolExecutor(5) as pool:
    print(len(set(pool.map(ask, range(20)))), flush=True)
"""


def test_processes_share_one_token(
    microsoft_login: MicrosoftLogin, contoso: dict[str, Any]
) -> None:
    credentials.put("contoso", "microsoft", contoso)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout and process.stdout.readline() == "ready\n"
    results = [process.communicate("go\n", timeout=90)[0] for process in started]

    assert results == ["1\n"] * 3
    assert microsoft_login.requests["token"] == 1


def test_a_revoked_token_is_replaced_once_for_all(
    microsoft_login: MicrosoftLogin, contoso: dict[str, Any]
) -> None:
    credentials.put("contoso", "microsoft", contoso)
    old = Token(token("info@contoso.example"))
    microsoft_login.revoke_tokens()

    with ThreadPoolExecutor(10) as pool:
        found = set(pool.map(lambda n: token(f"box{n}@x.org", rejected=old), range(50)))

    assert len(found) == 1 and old.value not in found
    assert microsoft_login.accepts(found.pop(), GRAPH)
    assert microsoft_login.requests["token"] == 2


def test_a_wrong_secret_is_tried_once_for_all_until_it_is_replaced(
    microsoft_login: MicrosoftLogin, contoso: dict[str, Any]
) -> None:
    credentials.put("contoso", "microsoft", contoso | {"client_secret": "wrong"})
    for number in range(50):
        with pytest.raises(AuthError, match="does not know this client secret"):
            token(f"box{number}@contoso.example")
    assert microsoft_login.requests["token"] == 1

    credentials.put("contoso", "microsoft", contoso)

    assert token("info@contoso.example")


# ---------------------------------------------------------------------------- from a shell


def test_a_credential_is_set_up_from_a_shell(
    microsoft_login: MicrosoftLogin,
    contoso: dict[str, Any],
    command: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONTOSO_SECRET", "wrong")
    options = [
        *("--tenant-id", contoso["tenant_id"], "--client-id", contoso["client_id"]),
        *("--authority", contoso["authority"], "--ca-file", contoso["ca_file"]),
        *("--client-secret-env", "CONTOSO_SECRET", "--expires-at", "2031-05-01"),
    ]
    added = command("credential", "add", "contoso", "microsoft", *options)
    assert added.exit_code == 0, added.output

    refused = command("credential", "check", "contoso", "--json")
    assert refused.exit_code == 1
    steps = {row["step"]: row for row in map(json.loads, refused.stdout.splitlines())}
    assert steps["authority"]["outcome"] == "ok"
    assert steps["token for graph"]["outcome"] == "fail"
    assert "Value (not its ID)" in steps["token for graph"]["next_step"]
    assert steps["rights for graph"]["outcome"] == "skip"

    monkeypatch.setenv("CONTOSO_SECRET", contoso["client_secret"])
    assert (
        command(
            "credential", "replace", "contoso", "--client-secret-env", "CONTOSO_SECRET"
        ).exit_code
        == 0
    )
    checked = command("credential", "check", "contoso")
    assert checked.exit_code == 0, checked.output
    assert "Mail.Send" in checked.stdout


@pytest.mark.parametrize("form", ["pem", "pfx"])
def test_a_certificate_file_is_sealed_and_its_end_known(
    microsoft_login: MicrosoftLogin,
    contoso: dict[str, Any],
    command: Callable[..., Result],
    tmp_path: Path,
    form: str,
) -> None:
    certificate, key = new_certificate(days=20)
    app = microsoft_login.new_app(certificate=certificate, roles=ROLES)
    path = tmp_path / f"postroom.{form}"
    path.write_bytes(as_pem(certificate, key) if form == "pem" else as_pfx(certificate, key))
    text = f"""
[[credential]]
name = "contoso"
kind = "microsoft"
tenant_id = "{app.tenant}"
client_id = "{app.client_id}"
certificate_file = "{path}"
authority = "{contoso["authority"]}"
ca_file = "{contoso["ca_file"]}"
"""
    (tmp_path / "x.toml").write_text(text)

    applied = command("apply", str(tmp_path / "x.toml"))
    path.unlink()

    assert applied.exit_code == 0, applied.output
    assert token("info@contoso.example")
    [row] = map(json.loads, command("credential", "list", "--json").stdout.splitlines())
    assert row["expires_in_days"] == 19
    assert command("status").exit_code == 0
    again = (tmp_path / "x.toml").read_text().replace(str(path), "gone.pem")
    (tmp_path / "x.toml").write_text(again)
    assert "gone.pem cannot be read" in command("apply", str(tmp_path / "x.toml")).stderr


# ---------------------------------------------------------------------------- to the mail server


def test_mail_is_retrieved_with_the_token_of_an_account(
    microsoft_login: MicrosoftLogin,
    contoso: dict[str, Any],
    token_dovecot: Dovecot,
    command: Callable[..., Result],
    tmp_path: Path,
) -> None:
    account = token_dovecot.new_user()
    account.append(b"From: Ann <ann@x.org>\nSubject: Where?\nMessage-ID: <1@x.org>\n\nWhere?\n")
    app = microsoft_login.new_app(secret=None)
    (tmp_path / "x.toml").write_text(f"""
[[credential]]
name = "contoso"
kind = "microsoft"
tenant_id = "{app.tenant}"
client_id = "{app.client_id}"
account = "{account.name}"
sign_in_for = ["imap"]
authority = "{contoso["authority"]}"
ca_file = "{contoso["ca_file"]}"
[[mailbox]]
address = "info@example.org"
start = "all"
[mailbox.incoming]
transport = "imap"
host = "localhost"
port = {token_dovecot.imaps}
username = "{account.name}"
credential = "contoso"
ca_file = "{contoso["ca_file"]}"
""")
    applied = command("apply", str(tmp_path / "x.toml"))
    assert applied.exit_code == 0, applied.output
    early = command("run", "--once")
    assert early.exit_code == 3
    [error] = map(
        json.loads, command("mailbox", "errors", "info@example.org", "--json").stdout.splitlines()
    )
    assert error["code"] == "SIGN-IN-NEEDED"
    assert error["next_step"].startswith("Run `postroom credential sign-in contoso`")

    def be_the_person() -> None:
        credential = credentials.find("contoso")
        begun = credential_check.begin_sign_in(credential, plugins.load())
        microsoft_login.sign_in(begun.code, account.name)
        credential_check.finish_sign_in(credential, begun, plugins.load())

    be_the_person()

    assert command("run", "--once").exit_code == 0
    listed = command("question", "list", "--json").stdout
    assert json.loads(listed)["subject"] == "Where?"
    for _ in range(3):  # each fetch hands a new refresh token out, and ends the one before
        tokens.new_token("contoso", "imap", "info@example.org")
    microsoft_login.revoke_tokens()
    account.append(b"From: Ann <ann@x.org>\nSubject: There\nMessage-ID: <2@x.org>\n\nThere\n")
    assert command("run", "--once").exit_code == 0
    assert len(command("question", "list", "--json").stdout.splitlines()) == 2


@pytest.fixture(scope="module")
def google_dovecot(
    authority: PrivateAuthority, running_google_login: GoogleLogin
) -> Iterator[Dovecot]:
    """A Dovecot that takes tokens of `google_login`, as Gmail does."""
    certificate = authority.issue("localhost", "127.0.0.1")
    with (
        introspection(running_google_login.introspection_uri, authority.ca_file) as extra,
        running_dovecot(certificate, extra=extra) as server,
    ):
        yield server


@pytest.mark.parametrize("by", ["service account", "consent"])
def test_mail_is_retrieved_with_tokens_of_google(
    by: str,
    google_login: GoogleLogin,
    google_dovecot: Dovecot,
    authority: PrivateAuthority,
    command: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    address = f"{uuid.uuid4().hex[:8]}@shop.example"
    account = google_dovecot.new_user(address)
    account.append(b"From: Ann <ann@x.org>\nSubject: Where?\nMessage-ID: <1@x.org>\n\nWhere?\n")
    google_login.consented = address
    (tmp_path / "key.json").write_text(google_login.new_service_account())
    identity, secret, refresh = google_login.new_client()
    monkeypatch.setenv("SECRET", secret)
    monkeypatch.setenv("REFRESH", refresh)
    ca_file = str(authority.ca_file)
    proof = {
        "service account": ["--service-account-file", str(tmp_path / "key.json")],
        "consent": [
            *("--client-id", identity, "--client-secret-env", "SECRET"),
            *("--refresh-token-env", "REFRESH", "--token-uri", google_login.token_uri),
        ],
    }[by]
    side = ["--host", "localhost", "--port", str(google_dovecot.imaps), "--username", address]

    for words in (
        ["credential", "add", "shop", "google", *proof, "--ca-file", ca_file],
        ["mailbox", "add", address, "--start", "all"],
        ["mailbox", "incoming", address, "imap", *side, "--credential", "shop"],
        ["mailbox", "incoming", address, "imap", "--ca-file", ca_file],
        ["credential", "check", "shop"],
        ["mailbox", "test", address],
        ["run", "--once"],
    ):
        done = command(*words)
        assert done.exit_code == 0, done.output
    google_login.revoke_tokens()
    account.append(b"From: Ann <ann@x.org>\nSubject: There\nMessage-ID: <2@x.org>\n\nThere\n")
    assert command("run", "--once").exit_code == 0

    assert len(command("question", "list", "--json").stdout.splitlines()) == 2


# ---------------------------------------------------------------------------- nothing gets out


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Log everything, and return it with everything that its records hold."""
    caplog.set_level(logging.DEBUG)
    for name in ("msal", "msal.token_cache", "urllib3", "google", "google.auth", "requests"):
        logging.getLogger(name).setLevel(logging.DEBUG)

    def read() -> str:
        held = [repr(vars(record)) for record in caplog.records]
        return caplog.text + "".join(held)

    yield read
    for name in ("msal", "msal.token_cache", "urllib3", "google", "google.auth", "requests"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def content_of(store: str) -> bytes:
    """Return the bytes of the database."""
    if store.startswith("sqlite"):
        folder = Path(store.removeprefix("sqlite:///")).parent
        return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    rows = [*Credential.select().dicts(), *CredentialToken.select().dicts()]
    held = [bytes(v) for row in rows for v in row.values() if isinstance(v, bytes | memoryview)]
    return b"".join(held) + repr(rows).encode()


def forms(secret: str) -> set[str]:
    """Return a secret as it might be written: as it is, in base64, in a form, in JSON."""
    from urllib.parse import quote_plus

    coded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {secret, coded, quote_plus(secret), json.dumps(secret)[1:-1]}


def assert_nowhere(secrets: list[str], *places: str | bytes) -> None:
    for secret in secrets:
        for form in forms(secret):
            for place in places:
                found = form.encode() in place if isinstance(place, bytes) else form in place
                assert not found, f"{form[:12]}… got out"


def test_no_secret_or_token_of_microsoft_gets_out(
    microsoft_login: MicrosoftLogin,
    contoso: dict[str, Any],
    command: Callable[..., Result],
    everything_logged: Callable[[], str],
    store: str,
) -> None:
    certificate, key = new_certificate()
    pem = as_pem(certificate, key).decode()
    by_certificate = microsoft_login.new_app(certificate=certificate, roles=ROLES)
    by_account = microsoft_login.new_app(secret=None)
    rest = {name: contoso[name] for name in ("authority", "ca_file")}
    credentials.put("contoso", "microsoft", contoso)
    credentials.put(
        "certified",
        "microsoft",
        {
            **rest,
            "tenant_id": by_certificate.tenant,
            "client_id": by_certificate.client_id,
            "certificate": pem,
        },
    )
    credentials.put(
        "personal",
        "microsoft",
        {
            **rest,
            "tenant_id": by_account.tenant,
            "client_id": by_account.client_id,
            "account": "ann@contoso.example",
        },
    )
    begun = credential_check.begin_sign_in(credentials.find("personal"), plugins.load())
    microsoft_login.sign_in(begun.code, "ann@contoso.example")
    credential_check.finish_sign_in(credentials.find("personal"), begun, plugins.load())
    printed = ""
    for name in ("contoso", "certified", "personal"):
        found = tokens.token(name, "graph", "info@contoso.example")
        tokens.token(name, "graph", "info@contoso.example", rejected=found)
        printed += command("credential", "show", name, "--json").stdout
        printed += command("credential", "check", name, "--json").stdout
        microsoft_login.before_answer = lambda request: microsoft_login.refuse(
            Refusal(400, "odd", 1, f"you said {request.body.decode()} {request.form()}")
        )
        with pytest.raises(AuthError, match="you said") as caught:
            tokens.new_token(name, "graph", "info@contoso.example")
        printed += repr(caught.value) + caught.value.sentence + caught.value.next_step
        microsoft_login.before_answer = lambda _: None
        microsoft_login.refusals.clear()
        printed += command("credential", "list", "--json").stdout
        printed += command("status", "--json").stdout + command("doctor", "--json").stdout
    body = "".join(pem.splitlines()[1:-1])
    secrets = [contoso["client_secret"], body[:60], pem.splitlines()[3], *microsoft_login.issued]
    assert len(microsoft_login.issued) > 8

    assert_nowhere(secrets, everything_logged(), printed, content_of(store), repr(begun))


def test_no_secret_or_token_of_google_gets_out(
    google_login: GoogleLogin,
    authority: PrivateAuthority,
    command: Callable[..., Result],
    everything_logged: Callable[[], str],
    store: str,
) -> None:
    account = google_login.new_service_account()
    identity, secret, refresh = google_login.new_client()
    ca_file = str(authority.ca_file)
    credentials.put("domain", "google", {"service_account": account, "ca_file": ca_file})
    credentials.put(
        "one",
        "google",
        {
            "client_id": identity,
            "client_secret": secret,
            "refresh_token": refresh,
            "token_uri": google_login.token_uri,
            "ca_file": ca_file,
        },
    )
    printed = ""
    for name in ("domain", "one"):
        found = tokens.token(name, "imap", "a@x.org")
        tokens.token(name, "imap", "a@x.org", rejected=found)
        printed += command("credential", "show", name, "--json").stdout
        printed += command("credential", "check", name, "--mailbox", "a@x.org", "--json").stdout
    google_login.reset()
    for name in ("domain", "one"):
        with pytest.raises(AuthError) as caught:
            tokens.new_token(name, "imap", "a@x.org")
        printed += repr(caught.value) + caught.value.sentence
    key = json.loads(account)["private_key"].splitlines()[3]

    assert_nowhere([key, secret, refresh], everything_logged(), printed, content_of(store))
    logged = everything_logged()
    assert "ya29." not in logged + printed and "assertion=" not in logged
    assert "eyJ" not in logged  # the beginning of every JWT


def test_each_mailbox_of_a_service_account_has_its_own_token(
    google_login: GoogleLogin, authority: PrivateAuthority
) -> None:
    account = google_login.new_service_account()
    values = {"service_account": account, "ca_file": str(authority.ca_file)}
    credentials.put("contoso", "google", values)
    google_login.users = {"a@x.org", "b@x.org"}

    with pytest.raises(AuthError, match="knows no account nobody"):
        token("nobody@x.org", "imap")
    for _ in range(3):
        assert google_login.accepts(token("a@x.org", "imap")) == "a@x.org"
        assert google_login.accepts(token("b@x.org", "smtp")) == "b@x.org"
        token_memory.forget()

    assert google_login.subjects == {"a@x.org": 1, "b@x.org": 1}
