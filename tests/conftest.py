"""What the tests that cross packages share; the servers come from `postroom_test_servers`."""

from __future__ import annotations

import signal
from pathlib import Path
from types import ModuleType

import pytest
from postroom_test_servers.desk import PASSWORD, PASSWORD_VARIABLE, Desk
from postroom_test_servers.dovecot import Account, Dovecot
from postroom_test_servers.loading import load

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background by a script; what tests start and interrupt would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def desk(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An installation with an empty database, on each kind."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return Desk(tmp_path)


@pytest.fixture
def account(dovecot: Dovecot) -> Account:
    """A new account on a real Dovecot."""
    return dovecot.new_user(password=PASSWORD)


@pytest.fixture(scope="session")
def corpus() -> ModuleType:
    """The generator of nasty messages: `MESSAGES`, `LARGE`, `raw_of`."""
    return load(Path(__file__).parent / "corpus" / "make_corpus.py")
