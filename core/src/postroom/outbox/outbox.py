"""The way of an answer to the outgoing server: claim → prepare → send → record.

A send that broke after its last byte, or whose runner died in it, is `unknown`: only evidence or a
person moves it on (invariant 7). The Message-ID stays the same through all attempts, and a retry
goes only to the recipients that were deferred.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Any

from peewee import Expression

from postroom.api import codes
from postroom.api.errors import (
    AuthError,
    OutcomeUnknown,
    Rejected,
    SettingsError,
    TransientError,
    TransportError,
)
from postroom.api.events import Event
from postroom.api.transport import NOT_SENT, Capability, Outgoing, Sender, SendResult, Sent
from postroom.errors import StoreError
from postroom.leases.leases import Lease
from postroom.mailboxes import sessions
from postroom.outbox.recipients import (
    PENDING,
    Recipient,
    State,
    Told,
    code_of,
    have_all_accepted,
    reasons,
    with_states,
)
from postroom.outbox.record import GIVE_UP_AFTER, Record, note_evidence, with_evidence
from postroom.plugins import Plugins
from postroom.store import raws
from postroom.store.database import now
from postroom.store.models import Mailbox, Outbox, Side

logger = logging.getLogger(__name__)

LOOK_PAUSES = (timedelta(seconds=30), timedelta(hours=1))
"""Between two looks for evidence on a message whose outcome is unknown."""

_UNREACHABLE = (codes.HOST_UNKNOWN, codes.PORT_REFUSED)
"""Says nothing about the message: only the side's own back-off counts."""


class Dispatch:
    """One visit to the outgoing side of one mailbox, under a lease: sends what is due.

    :param stop: when set, the message in flight is finished and the visit ends
    :param untried_since: see `is_due`
    :param on_sent: called for each message that was sent
    """

    def __init__(
        self,
        lease: Lease,
        plugins: Plugins,
        *,
        stop: Flag | None = None,
        untried_since: datetime | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_sent = on_sent
        self._lease = lease
        self._plugins = plugins
        self._stop = stop or Flag()
        self._record = Record(lease, self._stop)
        self._untried_since = untried_since
        self.side: Side = Side.get_by_id(lease.side_id)
        self.mailbox: Mailbox = Mailbox.get_by_id(lease.mailbox_id)
        self.sent = 0

    def run(self) -> int:
        """Send what is due; return how many messages were sent.

        :raises TransportError: about the server or the settings; the messages stay queued
        :raises StoreError: the database is the trouble
        :raises LeaseLostError: another runner took over
        """
        self._give_up_on_interrupted()
        with sessions.open_sender(self._lease, self.mailbox, self._plugins) as sender:
            self._lease.on_lost = sender.interrupt
            transport = self._plugins.transport(self.side.transport)
            finds_sent = Capability.FIND_SENT in transport.capabilities
            look = self._look_for_evidence if finds_sent else self._look_no_more
            look(sender)
            while not self._stop.is_set() and (row := self._next_due()) is not None:
                self._send(sender, row)
            if not self._stop.is_set():
                look(sender)
        return self.sent

    def _next_due(self) -> Outbox | None:
        row: Outbox | None = (
            Outbox.select()
            .where(
                (Outbox.mailbox == self.mailbox.id)
                & is_due(now(), untried_since=self._untried_since)
            )
            .order_by(Outbox.next_try_at.is_null(False), Outbox.next_try_at, Outbox.id)
            .first()
        )
        return row

    # ------------------------------------------------------------------ what others left

    def _give_up_on_interrupted(self) -> None:
        """Whoever was sending these is gone, for we hold the lease: nobody knows how far it got,
        unless it still wrote down who accepted."""
        for row in Outbox.select().where(
            (Outbox.mailbox == self.mailbox.id) & (Outbox.state == "sending")
        ):
            found = with_evidence(row)
            if have_all_accepted(found):
                self._finish(row, "sent", recipients=found, generation=row.generation)
                continue
            unknown = OutcomeUnknown("The runner ended while it was sending this message.")
            self._finish(row, "unknown", error=unknown, recipients=found, generation=row.generation)

    def _look_for_evidence(self, sender: Sender) -> None:
        """Ask about what is unknown, as soon as it is and then again in growing intervals."""
        due = Outbox.next_try_at.is_null() | (Outbox.next_try_at <= now())
        for row in list(Outbox.select().where(self._is_unknown() & due)):
            self._lease.check()
            found = sender.find_sent(row.internet_id, row.handle)
            if isinstance(found, Sent) and not _is_known_of_some(row):
                self._record.learn(row, found.message_id)
                note_evidence(row.id, row.generation, "found", "found on the server")
            elif found is NOT_SENT:
                self._record.requeue_unknown(row)
            else:
                self._look_later(row)

    def _look_later(self, row: Outbox) -> None:
        age = now() - (row.sending_since or row.queued_at)
        shortest, longest = LOOK_PAUSES
        due = None if age >= GIVE_UP_AFTER else now() + max(shortest, min(age / 2, longest))
        self._record.look_again((Outbox.id == row.id) & (Outbox.state == "unknown"), due)

    def _look_no_more(self, _sender: Sender) -> None:
        """The transport can prove nothing: a person decides."""
        undecided = self._is_unknown() & Outbox.next_try_at.is_null(False)
        if Outbox.select().where(undecided).exists():
            self._record.look_again(undecided, None)

    def _is_unknown(self) -> Expression:
        return (Outbox.mailbox == self.mailbox.id) & (Outbox.state == "unknown")

    # ------------------------------------------------------------------ prepare and send

    def _send(self, sender: Sender, row: Outbox) -> None:
        outgoing = self._outgoing(row)
        try:
            handle = row.handle or self._prepare(sender, row, outgoing)
        except Rejected as error:  # nothing was sent, and nothing will be
            if self._record.begin(row):
                self._failed(row, error)
            return
        self._lease.check()
        try:
            begun = self._record.begin(row)
        except StoreError:
            self._record.take_back(row)
            raise
        if not begun:
            return  # somebody held or cancelled it in the meantime
        try:
            result = sender.send(outgoing, handle)
        except TransportError as error:
            self._failed(row, error)
        except (Exception, SystemExit) as error:
            # A bug in the plugin, at an unknown point: it may have been sent. The visit ends with
            # it, else every message that waits would become unknown in turn.
            sentence = f"{self._lease.pulse.who} failed ({type(error).__name__})."
            self._finish(row, "unknown", error=OutcomeUnknown(sentence))
            raise
        else:
            self._take_result(row, outgoing, result)

    def _prepare(self, sender: Sender, row: Outbox, outgoing: Outgoing) -> str | None:
        self._lease.check()
        handle = sender.prepare(outgoing)
        if handle is not None:
            self._record.keep_handle(row, handle)
        return handle

    def _outgoing(self, row: Outbox) -> Outgoing:
        return Outgoing(
            message_id=row.internet_id,
            sender=row.sender,
            recipients=tuple(r["address"] for r in row.recipients if r["state"] in PENDING),
            raw=raws.load(row.raw_id),
            from_address=self.side.send_as or self.mailbox.address,
            save_to_sent=self.side.save_to_sent,
        )

    # ------------------------------------------------------------------ record

    def _take_result(self, row: Outbox, outgoing: Outgoing, result: SendResult) -> None:
        told = Told(outgoing.recipients, result)
        recipients = told.applied(row.recipients)
        self._record.take_result(row, result, told)
        refused = [r for r in recipients if r["state"] == "refused"]
        deferred = [r for r in recipients if r["state"] == "deferred"]
        if told.unheard:
            sentence = f"{self._lease.pulse.who} does not say what became of {told.unheard}."
            self._finish(row, "unknown", error=OutcomeUnknown(sentence), recipients=recipients)
        elif deferred and not self._record.is_too_late(row):
            reason = reasons(deferred)
            self._record.postpone(row, codes.SERVER_BUSY, reason, recipients, result.retry_after)
        elif refused or deferred:
            code = code_of(refused) if refused else codes.SERVER_BUSY
            error = Rejected(code, reasons(refused + deferred))
            self._finish(row, "failed", error=error, recipients=recipients)
        else:
            self._finish(row, "sent", recipients=recipients)
        if told.unheard or told.unasked:  # the next message would fare no better
            raise told.bug(self._lease.pulse.who)

    def _failed(self, row: Outbox, error: TransportError) -> None:
        if isinstance(error, OutcomeUnknown):
            self._finish(row, "unknown", error=error)
        elif isinstance(error, Rejected):
            states = {
                address: State("refused", reply, error.code.name)
                for address, reply in error.recipients.items()
            }
            recipients = with_states(row.recipients, states)
            self._finish(row, "failed", error=error, recipients=recipients)
        elif isinstance(error, AuthError | SettingsError):
            self._record.requeue(row, error.sentence)
            raise error
        else:
            retry_after = error.retry_after if isinstance(error, TransientError) else None
            if self._record.is_too_late(row):
                self._finish(row, "failed", error=error)
            elif error.code in _UNREACHABLE:
                self._record.requeue(row, error.sentence)
            else:
                self._record.postpone(row, error.code, error.sentence, row.recipients, retry_after)
            raise error

    def _finish(
        self,
        row: Outbox,
        state: str,
        *,
        error: TransportError | None = None,
        recipients: Sequence[Recipient] | None = None,
        generation: int | None = None,
    ) -> None:
        """Write how it ended, and tell of it."""
        instant = self._record.finish(
            row, state, error=error, recipients=recipients, generation=generation
        )
        if state == "sent":
            self.sent += 1
            self._on_sent()
        details = {"outbox": row.id, "message": row.message_id, "sentence": row.sentence}
        name: Any = state
        self._plugins.tell(Event(name, instant, self.mailbox.address, details))


def is_due(instant: datetime, *, untried_since: datetime | None = None) -> Expression:
    """Return the condition that an outgoing mail may be sent now.

    :param untried_since: our own back-off does not count for what was not tried since then; a time
        that its server asked for does
    """
    is_time = Outbox.next_try_at.is_null() | (Outbox.next_try_at <= instant)
    if untried_since is not None:
        may_be = Outbox.not_before.is_null() | (Outbox.not_before <= instant)
        untried = Outbox.sending_since.is_null() | (Outbox.sending_since < untried_since)
        is_time |= may_be & untried
    return (Outbox.state == "queued") & is_time


def _is_known_of_some(row: Outbox) -> bool:
    """Say whether some recipients have accepted or refused it: what is found then may be just that,
    and proves nothing about the others."""
    return any(recipient["state"] in ("accepted", "refused") for recipient in row.recipients)
