"""The pytest fixtures; each server in a module of its own, started once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from postroom_test_servers.dovecot import Dovecot, running_dovecot
from postroom_test_servers.scripted import ScriptedServer, Step
from postroom_test_servers.smtp import SmtpServer
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
def start_scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Start servers that follow a script, connection by connection."""
    with ExitStack() as stack:

        def start(*scripts: list[Step]) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(*scripts))

        yield start
