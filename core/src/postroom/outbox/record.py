"""What became of outgoing mail, written down so that nothing is told wrong of it.

A worker who lost the lease changes no state (invariant 8); what only this visit knows is written
with patience, for nobody could learn it later; evidence is written whoever holds the row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Any, TypeVar

from peewee import Expression

from postroom.api.codes import Code
from postroom.api.errors import TransportError
from postroom.api.transport import SendResult
from postroom.leases.leases import Lease
from postroom.mail.text import storable
from postroom.mail.threading import id_key
from postroom.outbox.recipients import Recipient, State, Told, with_states
from postroom.store.database import insist, now, rows, transaction
from postroom.store.models import Attempt, MessageKey, Outbox

RETRY_PAUSES = (timedelta(minutes=5), timedelta(hours=4))
GIVE_UP_AFTER = timedelta(days=5)
"""RFC 5321 section 4.5.4.1: the give-up time needs to be at least 4-5 days."""

_Written = TypeVar("_Written")


class Record:
    """Writes what becomes of the mail of one visit.

    :param lease: that of the visit
    :param stop: when set, a database that takes nothing is not waited for
    """

    def __init__(self, lease: Lease, stop: Flag) -> None:
        self._lease = lease
        self._stop = stop

    # ------------------------------------------------------------------ before it is sent

    def begin(self, row: Outbox) -> bool:
        """Mark it as being sent, before the wire is touched; False if somebody held or cancelled
        it in the meantime."""
        with transaction():
            self._lease.hold()
            begun = (
                Outbox.update(
                    state="sending",
                    sending_since=now(),
                    attempts=Outbox.attempts + 1,
                    generation=self._lease.generation,
                )
                .where((Outbox.id == row.id) & (Outbox.state == "queued"))
                .execute()
            )
            if begun:
                self._note(row.id, "begun")
                row.attempts += 1
                row.generation = self._lease.generation
        return bool(begun)

    def take_back(self, row: Outbox) -> None:
        """Queue again what was perhaps marked as being sent: nobody heard of the commit, and the
        wire was not touched."""

        def write() -> None:
            with transaction():
                self._lease.hold()  # waits for that commit, should the server still be at it
                Outbox.update(state="queued").where(
                    (Outbox.id == row.id)
                    & (Outbox.state == "sending")
                    & (Outbox.generation == self._lease.generation)
                ).execute()

        self._insist(write)

    def keep_handle(self, row: Outbox, handle: str) -> None:
        """Store what the transport calls the prepared message."""

        def write() -> None:
            with transaction():
                self._lease.hold()
                Outbox.update(handle=handle).where(Outbox.id == row.id).execute()

        self._insist(write)

    # ------------------------------------------------------------------ after it was sent, or not

    def take_result(self, row: Outbox, result: SendResult, told: Told) -> None:
        """Note what the server said, whatever state follows from it."""

        def write() -> None:
            with transaction():
                self.learn(row, result.message_id)
                if told.accepted:
                    self._note(row.id, "accepted", result.reply, told.accepted)

        self._insist(write)

    def learn(self, row: Outbox, message_id: str | None) -> None:
        """Know a Message-ID that the provider rewrote: replies will name it."""
        if message_id and id_key(message_id) != id_key(row.internet_id):
            MessageKey.create(key=id_key(message_id), names=False, message=row.message_id)

    def is_too_late(self, row: Outbox) -> bool:
        """Say whether it was tried for so long that it is given up."""
        return bool(self._instant() - row.queued_at >= GIVE_UP_AFTER)

    def postpone(
        self,
        row: Outbox,
        code: Code,
        sentence: str,
        recipients: Sequence[Recipient],
        retry_after: float | None,
    ) -> None:
        """Queue it again, surely not sent to those that are pending."""
        first, last = RETRY_PAUSES
        pause = min(last, first * (1 << min(row.attempts - 1, 16)))
        pause *= random.uniform(0.9, 1.3)  # noqa: S311 - spreads load, guards nothing
        instant, not_before = self._instant(), None
        if retry_after is not None:
            not_before = instant + timedelta(seconds=retry_after)
        self._update(
            row,
            "deferred",
            sentence,
            state="queued",
            next_try_at=max(instant + pause, not_before or instant),
            not_before=not_before,
            recipients=recipients,
            code=code.name,
            sentence=sentence,
            next_step=code.next_step,
        )

    def requeue(self, row: Outbox, why: str) -> None:
        """Queue again as it was what we were sending: nothing was sent."""
        self._update(row, "not-sent", why, state="queued", next_try_at=None)

    def requeue_unknown(self, row: Outbox) -> None:
        """Queue again what is unknown: there is proof that nothing was sent."""

        def write() -> None:
            with transaction():
                self._lease.hold()
                is_unknown = (Outbox.id == row.id) & (Outbox.state == "unknown")
                Outbox.update(state="queued", next_try_at=None).where(is_unknown).execute()
                self._note(row.id, "not-sent")

        self._insist(write)

    def finish(
        self,
        row: Outbox,
        state: str,
        *,
        error: TransportError | None = None,
        recipients: Sequence[Recipient] | None = None,
        generation: int | None = None,
    ) -> datetime:
        """Write how it ended: `sent`, `failed` or `unknown`; return when.

        :param generation: of the worker that sent it, if that was not this one
        :raises LeaseLostError: it was not this one, which may be alive and sending
        """
        instant = self._instant()
        self._update(
            row,
            {"sent": "accepted", "failed": "refused"}.get(state, state),
            error.sentence if error else "",
            generation=generation,
            state=state,
            next_try_at=instant if state == "unknown" else None,
            recipients=row.recipients if recipients is None else recipients,
            sent_at=instant if state == "sent" else None,
            code=error.code.name if error else None,
            sentence=error.sentence if error else None,
            next_step=error.next_step if error else None,
        )
        return instant

    def look_again(self, which: Expression, due: datetime | None) -> None:
        """Say when to look for evidence once more of what is unknown, if at all."""
        with transaction():
            self._lease.hold()
            Outbox.update(next_try_at=due).where(which).execute()

    def _update(
        self,
        row: Outbox,
        outcome: str,
        detail: str,
        *,
        generation: int | None = None,
        **values: Any,
    ) -> None:
        """Write a state if the row is still ours; evidence is written in any case."""
        mine = self._lease.generation if generation is None else generation
        is_mine = (Outbox.id == row.id) & (Outbox.state == "sending") & (Outbox.generation == mine)

        def write() -> bool:
            with transaction():
                if mine != self._lease.generation:
                    self._lease.hold()
                changed = Outbox.update(**values).where(is_mine).execute()
                if changed:
                    self._note(row.id, outcome, detail)
            return bool(changed)

        if not self._insist(write):
            self._insist(lambda: note_evidence(row.id, mine, outcome, detail))

    def _insist(self, write: Callable[[], _Written]) -> _Written:
        """Write what only this visit knows, although the database may just be restarting."""
        return insist(write, self._stop)

    def _instant(self) -> datetime:
        return self._insist(now)

    def _note(
        self, row_id: int, outcome: str, detail: str = "", accepted: list[str] | None = None
    ) -> None:
        Attempt.create(
            outbox=row_id,
            generation=self._lease.generation,
            at=now(),
            outcome=outcome,
            detail=storable(detail),
            accepted=accepted or [],
        )


def with_evidence(row: Outbox) -> list[Recipient]:
    """Return the recipients with what attempts tell of them: who accepted is written down before
    the state of the row, and its runner may have died in between."""
    accepted: dict[str, State] = {}
    told = (Attempt.outbox == row.id) & (Attempt.outcome == "accepted")
    for addresses, reply in rows(Attempt.select(Attempt.accepted, Attempt.detail).where(told)):
        accepted |= dict.fromkeys(addresses, State("accepted", reply))
    return with_states(row.recipients, accepted)


def note_evidence(row_id: int, generation: int, outcome: str, detail: str) -> None:
    """Record an attempt's outcome whoever holds the row; a success turns `unknown` into `sent`."""
    with transaction():
        Attempt.create(
            outbox=row_id, generation=generation, at=now(), outcome=outcome, detail=detail
        )
        if outcome in ("accepted", "found"):
            Outbox.update(
                state="sent",
                sent_at=now(),
                next_try_at=None,
                code=None,
                sentence=None,
                next_step=None,
            ).where((Outbox.id == row_id) & (Outbox.state == "unknown")).execute()
