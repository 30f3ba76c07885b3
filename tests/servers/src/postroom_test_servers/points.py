"""At which points of a run a fault is tried: some in the tests, all in ``scripts/faults``."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator


def takes_all() -> bool:
    """Say whether every point is to be taken, as ``scripts/faults`` does."""
    return os.environ.get("POSTROOM_FAULTS") == "all"


def points(last: int, *, stride: int, first: int = 1) -> Iterator[int]:
    """Yield points from `first` to `last`, every `stride`-th from a random one on: in time, the
    tests see all."""
    if takes_all():
        stride = 1
    yield from range(first + random.randrange(stride), last + 1, stride)


def say(figure: str) -> None:
    """Tell a figure; ``scripts/faults`` shows what tests print."""
    print(f"\n{figure}", flush=True)
