"""Tells customers that their question was received: once a question, and a bounded number each."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

from postroom.mail.compose.compose import Draft
from postroom.mail.domains import address_key
from postroom.mail.machines.automatic import is_usable
from postroom.mail.message import Address
from postroom.mail.threading import reply_subject
from postroom.mailboxes import templates
from postroom.mailboxes.views import own_addresses
from postroom.outbox.outgoing import (
    addresses,
    correspondent_key,
    letterhead,
    queue,
    references,
)
from postroom.questions import questions
from postroom.store.database import is_among, now, rows
from postroom.store.models import Mailbox, Message, Outbox, Question

logger = logging.getLogger(__name__)

MOST_AUTOMATIC: Final = 5
AUTOMATIC_SPAN: Final = timedelta(hours=24)
"""One correspondent gets at most so many automatic mails in that time, whatever headers say."""

_LONGEST_ECHO: Final = 100
_LINK = re.compile(r"://|www\.|\b[\w-]+\.[a-z]{2,}/", re.IGNORECASE)


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
        message_id = questions.reserve_message()
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
            references=references(message),
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
