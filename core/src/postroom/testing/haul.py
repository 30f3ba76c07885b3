"""What one run of ``fetch`` brought, checked for its form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from postroom.api import Checkpoint, Fetched, Listed, Oversized, Spool, Unavailable
from postroom.testing.expectations import expect

Choice = Callable[[Sequence[Listed]], Collection[str]]


def everything(page: Sequence[Listed]) -> Collection[str]:
    """Want all."""
    return [item.ref for item in page]


def nothing(page: Sequence[Listed]) -> Collection[str]:  # noqa: ARG001
    """Want none."""
    return []


@dataclass(slots=True)
class Haul:
    """What was asked and what was yielded, in order."""

    choose: Choice = everything
    pages: list[list[Listed]] = field(default_factory=list)
    """What `wanted` was asked."""
    wanted: set[str] = field(default_factory=set)
    deliveries: list[Any] = field(default_factory=list)
    """What was yielded; messages without their bytes, those are in `raws`."""
    raws: dict[str, bytes] = field(default_factory=dict)
    spooled: set[str] = field(default_factory=set)
    unavailable: dict[str, Unavailable] = field(default_factory=dict)
    oversized: dict[str, Oversized] = field(default_factory=dict)
    cursors: list[str] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def cursor(self) -> str:
        """The last checkpoint's."""
        expect(
            self.cursors,
            "a run of fetch that ends well yields a Checkpoint.",
            because="without one each visit lists everything anew.",
            yielded=self.deliveries,
        )
        return self.cursors[-1]

    @property
    def refs(self) -> list[str]:
        """Of the messages that were yielded with their bytes, in order."""
        return list(self.raws)

    @property
    def asked(self) -> set[str]:
        """Every ref that `wanted` was asked about."""
        return {item.ref for page in self.pages for item in page}

    def ask(self, page: Sequence[Listed]) -> Collection[str]:
        """Answer as the core's `wanted`."""
        for item in page:
            check_listed(item)
        self.pages.append(list(page))
        chosen = self.choose(page)
        self.wanted.update(chosen)
        return chosen

    def take(self, deliveries: Iterator[Any]) -> None:
        """Read to the end."""
        for one in deliveries:
            self.take_one(one)

    def take_one(self, one: Any) -> None:
        """Note a delivery; a spool is read and closed."""
        if isinstance(one, Fetched):
            self._take_message(one)
        elif isinstance(one, Unavailable):
            self._expect_new(one.ref)
            self.unavailable[one.ref] = one
        elif isinstance(one, Oversized):
            self._expect_new(one.ref)
            self.oversized[one.ref] = one
        elif isinstance(one, Checkpoint):
            self.cursors.append(one.cursor)
        else:
            expect(
                False,
                "fetch yields Fetched, Unavailable, Oversized and Checkpoint.",
                because="the core passes over what it does not know.",
                yielded=one,
            )
        self.deliveries.append(one)

    def _take_message(self, one: Fetched) -> None:
        self._expect_new(one.ref)
        if isinstance(one.raw, Spool):
            self.spooled.add(one.ref)
            self.raws[one.ref] = b"".join(one.raw.pieces())
            one.raw.close()
        else:
            self.raws[one.ref] = one.raw

    def _expect_new(self, ref: str) -> None:
        expect(
            ref not in self.raws and ref not in self.unavailable and ref not in self.oversized,
            "each message is yielded once in a run.",
            because="every ref gets exactly one receipt (invariant 1).",
            yielded_again=ref,
        )
        expect(
            ref in self.wanted,
            "only what `wanted` chose is yielded, after it was asked.",
            because="the ledger decides what is downloaded (invariant 3).",
            not_wanted=ref,
        )


def check_listed(item: Any) -> None:
    """Fail unless it is a `Listed` as the core can keep it."""
    expect(
        isinstance(item, Listed)
        and isinstance(item.ref, str)
        and item.ref
        and "\0" not in item.ref,
        "a listing holds Listed, with a ref that is a text, not empty and without NUL.",
        because="the ref is stored in the ledger, in SQLite and in PostgreSQL.",
        listed=item,
    )
    expect(
        item.size is None or (isinstance(item.size, int) and item.size >= 0),
        "Listed.size is a number of bytes, or None where the server does not say.",
        because="it is compared with max_message_bytes, and with the size of the next listing.",
        listed=item,
    )
    expect(
        item.received_at is None or item.received_at.utcoffset() == timedelta(0),
        "Listed.received_at is aware and in UTC, or None where the server does not say.",
        because="it is compared with the mailbox's start.",
        listed=item,
    )
