"""`SenderConformance`: subclass and fill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.testing.cases_description import DescriptionCases, SettingsCases
from postroom.testing.cases_session import SessionCases
from postroom.testing.harness import SenderHarness
from postroom.testing.installed import Installed
from postroom.testing.sender_bench import SenderBench
from postroom.testing.sender_cases_faults import SenderFaultCases
from postroom.testing.sender_cases_outbox import OutboxCases
from postroom.testing.sender_cases_sending import SendingCases
from postroom.testing.workplace import Workplace


class SenderConformance(
    SendingCases,
    SenderFaultCases,
    OutboxCases,
    SessionCases,
    SettingsCases,
    DescriptionCases,
):
    """What a sender has to keep. Set `transport` and give the fixture `harness`."""

    @pytest.fixture
    def harness(self) -> SenderHarness:
        """Return the server's side, anew for each case. To be overridden."""
        pytest.fail("give the fixture `harness`", pytrace=False)

    @pytest.fixture
    def bench(self, harness: SenderHarness, tmp_path: Path) -> Iterator[SenderBench]:
        """Where the cases work."""
        bench = SenderBench(self.transport, harness, tmp_path)
        yield bench
        bench.close()

    @pytest.fixture
    def database(self, tmp_path: Path) -> str:
        """Return the URL of a new database for the cases that run the core. Override it to have
        them on another one; empty or with postroom's tables."""
        return f"sqlite:///{tmp_path}/kit.db"

    @pytest.fixture
    def installed(self, bench: SenderBench, database: str, tmp_path: Path) -> Iterator[Installed]:
        """A whole postroom around the transport."""
        with Installed(database, tmp_path, self.transport, bench.context) as installed:
            yield installed

    @pytest.fixture
    def workplace(self, bench: SenderBench) -> Workplace[Any]:
        """The same, for the cases of both kinds."""
        return bench
