"""An agent's answer to a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from postroom.api import codes
from postroom.errors import InputError
from postroom.mail.compose.compose import Draft, OutgoingFile
from postroom.mail.domains import address_key
from postroom.mail.html import to_text
from postroom.mail.machines.automatic import is_usable
from postroom.mail.message import Address
from postroom.mail.text import storable
from postroom.mail.threading import reply_subject
from postroom.mailboxes.views import own_addresses
from postroom.outbox.outgoing import addresses, distinct, letterhead, queue, references
from postroom.questions import questions
from postroom.store.database import now, transaction
from postroom.store.models import Message, Question

MOST_COPIES: Final = 100


class OutgoingMissingError(InputError):
    """The mailbox cannot send."""

    code = codes.OUTGOING_MISSING


def answer(
    question: Question,
    text: str,
    *,
    author: str,
    html: str | None = None,
    attachments: Sequence[OutgoingFile] = (),
    reply_all: bool = False,
) -> Message:
    """Queue an agent's answer to the customer's last message.

    :param reply_all: also to those in its To and Cc, less our own addresses
    :raises InputError: nothing to say, nobody to say it to, marked as spam, or no outgoing side
    """
    author = questions.checked_author(author)
    if not text.strip() and html:
        text = to_text(html)
    if not text.strip() and not attachments:
        raise InputError("The answer is empty.")
    with transaction():
        message_id = questions.reserve_message()
        question = questions.lock(question.id)
        if question.status == "spam":
            raise InputError(
                f"Question {question.id} is marked as spam.",
                next_step=f"Run `postroom question reopen {question.id}` first.",
            )
        draft = _draft(question, text, html, attachments, reply_all=reply_all)
        message = _queue_answer(question, draft, message_id, author)
        questions.note_work(question, author=author)
    return message


def _draft(
    question: Question,
    text: str,
    html: str | None,
    attachments: Sequence[OutgoingFile],
    *,
    reply_all: bool,
) -> Draft:
    head = letterhead(question.mailbox)
    if head is None:
        raise OutgoingMissingError(
            f"The mailbox {question.mailbox.address} has no outgoing side to send an answer with."
        )
    asked = _last_of_the_customer(question)
    to, cc = _recipients(question, asked, reply_all=reply_all)
    subject = question.subject or asked.subject
    return Draft(
        from_=head.from_,
        to=to,
        cc=cc,
        reply_to=head.reply_to,
        subject=reply_subject(subject, questions.reference(question)),
        text=storable(text),
        html=storable(html) if html else None,
        attachments=tuple(attachments),
        message_id=head.new_message_id(),
        date=now().replace(microsecond=0),
        in_reply_to=asked.internet_id,
        references=references(asked),
    )


def _queue_answer(question: Question, draft: Draft, message_id: int, author: str) -> Message:
    try:
        message, _ = queue(
            question,
            question.mailbox,
            draft,
            message_id=message_id,
            kind="answer",
            author=author,
            instant=now(),
        )
    except ValueError as error:
        raise InputError(f"The answer cannot be composed: {error}.") from error
    return message


def _last_of_the_customer(question: Question) -> Message:
    """Return the message to answer: the latest, but not one of a stranger who joined."""
    theirs = Message.select().where(
        (Message.question == question.id)
        & (Message.direction == "in")
        & Message.kind.in_(["question", "reply"])
    )
    latest = theirs.where(~Message.is_stranger).order_by(
        Message.received_at.desc(), Message.id.desc()
    )
    found: Message | None = latest.first() or theirs.where(Message.kind == "question").first()
    if found is None:
        raise InputError(f"Question {question.id} has no message of a customer to answer.")
    return found


def _recipients(
    question: Question, asked: Message, *, reply_all: bool
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    own = own_addresses()
    usable = [one for one in addresses(asked.reply_to) if is_usable(one.address)]
    to = distinct(usable, without=own)
    if not to and asked.from_address and is_usable(asked.from_address):
        to = distinct([Address(asked.from_address, asked.from_name)], without=own)
    if not to:
        raise InputError(
            f"Question {question.id} names no address that could be answered.",
            next_step="Look at the original with `postroom question raw`.",
        )
    if not reply_all:
        return to, ()
    others = (one for one in addresses([*asked.to, *asked.cc]) if is_usable(one.address))
    without = own | {address_key(one.address) for one in to}
    return to, distinct(others, without=without)[:MOST_COPIES]
