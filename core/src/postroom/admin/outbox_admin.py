"""What a person may do with outgoing mail.

Every action is one conditional change of the state it was meant for: if a runner was faster, or
another person, nothing is changed and the present state is told. What was done is recorded beside
the attempts to send.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Final

from postroom.api import codes
from postroom.errors import InputError, NotFoundError
from postroom.leases import health
from postroom.mailboxes import mailboxes
from postroom.outbox.recipients import have_all_accepted
from postroom.outbox.record import with_evidence
from postroom.store.database import is_sqlite, now, transaction
from postroom.store.models import Attempt, Mailbox, Message, Outbox, Side

STATES: Final = ("queued", "sending", "sent", "failed", "unknown", "held", "cancelled")
_PAGE: Final = 200
Document = dict[str, Any]


# ---------------------------------------------------------------------- looked at


def entries(*, state: str | None = None, mailbox: str | None = None) -> Iterator[Document]:
    """Yield outgoing mail, the latest first, a page at a time.

    :raises NotFoundError: no such mailbox
    """
    query = _joined()
    if state is not None:
        query = query.where(Outbox.state == state)
    if mailbox is not None:
        query = query.where(Outbox.mailbox == mailboxes.find(mailbox).id)
    return _pages(query)


def _pages(query: Any) -> Iterator[Document]:
    last: int | None = None
    while True:
        page = query if last is None else query.where(Outbox.id < last)
        found = list(page.order_by(Outbox.id.desc()).limit(_PAGE))
        for row in found:
            yield _document(row)
        if len(found) < _PAGE:
            return
        last = found[-1].id


def shown(outbox_id: int) -> Document:
    """Return one with everything that was tried.

    :raises NotFoundError: there is none
    """
    row = _joined().where(Outbox.id == outbox_id).first()
    if row is None:
        raise _missing(outbox_id)
    tries = Attempt.select().where(Attempt.outbox == outbox_id).order_by(Attempt.id)
    return {
        **_document(row),
        "recipients": row.recipients,
        "handle": row.handle,
        "tries": [
            {"at": t.at, "outcome": t.outcome, "detail": t.detail, "accepted": t.accepted}
            for t in tries
        ],
    }


def _joined() -> Any:
    return (
        Outbox.select(
            Outbox, Mailbox.address, Message.id, Message.question, Message.kind, Message.subject
        )
        .join_from(Outbox, Mailbox)
        .join_from(Outbox, Message)
    )


def _document(row: Outbox) -> Document:
    return {
        "id": row.id,
        "state": row.state,
        "mailbox": row.mailbox.address,
        "question": row.message.question_id,
        "message": row.message_id,
        "kind": row.message.kind,
        "to": [r["address"] for r in row.recipients],
        "subject": row.message.subject,
        "message_id": row.internet_id,
        "is_automatic": row.is_automatic,
        "attempts": row.attempts,
        "created_at": row.created_at,
        "next_try_at": row.next_try_at,
        "sending_since": row.sending_since,
        "sent_at": row.sent_at,
        "code": row.code,
        "sentence": row.sentence,
        "next_step": row.next_step,
    }


# ---------------------------------------------------------------------- acted on


def retry(outbox_id: int, *, author: str, accept_risk: bool = False) -> None:
    """Queue again what failed, is held or unknown, and make due what is queued; only for recipients
    that have not accepted it. What a server asked for is not shortened.

    :param accept_risk: also what may have been sent already, and would then arrive twice
    :raises InputError: in another state, or unknown and the risk is not accepted; or queued, and it
        has to wait all the same
    """
    row, instant = _row(outbox_id), now()
    if not accept_risk and row.state == "unknown":
        raise InputError(
            f"Mail {outbox_id} may have been sent already; sent again, it may arrive twice.",
            next_step="Ask the recipient first, or accept that with --yes; "
            f"if it arrived, run `postroom outbox mark-sent {outbox_id}`.",
        )
    asked_for = _asked_for(row, instant)
    if row.state == "queued":
        _insist_that_it_can_go(row, asked_for, instant)
    allowed = ("queued", "failed", "held", *(("unknown",) if accept_risk else ()))
    _act(
        outbox_id,
        allowed,
        "queued",
        outcome="retried",
        author=author,
        pending="queued",
        queued_at=instant,
        next_try_at=asked_for,
        sending_since=None,
        code=None,
        sentence=None,
        next_step=None,
    )
    _end_our_own_pause(row, instant)


def _asked_for(row: Outbox, instant: datetime) -> datetime | None:
    """Return until when its server asked to wait with it, if that is still to come."""
    if row.not_before is None or row.next_try_at is None:
        return None
    waits_until: datetime = min(row.not_before, row.next_try_at)
    return waits_until if waits_until > instant else None


def _insist_that_it_can_go(row: Outbox, asked_for: datetime | None, instant: datetime) -> None:
    """Refuse to make due what would not be sent now all the same.

    :raises InputError: its server asked for another time, or the mailbox cannot send for now
    """
    side = Side.get_or_none((Side.mailbox == row.mailbox_id) & (Side.direction == "out"))
    is_queued = f"Mail {row.id} is queued"
    if side is None:
        error = codes.OUTGOING_MISSING
        raise InputError(f"{is_queued}. {error.meaning}", next_step=error.next_step)
    if asked_for is not None:
        raise InputError(
            f"{is_queued}, and the server asked to wait with it until {_clock_time(asked_for)}.",
            next_step="Nothing, it is sent then by itself.",
        )
    if side.paused_by_server and side.next_try_at > instant:
        trouble = health.open_trouble(side)
        raise InputError(
            f"{is_queued}, and its mailbox sends nothing until {_clock_time(side.next_try_at)}"
            + (f": {trouble.sentence}" if trouble else "."),
            next_step=trouble.next_step if trouble else None,
        )


def _end_our_own_pause(row: Outbox, instant: datetime) -> None:
    """Have the mailbox send now, unless that is not for us to say."""
    Side.update(next_try_at=instant).where(
        (Side.mailbox == row.mailbox_id)
        & (Side.direction == "out")
        & (Side.next_try_at > instant)
        & ~Side.paused_by_server
    ).execute()


def _clock_time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def hold(outbox_id: int, *, author: str) -> None:
    """Keep it from being sent until `retry`.

    :raises InputError: it is not queued (any more)
    """
    _act(outbox_id, ("queued",), "held", outcome="held", author=author)


def cancel(outbox_id: int, *, author: str) -> None:
    """Never send it.

    :raises InputError: it is being sent, was sent, or may have been
    """
    _act(outbox_id, ("queued", "held", "failed"), "cancelled", outcome="cancelled", author=author)


def mark_sent(outbox_id: int, *, author: str) -> None:
    """Record that an unknown one arrived, as a person found out.

    :raises InputError: it is not unknown
    """
    _act(
        outbox_id,
        ("unknown",),
        "sent",
        outcome="marked-sent",
        author=author,
        pending="accepted",
        sent_at=now(),
        code=None,
        sentence=None,
        next_step=None,
    )


def _act(
    outbox_id: int,
    allowed: Collection[str],
    state: str,
    *,
    outcome: str,
    author: str,
    pending: str | None = None,
    **values: Any,
) -> None:
    """Change the state if it is still one of `allowed`.

    :param pending: the new state of recipients that have not accepted it
    """
    with transaction():
        row = _row(outbox_id, locked=True)
        if pending is not None:
            recipients = values["recipients"] = _with_pending(with_evidence(row), pending)
            if state != "sent" and have_all_accepted(recipients):
                raise InputError(
                    f"All recipients of mail {outbox_id} have accepted it.",
                    next_step=f"Run `postroom outbox mark-sent {outbox_id}`.",
                )
        changed = (
            Outbox.update(state=state, **values)
            .where((Outbox.id == outbox_id) & Outbox.state.in_(list(allowed)))
            .execute()
        )
        if not changed:
            raise InputError(
                f"Mail {outbox_id} is {row.state}; this takes one that is {_either(allowed)}."
            )
        Attempt.create(
            outbox=outbox_id,
            generation=row.generation,
            at=now(),
            outcome=outcome,
            detail=f"by {author}",
        )


def _row(outbox_id: int, *, locked: bool = False) -> Outbox:
    query = Outbox.select().where(Outbox.id == outbox_id)
    if locked and not is_sqlite():
        query = query.for_update()
    row: Outbox | None = query.first()
    if row is None:
        raise _missing(outbox_id)
    return row


def _with_pending(recipients: list[Document], state: str) -> list[Document]:
    """A retry also asks again those that were refused; who marks it sent says it of the rest."""
    left = ("queued", "deferred") if state == "accepted" else ("queued", "deferred", "refused")
    return [{**r, "state": state} if r["state"] in left else r for r in recipients]


def _either(states: Collection[str]) -> str:
    *first, last = states
    return f"{', '.join(first)} or {last}" if first else last


def _missing(outbox_id: int) -> NotFoundError:
    return NotFoundError(
        f"There is no outgoing mail {outbox_id}.",
        next_step="`postroom outbox list` shows what there is.",
    )
