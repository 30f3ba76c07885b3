"""The receiver. Each step is a method of its own, so that a test can break one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from postroom.api import (
    Checkpoint,
    CheckStep,
    Context,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Oversized,
    Receiver,
    Settled,
    Spool,
    TransportError,
    Unavailable,
    Unsettled,
    codes,
)
from postroom.api.transport import Delivery, Wanted

from postroom_test_servers.crow.wire import Wire

PAGE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as the server lists it; its ref is ``validity-number``."""

    ref: str
    size: int
    received_at: datetime

    @property
    def number(self) -> int:
        """Grows with every message."""
        return int(self.ref.partition("-")[2])

    @property
    def listed(self) -> Listed:
        """For the core."""
        return Listed(self.ref, self.received_at, self.size)


class CrowReceiver(Receiver):
    """Retrieves from the one folder."""

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings, self.context = settings, context
        self.wire = Wire(settings)
        self._known: str | None = None

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Page by page."""
        entries = self.entries()
        yield from self.pages(self.since(cursor, entries), limits, wanted)
        yield Checkpoint(self.cursor(entries))

    def pages(self, entries: list[Entry], limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Ask about a page, deliver what is wanted of it, say how far it got."""
        rest = iter(entries)
        while page := list(itertools.islice(rest, PAGE)):
            chosen = wanted([entry.listed for entry in page])
            for entry in page:
                if entry.ref in chosen:
                    yield from self.deliver(entry, limits)
            yield Checkpoint(self.cursor(page))

    def entries(self) -> list[Entry]:
        """Return what is there, in order of arrival."""
        [_, count] = self.wire.ask("LIST")
        found = []
        for _ in range(int(count)):
            with self.wire.errors():
                ref, size, instant = self.wire.answer()
            found.append(Entry(ref, int(size), datetime.fromtimestamp(int(instant), UTC)))
        return found

    def since(self, cursor: str | None, entries: list[Entry]) -> list[Entry]:
        """Return what the cursor does not know."""
        match = re.fullmatch(r"(\d{1,9})-(\d{1,18})", cursor or "", re.A)
        if match is None or not entries:
            return entries
        validity, number = match.groups()
        if any(entry.ref.partition("-")[0] != validity for entry in entries):
            return entries
        return [entry for entry in entries if entry.number > int(number)]

    def cursor(self, entries: list[Entry]) -> str:
        """Return the cursor after these."""
        return entries[-1].ref if entries else ""

    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        """Download one message."""
        if entry.size > limits.max_message_bytes:
            yield Oversized(entry.ref, entry.size, entry.received_at)
            return
        status, *more = self.wire.ask("GET", entry.ref)
        if status == "OK":
            raw = self.packed(self.wire.read(int(more[0])), limits)
            yield Fetched(entry.ref, raw, entry.received_at)
        elif status == "UNREADABLE":
            yield self.unavailable(entry)

    def packed(self, raw: bytes, limits: Limits) -> bytes | Spool:
        """Return the bytes, in a file where they are many."""
        if len(raw) <= limits.spool_above:
            return raw
        spool = Spool()
        spool.write(raw)
        return spool

    def unavailable(self, entry: Entry) -> Unavailable:
        """Say that a message cannot be read."""
        error = TransportError(codes.MESSAGE_UNREADABLE, f"{self.wire.where} cannot read it.")
        return Unavailable(entry.ref, error, entry.received_at, entry.size)

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """One by one."""
        for ref in refs:
            self.apply(ref, disposition)
            yield Settled(ref)

    def apply(self, ref: str, disposition: Disposition) -> None:
        """Have the server do it; a message that is gone needs nothing."""
        if disposition.action == "seen":
            self.wire.ask("SEEN", ref)
        elif disposition.action == "move":
            self.wire.ask("MOVE", ref, disposition.folder)
        elif disposition.action == "delete":
            self.wire.ask("DELETE", ref)

    def list_refs(self) -> Iterator[Listed]:
        """Yield all."""
        yield from (entry.listed for entry in self.entries())

    def wait(self, timeout: float) -> bool:
        """Have the server answer when there is something new."""
        if self._known is None:
            [self._known] = self.wire.ask("LATEST")
        if timeout == 0:
            return False
        [answer] = self.wire.ask("WAIT", self._known, timeout)
        self._known = None
        return answer == "NEWS"

    def check(self) -> Iterator[CheckStep]:
        """Log in."""
        yield from self.wire.check()

    def interrupt(self) -> None:
        """Break the connection."""
        self.wire.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self.wire.drop()
