"""A transport whose server is a shelf in this process: for what the core does, without a network.

Mail is put on the shelf by `Shelf.put`; what is sent lies in `Shelf.sent`. A test scripts what goes
wrong: `unreadable`, `on_fetch`, `send_results`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from postroom.api import (
    CANNOT_TELL,
    Capability,
    Checkpoint,
    CheckStep,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Outgoing,
    Oversized,
    Receiver,
    Sender,
    SendResult,
    Settled,
    Transport,
    Unavailable,
)
from postroom.api.errors import TransportError
from postroom.api.settings import TransportSettings
from postroom.api.transport import Delivery, Lookup, Unsettled, Wanted


@dataclasses.dataclass(slots=True)
class Item:
    """A message on the shelf."""

    ref: str
    raw: bytes
    received_at: datetime | None
    conversation: str | None = None
    seen: bool = False


class Shelf:
    """The server: what lies there, what was downloaded and sent, and what is to go wrong."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.moved: dict[str, list[Item]] = {}
        self.visits = 0
        self.downloads: list[str] = []
        self.settled: list[str] = []
        self.sent: list[Outgoing] = []
        self.unreadable: dict[str, TransportError] = {}
        self.has_dates = True
        self.has_sizes = True
        self.broken: BaseException | None = None
        """Raised whenever a receiver is asked for anything."""
        self.on_fetch: Callable[[str], None] = lambda _ref: None
        """Called before each download; may raise."""
        self.on_settle: Callable[[str], None] = lambda _ref: None
        self.on_send: Callable[[Outgoing], SendResult] = lambda outgoing: SendResult(
            accepted=outgoing.recipients, reply="250 2.0.0 taken"
        )
        """Called for each attempt; may raise. `sent` has what was accepted for anyone."""
        self.on_find: Callable[[str], Lookup] = lambda _message_id: CANNOT_TELL
        self._numbers = itertools.count(1)

    def put(
        self,
        *raws: bytes,
        received_at: datetime | None = None,
        ref: str | None = None,
        conversation: str | None = None,
    ) -> list[str]:
        """Put messages on the shelf; return their refs."""
        refs = []
        for raw in raws:
            name = ref or f"shelf;{next(self._numbers)}"
            self.items[name] = Item(name, raw, received_at or datetime.now(UTC), conversation)
            refs.append(name)
        return refs

    def listed(self, item: Item) -> Listed:
        """Return how the server lists it."""
        return Listed(
            item.ref,
            item.received_at if self.has_dates else None,
            len(item.raw) if self.has_sizes else None,
        )

    def rename_all(self) -> None:
        """Give every message another ref, as after a change of UIDVALIDITY."""
        items, self.items = list(self.items.values()), {}
        for item in items:
            item.ref = f"shelf;{next(self._numbers)}"
            self.items[item.ref] = item


class ShelfSettings(TransportSettings):
    """The shelf needs none."""

    shelf: str = "the only one"


class ShelfReceiver(Receiver):
    """Takes from the shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Ask in pages of fifty, as a server's plugin would."""
        self._shelf.visits += 1
        self._check()
        items = list(self._shelf.items.values())
        for i in range(0, len(items), 50):
            page = items[i : i + 50]
            chosen = wanted([self._shelf.listed(item) for item in page])
            for item in page:
                if item.ref in chosen and item.ref in self._shelf.items:
                    yield self._deliver(item, limits)
        yield Checkpoint(str(len(items)))

    def _deliver(self, item: Item, limits: Limits) -> Delivery:
        self._shelf.on_fetch(item.ref)
        listed = self._shelf.listed(item)
        if item.ref in self._shelf.unreadable:
            error = self._shelf.unreadable[item.ref]
            return Unavailable(item.ref, error, listed.received_at, listed.size)
        if len(item.raw) > limits.max_message_bytes:
            return Oversized(item.ref, len(item.raw), listed.received_at)
        self._shelf.downloads.append(item.ref)
        return Fetched(item.ref, item.raw, item.received_at, item.conversation)

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Confirm one by one."""
        self._check()
        for ref in refs:
            self._shelf.on_settle(ref)
            item = self._shelf.items.get(ref)
            if item is not None and disposition.action == "seen":
                item.seen = True
            elif item is not None:
                del self._shelf.items[ref]
                if disposition.action == "move":
                    self._shelf.moved.setdefault(disposition.folder or "", []).append(item)
            self._shelf.settled.append(ref)
            yield Settled(ref)

    def list_refs(self) -> Iterator[Listed]:
        """List all."""
        self._check()
        yield from [self._shelf.listed(item) for item in self._shelf.items.values()]

    def check(self) -> Iterator[CheckStep]:
        """Nothing to check."""
        yield CheckStep("shelf", "ok")

    def _check(self) -> None:
        if self._shelf.broken is not None:
            raise self._shelf.broken

    def interrupt(self) -> None:
        """Nothing blocks."""

    def close(self) -> None:
        """Nothing is open."""


class ShelfSender(Sender):
    """Puts what is sent onto the shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        """Do what the test says."""
        result = self._shelf.on_send(outgoing)
        if result.accepted:
            self._shelf.sent.append(dataclasses.replace(outgoing, recipients=result.accepted))
        return result

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        """Say what the test says."""
        return self._shelf.on_find(message_id)

    def check(self) -> Iterator[CheckStep]:
        """Nothing to check."""
        yield CheckStep("shelf", "ok")

    def interrupt(self) -> None:
        """Nothing blocks."""

    def close(self) -> None:
        """Nothing is open."""


class ShelfTransport(Transport):
    """The transport ``shelf``."""

    name = "shelf"
    title = "Shelf"
    capabilities = (
        Capability.SEEN
        | Capability.MOVE
        | Capability.DELETE
        | Capability.RECEIVED_DATES
        | Capability.EXACT_BYTES
        | Capability.ENVELOPE
        | Capability.FIND_SENT
    )

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def receiver_settings(self) -> type[TransportSettings]:
        """Return the settings."""
        return ShelfSettings

    def sender_settings(self) -> type[TransportSettings]:
        """Return the settings."""
        return ShelfSettings

    def open_receiver(self, settings: Any, context: Any) -> Receiver:
        """Return a receiver."""
        return ShelfReceiver(self._shelf)

    def open_sender(self, settings: Any, context: Any) -> Sender:
        """Return a sender."""
        return ShelfSender(self._shelf)
