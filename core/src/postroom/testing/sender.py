"""`SenderConformance`: subclass and fill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.testing.cases_description import DescriptionCases, SettingsCases
from postroom.testing.cases_session import SessionCases
from postroom.testing.harness import SenderHarness
from postroom.testing.sender_bench import SenderBench
from postroom.testing.sender_cases_faults import SenderFaultCases
from postroom.testing.sender_cases_sending import SendingCases
from postroom.testing.workplace import Workplace


class SenderConformance(
    SendingCases,
    SenderFaultCases,
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
    def workplace(self, bench: SenderBench) -> Workplace[Any]:
        """The same, for the cases of both kinds."""
        return bench
