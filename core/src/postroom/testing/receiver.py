"""`ReceiverConformance`: subclass and fill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postroom.testing.receiver_bench import ReceiverBench
from postroom.testing.receiver_cases_cursor import CursorCases
from postroom.testing.receiver_cases_faults import FaultCases
from postroom.testing.receiver_cases_fetching import FetchingCases
from postroom.testing.receiver_cases_intake import IntakeCases
from postroom.testing.receiver_cases_listing import ListingCases
from postroom.testing.receiver_cases_settling import SettlingCases
from postroom.testing.transport import TransportConformance


class ReceiverConformance(
    ListingCases,
    FetchingCases,
    CursorCases,
    SettlingCases,
    FaultCases,
    IntakeCases,
    TransportConformance,
):
    """What a receiver has to keep. Set `transport` and give the fixture `harness`."""

    def new_workplace(self, harness: Any, folder: Path) -> ReceiverBench:
        """Return where the cases work."""
        return ReceiverBench(self.transport, harness, folder)
