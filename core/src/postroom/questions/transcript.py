"""Questions and messages as programs see them: the JSON of `postroom question show` and `export`,
and the bytes behind a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from peewee import JOIN

from postroom import mail
from postroom.clock import iso
from postroom.errors import NotFoundError
from postroom.mail.message import Attachment
from postroom.questions import questions
from postroom.store import raws
from postroom.store.database import rows
from postroom.store.models import Message, Outbox, Question, Raw

Document = dict[str, Any]
_PAGE: Final = 200


# ---------------------------------------------------------------------- questions


def summary(question: Question) -> Document:
    """Return the question without its messages."""
    contact, topic = question.contact, question.topic
    return {
        "number": question.id,
        "reference": questions.reference(question),
        "subject": question.subject,
        "status": question.status,
        "topic": topic.name if topic else None,
        "segment": question.segment.name,
        "mailbox": question.mailbox.address,
        "contact": _address(contact.address if contact else None, contact.name if contact else ""),
        "assignee": question.assignee,
        "created_at": _instant(question.created_at),
        "updated_at": _instant(question.updated_at),
    }


def shown(question: Question) -> Document:
    """Return the question with all of its messages, by date."""
    return _whole(question, _aliases([question.id]))


def export() -> Iterator[Document]:
    """Yield every question as `shown` does, in the order of numbers, one at a time in memory;
    merged ones are part of those that they were merged into."""
    aliases = _aliases()
    for question in questions.listing(oldest_first=True):
        yield _whole(question, aliases)


def _whole(question: Question, aliases: dict[int, list[int]]) -> Document:
    return {
        **summary(question),
        "aliases": aliases.get(question.id, []),
        "linked": list(question.linked_to),
        "messages": [message_document(message) for message in messages(question)],
    }


def _aliases(numbers: Iterable[int] | None = None) -> dict[int, list[int]]:
    """Return the numbers that were merged, by what they were merged into."""
    query = Question.select(Question.merged_into, Question.id).where(
        Question.merged_into.is_null(False)
    )
    if numbers is not None:
        query = query.where(Question.merged_into.in_(list(numbers)))
    found: dict[int, list[int]] = {}
    for into, number in rows(query.order_by(Question.id)):
        found.setdefault(into, []).append(number)
    return found


# ---------------------------------------------------------------------- messages


def messages(question: Question) -> Iterator[Message]:
    """Yield the messages of a question by date, with columns of the bytes and the outbox row where
    they have them; a note stands where it was written."""
    query = (
        Message.select(
            Message,
            Raw.size.alias("raw_size"),
            Raw.sha256.alias("raw_sha256"),
            Outbox.state.alias("outbox_state"),
        )
        .join_from(Message, Raw, JOIN.LEFT_OUTER, on=(Raw.id == Message.raw_id))
        .join_from(Message, Outbox, JOIN.LEFT_OUTER, on=(Outbox.message == Message.id))
        .where(Message.question == question.id)
        .objects()
    )
    yield from sorted(query, key=_when)


def _when(message: Message) -> tuple[datetime, int]:
    """A mail's own date orders it, but for dates that cannot be: those in the future."""
    arrived = message.received_at or message.created_at
    if message.date is None or message.date > arrived:
        return arrived, message.id
    return message.date, message.id


def message(number: int, message_id: int | None = None) -> Message:
    """Return a message of a question; by default the one that opened it.

    :raises NotFoundError: no such question, or no such message in it
    """
    question = questions.find(number)
    found = list(messages(question))
    if message_id is None:
        wanted = [m for m in found if m.kind == "question"] or [m for m in found if m.raw_id]
    else:
        wanted = [m for m in found if m.id == message_id]
    if not wanted:
        raise NotFoundError(
            f"Question {question.id} has no message {message_id}."
            if message_id is not None
            else f"Question {question.id} has no message.",
            next_step=f"`postroom question show {question.id}` shows its messages.",
        )
    return wanted[0]


def message_document(row: Message) -> Document:
    """Return a message that `messages` or `message` gave."""
    seen: Any = row  # with the columns of the join
    return {
        "id": row.id,
        "kind": row.kind,
        "direction": row.direction,
        "state": "received" if row.direction == "in" else seen.outbox_state,
        "from": _address(row.from_address, row.from_name),
        "to": _addresses(row.to),
        "cc": _addresses(row.cc),
        "reply_to": _addresses(row.reply_to),
        "subject": row.subject,
        "date": _instant(row.date),
        "received_at": _instant(row.received_at),
        "message_id": row.internet_id,
        "in_reply_to": row.in_reply_to,
        "references": row.references,
        "text": row.text,
        "reply_text": row.text if row.reply_text is None else row.reply_text,
        "html": _cleaned(row.html),
        "is_automatic": row.is_automatic,
        "is_bounce": row.is_bounce,
        "may_auto_reply": row.may_auto_reply,
        "attachments": row.attachments,
        "size": seen.raw_size,
        "raw_sha256": seen.raw_sha256,
        "is_stranger": row.is_stranger,
        "author": row.author,
        "problems": row.problems,
        "created_at": _instant(row.created_at),
    }


def indexed(attachment: Attachment) -> Document:
    """Return an attachment as the index of parts has it."""
    return {
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        "size": attachment.size,
        "sha256": attachment.sha256,
        "content_id": attachment.content_id,
        "inline": attachment.inline,
    }


def _cleaned(html: str | None) -> str | None:
    if html is None:
        return None
    from postroom.mail.html import clean

    return clean(html)


def _address(address: str | None, name: str) -> Document:
    return {"address": address, "name": name}


def _addresses(pairs: Iterable[tuple[str, str]]) -> list[Document]:
    return [_address(address, name) for address, name in pairs]


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


# ---------------------------------------------------------------------- bytes


def raw(row: Message) -> bytes:
    """Return the message as the server served it, or as it is sent.

    :raises NotFoundError: it has none: a note, or bytes that are no longer kept
    """
    if row.raw_id is None:
        raise NotFoundError("That message is a note; it was never mail.")
    return raws.load(row.raw_id)


def attachment(row: Message, index: int) -> Attachment:
    """Read an attachment out of the raw message.

    :param index: its place in the message's `attachments`, from 0
    :raises NotFoundError: there are fewer
    """
    if not 0 <= index < len(row.attachments):
        count = len(row.attachments)
        raise NotFoundError(f"Message {row.id} has {count} attachments, not number {index + 1}.")
    wanted = row.attachments[index]
    found = mail.parse(raw(row)).attachments
    if index < len(found) and found[index].sha256 == wanted["sha256"]:
        return found[index]
    for one in found:  # a newer parser may see other parts; the content tells
        if one.sha256 == wanted["sha256"]:
            return one
    raise NotFoundError(f"The attachment {wanted['filename']} cannot be read again.")
