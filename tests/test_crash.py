"""A run that is killed at any step loses nothing, doubles nothing, and sends nothing twice.

Here at some of the steps, spread over the run; `scripts/faults` does all.
"""

from __future__ import annotations

import random

import pytest
from postroom_test_servers.crash_cases import (
    CASES,
    Servers,
    count_steps,
    crash_servers,
    survive,
)

__all__ = ["crash_servers"]

POINTS = 6


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_loses_and_doubles_nothing(
    crash_servers: Servers, case: str, kind: str
) -> None:
    steps = count_steps(crash_servers, case, kind)
    assert steps > 50
    stride = steps // POINTS
    offset = random.randrange(stride)  # seeded anew each time: in time, every step is seen

    for step in range(1 + offset, steps, stride):
        killed = survive(crash_servers, case, kind, step)

        assert killed or step > steps * 0.8, f"step {step} of {steps}"
