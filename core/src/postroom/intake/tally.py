"""What one visit did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

Progress = Callable[[int, int], None]
"""Told, each time since the last, how many messages were dealt with and how many more are to be.
The second grows with the server's listing, which comes in pages."""


def no_progress(done: int, more: int) -> None:
    """Tell nobody."""


STOPPED = "It was stopped before the end; run it again to go on."
_COUNTED = ("stored", "duplicate", "ignored", "quarantined", "refused", "settled")


@dataclass(slots=True)
class Tally:
    """What one visit did."""

    stored: int = 0
    duplicate: int = 0
    ignored: int = 0
    quarantined: int = 0
    refused: int = 0
    settled: int = 0
    unsettled: int = 0
    complete: bool = False
    """Everything the server had was looked at."""

    def count(self, outcome: str) -> None:
        """Add one receipt of that outcome."""
        setattr(self, outcome, getattr(self, outcome) + 1)

    @contextmanager
    def with_commit(self) -> Iterator[None]:
        """Count in the block, which is a transaction, only if it is committed."""
        before = replace(self)
        try:
            yield
        except BaseException:
            for name in _COUNTED:
                setattr(self, name, getattr(before, name))
            raise

    def did_something(self) -> bool:
        """Say whether anything was counted."""
        return any(getattr(self, name) for name in _COUNTED)

    def in_words(self) -> str:
        """Return what was counted, for a person: ``3 stored, 1 settled``."""
        counts = [f"{getattr(self, name)} {name}" for name in _COUNTED if getattr(self, name)]
        return ", ".join(counts) or "nothing new"

    def add(self, other: Tally) -> None:
        """Add what a later visit did."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unsettled, self.complete = other.unsettled, other.complete
