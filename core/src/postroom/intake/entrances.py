"""Ways into a mailbox beside its incoming side: an import of old mail, a pipe from a mail server.

What comes through one is written down by the same `Retrieval`, with these differences: its refs
have a prefix that no incoming side's have; nothing is settled; there is no cursor, and no receipt
is closed when a listing does not show it; the mailbox's `start` does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from postroom.api.transport import (
    Checkpoint,
    CheckStep,
    Delivery,
    Disposition,
    Limits,
    Listed,
    Receiver,
    Settled,
    Transport,
    Unsettled,
    Wanted,
)
from postroom.credentials.context import SessionContext
from postroom.leases.pulse import Pulse, WatchedReceiver
from postroom.mailboxes.ledger import ENTRANCE
from postroom.store.models import Mailbox

PIPE = f"{ENTRANCE}pipe:"
"""What the refs of piped mail begin with."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A way in.

    :param acknowledges: whether new questions are acknowledged, where the mailbox does so
    :param transport: None: only what is here already is written down anew, from quarantine
    :param passed: told the number of messages that were delivered, or were known already
    :param pulse: by which the transport's calls are timed
    """

    prefix: str
    acknowledges: bool
    transport: Transport | None = None
    settings: Any = None
    passed: Callable[[int], None] = lambda _: None
    pulse: Pulse | None = None

    def open(self, address: str) -> Receiver:
        """Return a receiver for the mailbox with this address; its refs have the prefix."""
        assert self.transport is not None  # noqa: S101 - nothing is fetched without one
        context = SessionContext(address, self.transport.name, self.settings)
        receiver = self.transport.open_receiver(self.settings, context)
        if self.pulse is not None:
            receiver = WatchedReceiver(receiver, self.pulse)
        return _Prefixed(receiver, self.prefix, self.passed)


def import_prefix(transport: str, path: str) -> str:
    """Return what the refs of an import begin with: another file's are other refs."""
    printable = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return f"{ENTRANCE}import:{transport}:{printable};"


def entrance_of(ref: str) -> Entrance | None:
    """Return the entrance that a ref came through; None: the incoming side."""
    if not ref.startswith(ENTRANCE):
        return None
    return Entrance("", acknowledges=ref.startswith(PIPE))


def seen_through(mailbox: Mailbox) -> Mailbox:
    """Make of a mailbox, and return, what it is to mail through an entrance; not to be saved."""
    mailbox.start_at = None
    mailbox.disposition = "leave"
    mailbox.disposition_folder = None
    mailbox.cursor = None
    return mailbox


class _Prefixed(Receiver):
    """A receiver as it is, but for its refs."""

    def __init__(self, receiver: Receiver, prefix: str, passed: Callable[[int], None]) -> None:
        self._receiver = receiver
        self._prefix = prefix
        self._passed = passed

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        def wanted_inside(page: Sequence[Listed]) -> Collection[str]:
            chosen = wanted([self._outside(item) for item in page])
            self._passed(len(page) - len(chosen))
            return {ref.removeprefix(self._prefix) for ref in chosen}

        for delivery in self._receiver.fetch(cursor, limits=limits, wanted=wanted_inside):
            if not isinstance(delivery, Checkpoint):  # its cursor is the incoming side's affair
                self._passed(1)
                yield replace(delivery, ref=self._prefix + delivery.ref)

    def list_refs(self) -> Iterator[Listed]:
        return map(self._outside, self._receiver.list_refs())

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        raise NotImplementedError("nothing is settled where mail comes through an entrance")

    def check(self) -> Iterator[CheckStep]:
        return self._receiver.check()

    def interrupt(self) -> None:
        self._receiver.interrupt()

    def close(self) -> None:
        self._receiver.close()

    def _outside(self, item: Listed) -> Listed:
        return replace(item, ref=self._prefix + item.ref)
