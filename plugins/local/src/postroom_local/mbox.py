"""The mbox receiver. A ref is where a message begins and a digest of its header, so it stays the
same while mail is appended, and is another one when the file was rewritten; what was in it before
is then recognised by the core as the same mail.

The bytes are those of the file: lines that begin with ``>From `` stay so, for nobody can tell
whether a program quoted them or a person wrote them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from postroom.api import (
    Checkpoint,
    CheckStep,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Oversized,
    Receiver,
    SettingsError,
    Settled,
    TransientError,
    TransportError,
    Unavailable,
    Unsettled,
)
from postroom.api.transport import Delivery, Wanted

from postroom_local.errors import (
    LOCAL_NO_MBOX,
    LOCAL_TROUBLE,
    interruption,
    translated,
    unreadable,
)
from postroom_local.files import unsupported
from postroom_local.mbox_scan import HEAD_BYTES, Entry, digest, entries, is_from_line
from postroom_local.reading import PAGE, read

if TYPE_CHECKING:
    from postroom_local.settings import MboxSettings


class MboxReceiver(Receiver):
    """Retrieves from one file, without locking it and without ever writing to it."""

    def __init__(self, settings: MboxSettings) -> None:
        self._path = settings.path
        self._interrupted = threading.Event()

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Deliver what is wanted, in the order of the file.

        The cursor is the ref of the last message: what is before it is not read again as long as
        that message is where it was. The last one is, for it may have grown.
        """
        last = ""
        with self._open() as file:
            begin = self._begin(file, cursor)
            found = entries(file, begin or 0, self._check_interruption)
            while page := list(itertools.islice(found, PAGE)):
                chosen = wanted([_listed(entry) for entry in page])
                for entry in page:
                    if entry.ref in chosen:
                        yield self._deliver(file, entry, limits)
                last = page[-1].ref
        was_rewritten = begin is None  # then the next run begins without a cursor, as after a reset
        yield Checkpoint("" if was_rewritten else last)

    def list_refs(self) -> Iterator[Listed]:
        """Yield what is in the file."""
        with self._open() as file:
            yield from map(_listed, entries(file, check=self._check_interruption))

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Leave everything as it is, which is all that can be done."""
        if disposition.action != "leave":
            raise unsupported("An mbox file", disposition)
        yield from (Settled(ref) for ref in refs)

    def check(self) -> Iterator[CheckStep]:
        """Open the file and count what is in it."""
        try:
            count = sum(1 for _ in self.list_refs())
        except TransportError as error:
            yield CheckStep("list", "fail", error.sentence, error.next_step)
        else:
            yield CheckStep("list", "ok", f"{count} messages")

    def interrupt(self) -> None:
        """End before the next piece of the file."""
        self._interrupted.set()

    def close(self) -> None:
        """Nothing stays open."""

    # ------------------------------------------------------------------ the steps

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        self._check_interruption()
        with translated(self._path), open(self._path, "rb", buffering=0) as file:
            self._see_that_it_is_one(file.fileno())
            yield file.fileno()

    def _see_that_it_is_one(self, file: int) -> None:
        head = os.pread(file, HEAD_BYTES, 0).lstrip()
        if head and not is_from_line(head):
            raise SettingsError(LOCAL_NO_MBOX, f"{self._path} is not an mbox file.")

    @staticmethod
    def _begin(file: int, cursor: str | None) -> int | None:
        """Return where to begin: at the message that the cursor names; None if it is not there."""
        if not cursor:
            return 0
        offset = cursor.partition(";")[0]
        if not (offset.isascii() and offset.isdigit() and len(offset) < 19):
            return None
        first = next(entries(file, int(offset)), None)
        return int(offset) if first is not None and first.ref == cursor else None

    def _deliver(self, file: int, entry: Entry, limits: Limits) -> Delivery:
        if entry.size > limits.max_message_bytes:
            return Oversized(entry.ref, entry.size, entry.received_at)
        try:
            self._see_that_it_is_there(file, entry)
            place = entry.body

            def pull(size: int) -> bytes:
                nonlocal place
                piece = os.pread(file, size, place)
                place += len(piece)
                return piece

            raw = read(pull, entry.size, limits.spool_above, self._check_interruption)
        except OSError as error:
            reason = unreadable(error, f"A message in {self._path}")
            return Unavailable(entry.ref, reason, entry.received_at, entry.size)
        if len(raw) < entry.size:
            raise self._rewritten()
        return Fetched(entry.ref, raw, entry.received_at)

    def _see_that_it_is_there(self, file: int, entry: Entry) -> None:
        """Another program may have rewritten the file since it was listed."""
        head = os.pread(file, min(HEAD_BYTES, entry.end - entry.start), entry.start)
        if digest(head) != entry.digest:
            raise self._rewritten()

    def _rewritten(self) -> TransientError:
        return TransientError(LOCAL_TROUBLE, f"{self._path} was rewritten while it was read.")

    def _check_interruption(self) -> None:
        if self._interrupted.is_set():
            raise interruption(self._path)


def _listed(entry: Entry) -> Listed:
    return Listed(entry.ref, entry.received_at, entry.size)
