"""What conformance of receivers and of senders shares: cases, and the fixtures they work with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.testing.cases_description import DescriptionCases, SettingsCases
from postroom.testing.cases_session import SessionCases
from postroom.testing.installed import Installed
from postroom.testing.workplace import Workplace


class TransportConformance(SessionCases, SettingsCases, DescriptionCases):
    """What both sides of a transport have to keep."""

    @pytest.fixture
    def harness(self) -> Any:
        """Return the server's side, anew for each case, its mailbox empty. To be overridden."""
        pytest.fail("give the fixture `harness`", pytrace=False)

    @pytest.fixture
    def bench(self, workplace: Workplace[Any]) -> Workplace[Any]:
        """Where the cases of one side work."""
        return workplace

    @pytest.fixture
    def workplace(self, harness: Any, tmp_path: Path) -> Iterator[Workplace[Any]]:
        """The same, for the cases of both sides."""
        workplace = self.new_workplace(harness, tmp_path)
        yield workplace
        workplace.close()

    def new_workplace(self, harness: Any, folder: Path) -> Workplace[Any]:
        """Return where the cases work."""
        raise NotImplementedError

    @pytest.fixture
    def database(self, tmp_path: Path) -> str:
        """Return the URL of a new database for the cases that run the core. Override it to have
        them on another one; empty or with postroom's tables."""
        return f"sqlite:///{tmp_path}/kit.db"

    @pytest.fixture
    def installed(
        self, workplace: Workplace[Any], database: str, tmp_path: Path
    ) -> Iterator[Installed]:
        """A whole postroom around the transport."""
        with Installed(database, tmp_path, self.transport, workplace.context) as installed:
            yield installed
