"""Applies the disposition on the server to what is safely stored: the last step of intake.

It follows the commit; what the server did not confirm stays to be settled at the next visit. What
it refuses is one trouble of the mailbox, however many messages there are, and is tried again later:
retrieving goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from threading import Event as Flag
from time import monotonic

from peewee import ModelSelect

from postroom.api.errors import TransientError, TransportError
from postroom.api.transport import Disposition, Receiver, Settled, Unsettled
from postroom.intake.records import ReceiptRow, insert_receipts
from postroom.leases import health
from postroom.leases.leases import Lease
from postroom.mailboxes import dispositions
from postroom.mailboxes.ledger import ref_key
from postroom.store.database import is_among, now, rows, transaction
from postroom.store.models import Mailbox, Receipt

logger = logging.getLogger(__name__)

SETTLE_COUNT = 2_000
"""So many messages are settled at once: POP needs a session for each time."""
CONFIRM_SECONDS = 2.0
"""What the server confirmed is noted so often: a runner that is killed does not do it all again."""


class Settlement:
    """Settles what is due in one mailbox, under the lease of the visit.

    In here `due` is what the receiver is asked to settle: ref → id of its receipt.

    :param stop: when set, no more is asked of the receiver
    :param only_due: leave for later what the server refused a short time ago
    """

    def __init__(
        self, mailbox: Mailbox, lease: Lease, stop: Flag, *, only_due: bool = False
    ) -> None:
        self._lease = lease
        self._stop = stop
        self.mailbox = mailbox
        self.settled = 0
        self.unsettled = 0
        self._only_due = only_due
        self._refused: list[int] = []
        """Receipts of what the server refused in this visit."""
        self._reasons: dict[str, TransportError] = {}
        """Code → the first error with it."""
        self._times: Counter[str] = Counter()

    def run(self, receiver: Receiver) -> None:
        """Apply the disposition to what is stored, and note what the server confirmed.

        :raises TransportError: the server or the settings are the trouble
        """
        self._settle_all(receiver)
        for reason in self._reasons.values():
            if isinstance(reason, TransientError) and reason.retry_after is not None:
                raise reason  # it wants to be left alone altogether
        if self._refused:
            self._put_off()
        elif health.is_refused(self._lease.side_id) and not self._waiting().exists():
            self._note_that_it_works()

    def _settle_all(self, receiver: Receiver) -> None:
        disposition = dispositions.of_columns(
            self.mailbox.disposition, self.mailbox.disposition_folder
        )
        last_id = 0
        while not self._stop.is_set():
            query = self._to_settle().where(Receipt.id > last_id)
            if self._only_due:
                is_due = Receipt.next_try_at.is_null() | (Receipt.next_try_at <= now())
                query = query.where(is_due)
            due = rows(query.order_by(Receipt.id).limit(SETTLE_COUNT))
            if not due:
                return
            last_id = due[-1][0]
            self._lease.check()
            self._settle_some(receiver, {ref: row_id for row_id, ref in due}, disposition)

    def _to_settle(self) -> ModelSelect[Receipt]:
        return Receipt.select(Receipt.id, Receipt.ref).where(
            (Receipt.mailbox == self.mailbox.id) & Receipt.settle & Receipt.gone_at.is_null()
        )

    def _waiting(self) -> ModelSelect[Receipt]:
        """Return what the server refused, in this visit or before."""
        return self._to_settle().where(Receipt.next_try_at.is_null(False))

    def _settle_some(
        self, receiver: Receiver, due: dict[str, int], disposition: Disposition
    ) -> None:
        settled: list[Settled] = []
        since = monotonic()
        try:
            for result in receiver.settle(list(due), disposition):
                if isinstance(result, Settled):
                    settled.append(result)
                else:
                    self._note_refused(result, due)
                if monotonic() - since >= CONFIRM_SECONDS:
                    self._confirm(settled, due, disposition)
                    since = monotonic()
        finally:  # what was confirmed is confirmed, also if the connection broke after it
            self._confirm(settled, due, disposition)

    def _confirm(
        self, settled: list[Settled], due: dict[str, int], disposition: Disposition
    ) -> None:
        """Note what the server confirmed, and empty the list."""
        known = [one for one in settled if one.ref in due]
        with transaction():
            self._lease.hold()
            self._write_settled(known, due, disposition)
        self.settled += len(settled)
        settled.clear()

    def _note_refused(self, result: Unsettled, due: dict[str, int]) -> None:
        self.unsettled += 1
        if result.ref in due:
            self._refused.append(due[result.ref])
        code = result.error.code.name
        self._reasons.setdefault(code, result.error)
        self._times[code] += 1
        logger.debug(
            "%s: a message stays as it is on the server for now: %s",
            self.mailbox.address,
            result.error.sentence,
            extra={"mailbox": self.mailbox.address, "ref": result.ref},
        )

    def _put_off(self) -> None:
        """Record the reason that is given most often, and when to try again."""
        [(code, _)] = self._times.most_common(1)
        reason = self._reasons[code]
        with transaction():
            self._lease.hold()
            due_at, is_new = health.record_refusal(self._lease.side_id, reason)
            Receipt.update(next_try_at=due_at).where(is_among(Receipt.id, self._refused)).execute()
        if is_new:
            health.log_trouble(self.mailbox.address, "in", reason)

    def _note_that_it_works(self) -> None:
        with transaction():
            self._lease.hold()
            health.record_settled(self._lease.side_id)
        logger.warning(
            "%s (in): messages are marked, moved or deleted again.", self.mailbox.address
        )

    def _write_settled(
        self, settled: list[Settled], due: dict[str, int], disposition: Disposition
    ) -> None:
        instant = now()
        removes = disposition.action in ("move", "delete")
        here = {one.ref for one in settled if not removes or one.new_ref == one.ref}
        staying = [due[ref] for ref in here]
        leaving = [due[one.ref] for one in settled if one.ref not in here]
        for ids, gone_at in ((staying, None), (leaving, instant)):
            if ids:
                Receipt.update(
                    settle=False, settled_at=instant, gone_at=gone_at, next_try_at=None
                ).where(is_among(Receipt.id, ids)).execute()
        for one in settled:
            if one.new_ref not in (None, one.ref):
                self._follow(Receipt.get_by_id(due[one.ref]), one.new_ref)

    def _follow(self, receipt: Receipt, new_ref: str) -> None:
        """A message moved within what is watched: it is known under its new name too."""
        row = ReceiptRow(
            ref=new_ref,
            ref_key=ref_key(new_ref),
            outcome="duplicate",
            listed_size=receipt.listed_size,
            received_at=receipt.received_at,
            because="moved",
            sha256=receipt.sha256,
            fingerprint=receipt.fingerprint,
            message=receipt.message,
            is_settled=True,
        )
        insert_receipts(self.mailbox.id, [row], now())
