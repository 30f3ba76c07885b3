"""What goes out from a question: acknowledgements and answers; and notes, which stay inside.

Everything runs in the caller's transaction, or in one of its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from postroom.api import codes
from postroom.errors import InputError
from postroom.mail.automatic import is_usable
from postroom.mail.compose import Draft, OutgoingFile
from postroom.mail.domains import address_key
from postroom.mail.html import to_text
from postroom.mail.message import Address
from postroom.mail.text import readable, storable
from postroom.mail.threading import reply_references, reply_subject
from postroom.mailboxes import templates
from postroom.mailboxes.views import own_addresses
from postroom.names import checked_name
from postroom.outbox.outgoing import (
    addresses,
    correspondent_key,
    distinct,
    letterhead,
    new_id,
    queue,
)
from postroom.questions import questions
from postroom.store.database import is_among, now, rows, transaction
from postroom.store.models import Mailbox, Message, Outbox, Question

logger = logging.getLogger(__name__)

MOST_AUTOMATIC: Final = 5
AUTOMATIC_SPAN: Final = timedelta(hours=24)
"""One correspondent gets at most so many automatic mails in that time, whatever headers say."""

MOST_COPIES: Final = 100
_LONGEST_ECHO: Final = 100
_LINK = re.compile(r"://|www\.|\b[\w-]+\.[a-z]{2,}/", re.IGNORECASE)


class OutgoingMissingError(InputError):
    """The mailbox cannot send."""

    code = codes.OUTGOING_MISSING


# ---------------------------------------------------------------------- acknowledgements


class Acknowledgements:
    """Tells customers of one mailbox that their questions were received; what all of a batch have
    in common is read once. In the caller's transaction.

    :param numbers: of the questions that may be acknowledged
    """

    def __init__(self, mailbox: Mailbox, numbers: Iterable[int]) -> None:
        self._mailbox = mailbox
        self._head = letterhead(mailbox)
        self._own = own_addresses()
        self._done = _acknowledged(numbers)
        self._had: dict[str, int] = {}
        """How many automatic mails a correspondent had lately, by `correspondent_key`."""
        self._told: set[str] = set()

    def queue(self, question: Question, message: Message, template: str) -> Outbox | None:
        """Queue one; None: better not.

        :param message: what opened the question
        :param template: see `templates`; blank: the default text
        """
        if self._head is None or question.id in self._done:
            return None
        recipient = _acknowledged_to(message, self._own)
        if recipient is None or not _may_acknowledge(question, message, self._mailbox):
            return None
        message_id = new_id()
        if self._has_had_enough(recipient, question):
            return None
        draft = Draft(
            from_=self._head.from_,
            to=(recipient,),
            reply_to=self._head.reply_to,
            subject=_acknowledged_subject(question, message),
            text=_acknowledgement_text(question, self._mailbox, template),
            message_id=self._head.new_message_id(),
            date=now().replace(microsecond=0),
            in_reply_to=message.internet_id,
            references=_references(message),
            automatic="auto-replied",
        )
        kind = "acknowledgement"
        try:
            _, row = queue(
                question, self._mailbox, draft, message_id=message_id, kind=kind, instant=now()
            )
        except ValueError as error:  # an address that cannot be written; no reason to lose the mail
            logger.info("Question %s is not acknowledged: %s", question.id, error)
            return None
        self._done.add(question.id)
        self._had[correspondent_key(recipient.address)] += 1
        return row

    def _has_had_enough(self, recipient: Address, question: Question) -> bool:
        key = correspondent_key(recipient.address)
        if key not in self._had:
            self._had[key] = _automatic_mails_to(key)
        had = self._had[key]
        if had >= MOST_AUTOMATIC and key not in self._told:
            self._told.add(key)
            logger.info(
                "Question %s is not acknowledged: its sender had %s automatic mails within a day, "
                "and gets no more.",
                question.id,
                had,
            )
        return had >= MOST_AUTOMATIC


def _may_acknowledge(question: Question, message: Message, mailbox: Mailbox) -> bool:
    """First contact is safe: what an account received before it was watched is never answered."""
    if not message.may_auto_reply or question.status == "spam":
        return False
    received_at: datetime | None = message.received_at
    return received_at is not None and received_at >= mailbox.first_contact_at


def _acknowledged_to(message: Message, own: Collection[str]) -> Address | None:
    """Return the one to tell: Reply-To, else From; nobody if either is one of ours."""
    named = addresses(message.reply_to)
    sender = Address(message.from_address, message.from_name) if message.from_address else None
    if any(address_key(one.address) in own for one in (*named, *([sender] if sender else []))):
        return None
    recipient = named[0] if named else sender
    return recipient if recipient is not None and is_usable(recipient.address) else None


def _acknowledged(numbers: Iterable[int]) -> set[int]:
    """Return which of these questions were acknowledged."""
    query = Message.select(Message.question).where(
        is_among(Message.question, numbers) & (Message.kind == "acknowledgement")
    )
    return {number for (number,) in rows(query)}


def _automatic_mails_to(key: str) -> int:
    """Count what went to this correspondent from any mailbox, sent or on its way."""
    return int(
        Outbox.select()
        .where(
            (Outbox.recipient_key == key)
            & (Outbox.created_at > now() - AUTOMATIC_SPAN)
            & Outbox.is_automatic
            & (Outbox.state != "cancelled")
        )
        .count()
    )


def _acknowledged_subject(question: Question, message: Message) -> str:
    """`Re:` and the customer's subject, for their mail program; bounded, and without links, so that
    nobody can have us carry an advertisement."""
    words = " ".join(message.subject.split())
    echo = "" if _LINK.search(words) else words[:_LONGEST_ECHO]
    return reply_subject(echo, questions.reference(question))


def _acknowledgement_text(question: Question, mailbox: Mailbox, template: str) -> str:
    seen = templates.values(
        number=question.id,
        reference=questions.reference(question),
        mailbox_name=mailbox.name,
        mailbox_address=mailbox.address,
        segment_name=mailbox.segment.name,
    )
    return templates.render(template, seen)


# ---------------------------------------------------------------------- answers


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
    author = _checked_author(author)
    if not text.strip() and html:
        text = to_text(html)
    if not text.strip() and not attachments:
        raise InputError("The answer is empty.")
    with transaction():
        message_id = new_id()
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
        references=_references(asked),
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


def _references(message: Message) -> tuple[str, ...]:
    return reply_references(message.internet_id, message.references, message.in_reply_to)


# ---------------------------------------------------------------------- notes


def note(question: Question, text: str, *, author: str) -> Message:
    """Add an internal note.

    :raises InputError: it is empty
    """
    author = _checked_author(author)
    text = readable(text).strip("\n")
    if not text.strip():
        raise InputError("The note is empty.")
    with transaction():
        message_id = new_id()
        question = questions.lock(question.id)
        instant = now()
        message: Message = Message.create(
            id=message_id,
            question=question.id,
            mailbox=question.mailbox_id,
            kind="note",
            direction="none",
            from_name=author,
            date=instant,
            text=text,
            author=author,
            created_at=instant,
        )
        questions.note_work(question)
    return message


def _checked_author(author: str) -> str:
    try:
        return checked_name(author)
    except ValueError as error:
        raise InputError(f"The author's name {error}.") from error
