"""How a mail of ours is written down: composed, its bytes, its message and its outbox row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from postroom import mail
from postroom.mail.compose.compose import Draft, compose, new_message_id
from postroom.mail.domains import address_key
from postroom.mail.message import Address
from postroom.mail.threading import id_key, reply_references
from postroom.questions.contacts import contact_key
from postroom.questions.transcript import indexed
from postroom.store import raws
from postroom.store.database import insert
from postroom.store.models import Mailbox, Message, MessageKey, Outbox, Question, Side


@dataclass(frozen=True, slots=True)
class Letterhead:
    """As whom a mailbox writes."""

    from_: Address
    reply_to: tuple[Address, ...]

    def new_message_id(self) -> str:
        """Return a new id in our own domain."""
        return new_message_id(self.from_.address.rpartition("@")[2])


def letterhead(mailbox: Mailbox) -> Letterhead | None:
    """Return as whom the mailbox writes; None: it has no outgoing side."""
    side = Side.get_or_none((Side.mailbox == mailbox.id) & (Side.direction == "out"))
    if side is None:
        return None
    sender = side.send_as or mailbox.address
    answers_to = side.reply_to or mailbox.address
    same = address_key(answers_to) == address_key(sender)
    reply_to = () if same else (Address(answers_to, mailbox.name),)
    return Letterhead(Address(sender, mailbox.name), reply_to)


def queue(
    question: Question,
    mailbox: Mailbox,
    draft: Draft,
    *,
    message_id: int,
    kind: str,
    author: str | None = None,
    instant: datetime,
) -> tuple[Message, Outbox]:
    """Compose, store and queue a mail in the caller's transaction.

    :raises ValueError: it cannot be composed; nothing was written
    """
    raw = compose(draft)
    is_automatic = draft.automatic is not None
    raw_id = raws.save(raw)
    message = Message(
        id=message_id,
        question=question.id,
        mailbox=mailbox.id,
        kind=kind,
        direction="out",
        raw_id=raw_id,
        from_address=draft.from_.address,
        from_name=draft.from_.name,
        to=_pairs(draft.to),
        cc=_pairs(draft.cc),
        reply_to=_pairs(draft.reply_to),
        subject=draft.subject,
        date=draft.date,
        internet_id=draft.message_id,
        in_reply_to=[draft.in_reply_to] if draft.in_reply_to else [],
        references=list(draft.references),
        text=draft.text,
        html=draft.html,
        is_automatic=is_automatic,
        attachments=[indexed(a) for a in mail.parse(raw).attachments] if draft.attachments else [],
        author=author,
        created_at=instant,
    )
    insert(message)
    insert(MessageKey(key=id_key(draft.message_id), names=False, message=message_id))
    return message, _outbox_row(draft, message, raw_id, is_automatic=is_automatic, instant=instant)


def _outbox_row(
    draft: Draft, message: Message, raw_id: int, *, is_automatic: bool, instant: datetime
) -> Outbox:
    recipients = list(distinct((*draft.to, *draft.cc)))
    row: Outbox = Outbox.create(
        mailbox=message.mailbox_id,
        message=message.id,
        raw_id=raw_id,
        internet_id=draft.message_id,
        sender="" if is_automatic else draft.from_.address,
        is_automatic=is_automatic,
        recipient_key=correspondent_key(recipients[0].address),
        recipients=[{"address": one.address, "state": "queued", "reply": ""} for one in recipients],
        created_at=instant,
        queued_at=instant,
    )
    return row


def correspondent_key(address: str) -> str:
    """Return by what automatic mails to an address are counted: machines that put a ticket's number
    into it (``desk+id7@``) are one correspondent."""
    local, _, domain = contact_key(address).rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}"


def distinct(addresses: Iterable[Address], *, without: Iterable[str] = ()) -> tuple[Address, ...]:
    """Return each address once, and none of `without` (comparison keys)."""
    seen = set(without)
    found: list[Address] = []
    for one in addresses:
        key = address_key(one.address)
        if key not in seen:
            seen.add(key)
            found.append(one)
    return tuple(found)


def addresses(pairs: Iterable[tuple[str, str] | list[str]]) -> tuple[Address, ...]:
    """Return the addresses of a stored list."""
    return tuple(Address(address, name) for address, name in pairs)


def _pairs(group: Iterable[Address]) -> list[Any]:
    return [[one.address, one.name] for one in group]


def references(answered: Message) -> tuple[str, ...]:
    """Return the References of an answer to a message (RFC 5322 section 3.6.4)."""
    return reply_references(answered.internet_id, answered.references, answered.in_reply_to)
