"""`ReceiverConformance`: subclass and fill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.testing.bench import ReceiverBench
from postroom.testing.cases_description import DescriptionCases, SettingsCases
from postroom.testing.cases_session import SessionCases
from postroom.testing.harness import ReceiverHarness
from postroom.testing.installed import Installed
from postroom.testing.receiver_cases_cursor import CursorCases
from postroom.testing.receiver_cases_faults import FaultCases
from postroom.testing.receiver_cases_fetching import FetchingCases
from postroom.testing.receiver_cases_intake import IntakeCases
from postroom.testing.receiver_cases_listing import ListingCases
from postroom.testing.receiver_cases_settling import SettlingCases
from postroom.testing.workplace import Workplace


class ReceiverConformance(
    ListingCases,
    FetchingCases,
    CursorCases,
    SettlingCases,
    FaultCases,
    IntakeCases,
    SessionCases,
    SettingsCases,
    DescriptionCases,
):
    """What a receiver has to keep. Set `transport` and give the fixture `harness`."""

    @pytest.fixture
    def harness(self) -> ReceiverHarness:
        """Return the server's side, anew for each case, its mailbox empty. To be overridden."""
        pytest.fail("give the fixture `harness`", pytrace=False)

    @pytest.fixture
    def bench(self, harness: ReceiverHarness, tmp_path: Path) -> Iterator[ReceiverBench]:
        """Where the cases work."""
        bench = ReceiverBench(self.transport, harness, tmp_path)
        yield bench
        bench.close()

    @pytest.fixture
    def database(self, tmp_path: Path) -> str:
        """Return the URL of a new database for the cases that run the core. Override it to have
        them on another one; empty or with postroom's tables."""
        return f"sqlite:///{tmp_path}/kit.db"

    @pytest.fixture
    def installed(self, bench: ReceiverBench, database: str, tmp_path: Path) -> Iterator[Installed]:
        """A whole postroom around the transport."""
        with Installed(database, tmp_path, self.transport, bench.context) as installed:
            yield installed

    @pytest.fixture
    def workplace(self, bench: ReceiverBench) -> Workplace[Any]:
        """The same, for the cases of both kinds."""
        return bench
