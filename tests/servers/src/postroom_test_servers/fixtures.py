"""The pytest fixtures; each server in a module of its own, started once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from postroom_test_servers.dovecot import Dovecot, running_dovecot
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
