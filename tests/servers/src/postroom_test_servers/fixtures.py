"""The pytest fixtures; each server in a module of its own, started once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from postroom_test_servers.dovecot import Dovecot, introspection, running_dovecot
from postroom_test_servers.google_login import GoogleLogin
from postroom_test_servers.graph import GraphServer
from postroom_test_servers.graph_contract import Witness
from postroom_test_servers.microsoft_login import MicrosoftLogin
from postroom_test_servers.scripted import ScriptedServer, Step
from postroom_test_servers.smtp import SmtpServer
from postroom_test_servers.stores import Databases, installation, opened
from postroom_test_servers.tls import PrivateAuthority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> PrivateAuthority:
    """A private certificate authority."""
    return PrivateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def dovecot(authority: PrivateAuthority) -> Iterator[Dovecot]:
    """A Dovecot with all it can do; `dovecot.new_user()` makes an account."""
    with running_dovecot(authority.issue("localhost", "127.0.0.1")) as server:
        yield server


@pytest.fixture(scope="session")
def plain_dovecot(authority: PrivateAuthority) -> Iterator[Dovecot]:
    """A Dovecot that offers no MOVE, UIDPLUS, IDLE or ID."""
    certificate = authority.issue("localhost", "127.0.0.1")
    with running_dovecot(certificate, extra="imap_capability = IMAP4rev1 CHILDREN") as server:
        yield server


@pytest.fixture(scope="session")
def token_dovecot(
    authority: PrivateAuthority, running_microsoft_login: MicrosoftLogin
) -> Iterator[Dovecot]:
    """A Dovecot that takes tokens of `microsoft_login`, by XOAUTH2 and OAUTHBEARER."""
    url = f"{running_microsoft_login.authority}/any/introspect"
    certificate = authority.issue("localhost", "127.0.0.1")
    with (
        introspection(url, authority.ca_file) as extra,
        running_dovecot(certificate, extra=extra) as server,
    ):
        yield server


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """An SMTP server in clear, without log-in."""
    with SmtpServer() as server:
        yield server


@pytest.fixture
def start_smtp(authority: PrivateAuthority) -> Iterator[Callable[..., SmtpServer]]:
    """Start SMTP servers: ``start_smtp(security="tls", users={"info": "secret"})``; the
    certificate is for localhost, of `authority`."""
    with ExitStack() as stack:

        def start(**options: Any) -> SmtpServer:
            if options.get("security", "none") != "none":
                options.setdefault("tls", authority.server_context("localhost", "127.0.0.1"))
            return stack.enter_context(SmtpServer(**options))

        yield start


@pytest.fixture
def graph_server(authority: PrivateAuthority) -> Iterator[GraphServer]:
    """Microsoft Graph, its requests and answers judged by Microsoft's description of it."""
    witness = Witness()
    with GraphServer(authority.server_context("localhost", "127.0.0.1")) as server:
        server.witness = witness
        yield server
    assert not witness.complaints, witness.complaints[:10]


@pytest.fixture
def start_scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Start servers that follow a script, connection by connection."""
    with ExitStack() as stack:

        def start(*scripts: list[Step]) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(*scripts))

        yield start


@pytest.fixture(scope="session")
def running_microsoft_login(authority: PrivateAuthority) -> Iterator[MicrosoftLogin]:
    """Microsoft's login, one for the session."""
    with MicrosoftLogin(authority.server_context("localhost", "127.0.0.1")) as server:
        yield server


@pytest.fixture
def microsoft_login(running_microsoft_login: MicrosoftLogin) -> MicrosoftLogin:
    """Microsoft's login without any app; `microsoft_login.new_app()` registers one."""
    running_microsoft_login.reset()
    return running_microsoft_login


@pytest.fixture(scope="session")
def running_google_login(authority: PrivateAuthority) -> Iterator[GoogleLogin]:
    """Google's token endpoint, one for the session."""
    with GoogleLogin(authority.server_context("localhost", "127.0.0.1")) as server:
        yield server


@pytest.fixture
def google_login(running_google_login: GoogleLogin) -> GoogleLogin:
    """Google's token endpoint without any account."""
    running_google_login.reset()
    return running_google_login


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases; ends PostgreSQL when all is done."""
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path
) -> Iterator[str]:
    """A new database with postroom's schema, on each kind; this process is configured for it."""
    with databases.new(request.param) as url, installation(url, tmp_path):
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path
) -> Iterator[str]:
    """A new database without any table, on each kind; this process is configured for it."""
    with databases.new(request.param, empty=True) as url, installation(url, tmp_path):
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[str]:
    """The database, opened in this thread; its URL. No segment is there yet."""
    with opened(database_url):
        yield database_url
