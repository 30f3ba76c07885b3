"""`SenderConformance`: subclass and fill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postroom.testing.sender_bench import SenderBench
from postroom.testing.sender_cases_faults import SenderFaultCases
from postroom.testing.sender_cases_outbox import OutboxCases
from postroom.testing.sender_cases_sending import SendingCases
from postroom.testing.transport import TransportConformance


class SenderConformance(
    SendingCases,
    SenderFaultCases,
    OutboxCases,
    TransportConformance,
):
    """What a sender has to keep. Set `transport` and give the fixture `harness`."""

    def new_workplace(self, harness: Any, folder: Path) -> SenderBench:
        """Return where the cases work."""
        return SenderBench(self.transport, harness, folder)
