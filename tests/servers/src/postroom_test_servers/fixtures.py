"""The pytest fixtures; each server in a module of its own, started once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from postroom_test_servers.tls import PrivateAuthority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateAuthority]:
    """A private certificate authority."""
    yield PrivateAuthority(tmp_path_factory.mktemp("authority"))
