"""The way of a message into a question: claim → list → fetch → parse → store → settle.

Read from top to bottom. The order is the promise: nothing happens on the server before the
message, its receipt, its question and the cursor are committed in one transaction (invariant 2).
What becomes of each message of a batch is in `filing`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from math import inf
from threading import Event as Flag
from time import monotonic

from peewee import OperationalError, PeeweeException

from postroom.api.errors import SettingsError
from postroom.api.events import Event
from postroom.api.transport import (
    Checkpoint,
    Delivery,
    Fetched,
    Limits,
    Listed,
    Oversized,
    Receiver,
    Spool,
    SpoolError,
    Unavailable,
)
from postroom.api.verdict import Verdict
from postroom.errors import DiskFullError, PostroomError
from postroom.intake.conversations import Incoming
from postroom.intake.entrances import Entrance, seen_through
from postroom.intake.filing import Filing
from postroom.intake.listing import Listing, Unfetched
from postroom.intake.records import Prepared
from postroom.intake.settlement import Settlement
from postroom.intake.tally import Progress, Tally, no_progress
from postroom.intake.understanding.understood import IN_PLACE, Pending, Understanding, Understood
from postroom.intake.unstored import Unstored
from postroom.leases.leases import Lease
from postroom.mail.threading import conversation_key
from postroom.mailboxes import sessions
from postroom.mailboxes.ledger import close, has_due_unavailable, ref_key
from postroom.mailboxes.views import view
from postroom.plugins import Plugins
from postroom.store import raws
from postroom.store.database import (
    later_on_disk,
    now,
    transaction,
    wait_for_disk,
)
from postroom.store.errors import database_errors, explain
from postroom.store.models import Mailbox

logger = logging.getLogger(__name__)

BATCH_COUNT = 256
FIRST_COUNT = 32
"""Batches begin small and double, so that there is soon something to understand and to write."""
BATCH_BYTES = 4 << 20
SPOOL_BYTES = BATCH_BYTES // 8
"""A message that is a file counts for so many at least: a process may have only so many open."""
BATCH_SECONDS = 2.0
"""What a slow server hands out is committed in smaller batches: a runner that is killed again and
again, or asked to give way, still gets on."""
BATCHES_AHEAD = 6
"""So many are understood, or wait for it, while another is fetched or written: enough to do for the
workers while the database moves what it has logged, which may take as long as three batches."""
ENOUGH_AHEAD = 3
"""While so many are not understood yet, one that is is written at once: else most of the writing
would be left to the end, when the workers have nothing to do any more."""
AHEAD_BYTES = 32 << 20
"""What waits behind the latest may have so many bytes: large messages fill the temporary folder."""


@dataclass(slots=True)
class Batch:
    """What is committed together, `most` messages at the most."""

    most: int = BATCH_COUNT
    fetched: list[Fetched] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)
    oversized: list[Oversized] = field(default_factory=list)
    cursor: str | None = None
    bytes: int = 0
    since: float = inf
    """When its first message came, by the monotonic clock."""
    understood: Pending = field(default_factory=lambda: IN_PLACE.understand([]))
    """What is made of `fetched`, once that was begun."""

    def is_full(self) -> bool:
        """Say whether it is time to commit."""
        return (
            len(self.fetched) >= self.most
            or self.bytes >= BATCH_BYTES
            or self.age() >= BATCH_SECONDS
        )

    def age(self) -> float:
        """Return for how many seconds its first message has waited."""
        return monotonic() - self.since


class Retrieval:
    """One visit to the incoming side of one mailbox, under a lease.

    :param stop: when set, the batch in flight is finished and the visit ends
    :param progress: told of each page of the listing and after each batch
    :param understanding: how batches are understood: in place, or beside, on other cores
    :param entrance: another way into the mailbox than its incoming side
    :param tally: where to count, for those who want to know also if the visit ends in an error
    :param only_due: leave for later what the server refused a short time ago to settle
    """

    def __init__(
        self,
        lease: Lease,
        plugins: Plugins,
        *,
        stop: Flag | None = None,
        progress: Progress = no_progress,
        understanding: Understanding = IN_PLACE,
        entrance: Entrance | None = None,
        tally: Tally | None = None,
        only_due: bool = False,
    ) -> None:
        self._lease = lease
        self._plugins = plugins
        self._stop = stop or Flag()
        self._progress = progress
        self._understanding = understanding
        self._entrance = entrance
        self.tally = Tally() if tally is None else tally
        self._only_due = only_due
        mailbox: Mailbox = Mailbox.get_by_id(lease.mailbox_id)
        self.mailbox = mailbox if entrance is None else seen_through(mailbox)
        self._view = view(self.mailbox)
        self._core_error: PostroomError | None = None
        """What `wanted` raised, which may be lost on its way through the plugin."""
        self._is_to_be_secured = False
        """Something was committed that may not be on the disk yet."""
        self._batch = Batch(min(FIRST_COUNT, BATCH_COUNT))
        self._begun: deque[Batch] = deque()
        """Batches that are understood, or wait for it or for being written."""
        self._listing = Listing(self.mailbox)
        self._unstored = Unstored(self.mailbox, self._listing, self.tally)
        self.filing = Filing(
            self.mailbox,
            self._listing,
            self._unstored,
            self.tally,
            own_addresses=self._view.own_addresses,
            acknowledges=entrance is None or entrance.acknowledges,
        )

    def run(self) -> Tally:
        """Retrieve and settle.

        :raises TransportError: the server or the settings are the trouble
        :raises StoreError: the database or the disk is; nothing was settled
        :raises LeaseLostError: another runner took over; nothing was settled
        """
        with self._open() as receiver:
            self._lease.on_lost = receiver.interrupt
            if self.mailbox.is_to_be_recognised and self._entrance is None:
                self._recognise(receiver)
            trouble = self._fetch(receiver)
            self._secure()
            if self._entrance is None:
                self._settle(receiver)
        if trouble is not None:
            raise trouble
        return self.tally

    def _open(self) -> Receiver:
        self._lease.check()
        if self._entrance is not None:
            return self._entrance.open(self.mailbox.address)
        return sessions.open_receiver(self._lease, self.mailbox, self._plugins)

    def _recognise(self, receiver: Receiver) -> None:
        """The mailbox leads to another account: see first what that one holds of what is known."""
        from postroom.intake import recognition  # it reads mail, which a visit leaves to workers

        found = recognition.survey(receiver, self.mailbox, self._understanding, stop=self._stop)
        if found is None:
            return  # asked to stop: the next visit begins anew
        recognised = recognition.recognise(self.mailbox, found, since=self.mailbox.account_since)
        with transaction():
            self._lease.hold()
            recognition.write(self.mailbox, recognised)
            Mailbox.update(recognised_at=now()).where(Mailbox.id == self.mailbox.id).execute()

    # ------------------------------------------------------------------ fetch

    def _fetch(self, receiver: Receiver) -> SettingsError | None:
        """Retrieve all there is, or up to the next batch when asked to stop.

        :returns: a trouble with the settings (one of several folders is missing, say) that does
            not keep what was retrieved from being settled
        """
        cursor = None if has_due_unavailable(self.mailbox.id) else self.mailbox.cursor or None
        trouble: SettingsError | None = None
        deliveries = self._deliveries(receiver, cursor)
        self._lease.rescue = self._rescue
        try:
            for delivery in deliveries:
                self._take(delivery, self._batch)
                if self._batch.is_full():
                    self._begin()
                    if self._is_asked_to_stop():
                        self._finish_begun()
                        return None
            self.tally.complete = True
        except SettingsError as error:
            trouble = error
        except (PostroomError, OperationalError):
            raise
        except (Exception, SystemExit) as error:
            self._begin()  # what came whole before the connection or the plugin broke
            self._finish_begun()  # it may be what fills the temporary folder
            if isinstance(error, SpoolError):
                raise DiskFullError.of_temporary_folder(str(error), error.__cause__) from error
            self._count_tries()
            raise
        finally:
            deliveries.close()
            self._lease.rescue = lambda: None
        self._begin()
        self._finish_begun()
        if self.tally.complete and self._entrance is None:
            self._finish_listing(was_complete=cursor is None)
        return trouble

    def _count_tries(self) -> None:
        if self._listing.replaced:
            with transaction():
                self._lease.hold()
                self._unstored.count_tries()

    def _deliveries(
        self, receiver: Receiver, cursor: str | None
    ) -> Generator[Delivery, None, None]:
        limits = Limits(
            max_message_bytes=self.mailbox.max_message_bytes,
            received_dates=self.mailbox.start_at is not None,
        )
        try:
            yield from receiver.fetch(cursor, limits=limits, wanted=self._wanted)
        except Exception:
            self._raise_core_error()
            raise
        self._raise_core_error()

    def _raise_core_error(self) -> None:
        """Raise what `wanted` raised, whatever the plugin made of it on its way."""
        if self._core_error is not None:
            raise self._core_error from None

    def _wanted(self, page: Sequence[Listed]) -> Collection[str]:
        try:
            with database_errors():
                wanted = self._listing.wanted(page)
            if wanted:
                self._understanding.expect(len(wanted))
                self._progress(0, len(wanted))
            return wanted
        except PostroomError as error:
            self._core_error = error
            raise

    def _take(self, delivery: Delivery, batch: Batch) -> None:
        match delivery:
            case Fetched():
                batch.since = min(batch.since, monotonic())
                batch.fetched.append(delivery)
                batch.bytes += _counted(delivery.raw)
            case Unavailable():
                batch.unavailable.append(delivery)
            case Oversized():
                batch.oversized.append(delivery)
            case Checkpoint():
                batch.cursor = delivery.cursor

    def _is_asked_to_stop(self) -> bool:
        return self._stop.is_set() or self._lease.wanted_by_another()

    def _finish_listing(self, *, was_complete: bool) -> None:
        gone = self._listing.gone() if was_complete else []
        is_first = self.mailbox.baseline_at is None
        if not (gone or is_first):
            return
        with transaction():
            self._lease.hold()
            close(gone)
            if is_first:
                self.mailbox.baseline_at = now()
                Mailbox.update(baseline_at=self.mailbox.baseline_at).where(
                    Mailbox.id == self.mailbox.id
                ).execute()

    def _rescue(self) -> None:
        """Commit what came whole before the plugin hung, in another thread than the visit's, which
        is in the plugin; should it come back, it finds that it is no longer wanted."""
        if self._lease.pulse.leave_alone():
            self._begin()
            self._finish_begun()

    # ------------------------------------------------------------------ parse

    def _begin(self) -> None:
        """Have the batch understood, and commit those before it that had their time: while one is
        written or fetched, others are understood. Batches are committed in their order."""
        batch, self._batch = self._batch, Batch(min(2 * self._batch.most, BATCH_COUNT))
        batch.understood = self._understanding.understand(
            [fetched.raw for fetched in batch.fetched], self._view
        )
        self._begun.append(batch)
        while self._begun and self._is_first_due():
            self._commit(self._begun.popleft())

    def _is_first_due(self) -> bool:
        """Say whether it is time to commit the first batch that was begun."""
        *behind, _ = self._begun
        return (
            len(behind) >= BATCHES_AHEAD
            or sum(batch.bytes for batch in behind) > AHEAD_BYTES
            or self._begun[0].age() >= 2 * BATCH_SECONDS
            or self._is_first_understood()
        )

    def _is_first_understood(self) -> bool:
        """Say whether the first batch that was begun only waits for being written, and the workers
        have enough to do meanwhile."""
        is_done = [batch.understood.done() for batch in self._begun]
        return is_done[0] and is_done.count(False) >= ENOUGH_AHEAD

    def _finish_begun(self) -> None:
        """Commit what was begun."""
        while self._begun:
            self._commit(self._begun.popleft())

    def prepare(self, fetched: Fetched, result: Understood | Exception) -> Prepared:
        """Classify a message that was understood, unless that was done with it; nothing in here
        touches the database."""
        key = ref_key(fetched.ref)
        listed = self._listing.items.pop(key, None) or Listed(fetched.ref)
        if isinstance(result, Understood):
            try:
                parsed, fingerprint = result.parsed, result.fingerprint
                verdict, complaints = result.classified or self._plugins.classify(
                    parsed, self._view
                )
                conversation = conversation_key(fetched.conversation)
                incoming = Incoming(parsed, fingerprint, verdict, conversation=conversation)
                return Prepared(fetched, listed, key, result.packed, incoming, complaints)
            except Exception as error:  # one bad message never stops a mailbox (invariant 5)
                result = error
        from postroom.mail.large import unreadable

        packed = raws.pack(fetched.raw)  # first: where it cannot be read, that is the disk's fault
        logger.error("A message of %s cannot be understood", self.mailbox.address, exc_info=result)
        incoming = Incoming(unreadable(), f"sha256:{packed.sha256}", Verdict())
        return Prepared(fetched, listed, key, packed, incoming, failure=result)

    # ------------------------------------------------------------------ store

    def _commit(self, batch: Batch) -> None:
        """Store a batch in one transaction."""
        results = batch.understood.result()
        prepared = [self.prepare(f, r) for f, r in zip(batch.fetched, results, strict=True)]
        unfetched, self._listing.unfetched = self._listing.unfetched, []
        if not (prepared or unfetched or batch.unavailable or batch.oversized or batch.cursor):
            return
        try:
            stored = self._store(prepared, batch, unfetched)
        except PeeweeException as error:
            raise explain(error) from error
        finally:
            for item in prepared:
                item.release()
        self._listing.forget(item.ref_key for item in prepared)
        self._report(stored)
        self._progress(len(prepared) + len(batch.unavailable) + len(batch.oversized), 0)

    def _store(
        self, prepared: list[Prepared], batch: Batch, unfetched: list[Unfetched]
    ) -> list[Prepared]:
        self._is_to_be_secured = True
        with self.tally.with_commit(), later_on_disk(), transaction():
            self._lease.hold()
            self.filing.lock_segment()
            stored = self.filing.write_all(prepared)
            self._unstored.write(unfetched, batch.oversized, batch.unavailable)
            if batch.cursor is not None and batch.cursor != self.mailbox.cursor:
                self.mailbox.cursor = batch.cursor
                Mailbox.update(cursor=batch.cursor).where(Mailbox.id == self.mailbox.id).execute()
        return stored

    def _report(self, stored: list[Prepared]) -> None:
        if not self._plugins.hears_events():
            return
        for item in stored:
            if item.placement is not None:
                details = {
                    "question": item.placement.question.id,
                    "message": item.message_id,
                    "kind": item.placement.kind,
                }
                self._plugins.tell(Event("stored", now(), self.mailbox.address, details))

    # ------------------------------------------------------------------ settle

    def _secure(self) -> None:
        """Have on the disk what was committed, before the server is told anything, or anybody that
        it is done. Until then mail that a power cut takes is merely retrieved again, so it need not
        be waited for with every batch."""
        if self._is_to_be_secured:
            with transaction():
                self._lease.hold()
                wait_for_disk()
            self._is_to_be_secured = False

    def _settle(self, receiver: Receiver) -> None:
        settlement = Settlement(self.mailbox, self._lease, self._stop, only_due=self._only_due)
        try:
            settlement.run(receiver)
        finally:
            self.tally.settled += settlement.settled
            self.tally.unsettled = settlement.unsettled


def _counted(raw: bytes | Spool) -> int:
    """Return how much a message adds to its batch."""
    return len(raw) if isinstance(raw, bytes) else max(len(raw), SPOOL_BYTES)
