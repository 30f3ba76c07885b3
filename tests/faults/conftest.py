"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from postroom_test_servers.crash_cases import Servers, crash_servers
from postroom_test_servers.desk import kept_logging

__all__ = ["crash_servers"]


@pytest.fixture(scope="session")
def servers(crash_servers: Servers) -> Servers:
    """Dovecot, an SMTP server, databases."""
    return crash_servers


@pytest.fixture
def pass_time() -> Callable[[], None]:
    """As if the process that ran had ended, and the time had passed that mail waits for its next
    try."""
    from postroom.store.models import Outbox, Side

    def forget() -> None:
        Side.update(lease_owner=None, leased_until=None).execute()
        Outbox.update(next_try_at=None).where(Outbox.state == "queued").execute()

    return forget


@pytest.fixture
def run_once() -> Callable[[], int]:
    """Do what ``run --once`` does in this process; returns its exit code."""
    from postroom import plugins
    from postroom.intake.understanding.understood import IN_PLACE
    from postroom.runner.runner import Runner

    def run() -> int:
        with kept_logging():
            runner = Runner(plugins.load(), workers=1)
            runner._understanding = IN_PLACE
            return runner.run_once().exit_code

    return run
