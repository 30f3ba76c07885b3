"""A helpdesk with a segment and a mailbox, to which mail comes without a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.mail import ParsedMessage, parse
from postroom.mail.threading import id_key
from postroom.questions import contacts
from postroom.store import raws
from postroom.store.database import allocate_ids, transaction
from postroom.store.models import Mailbox, Message, MessageKey, Question, Segment, Side

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
MAIL = """\
Received: from a by b; {date}
From: {sender}
To: info@example.org
Subject: {subject}
Message-ID: <{id}@customer.example>
Date: {date}
{more}

{text}
"""


@dataclass
class Desk:
    """The mailbox info@example.org of the segment support, made on 2026-01-01."""

    segment: Segment
    mailbox: Mailbox
    received: int = 0
    arrived: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=30))

    def mail(self, **values: str) -> bytes:
        """Return a mail of Ann's; `more` are header lines."""
        self.received += 1
        filled = {
            "sender": "Ann <ann@customer.example>",
            "subject": "A question",
            "id": f"id{self.received}",
            "date": f"{self.arrived:%a, %d %b %Y %H:%M:%S +0000}",
            "more": "X-Mailer: none",
            "text": "How much is it?",
            **values,
        }
        return MAIL.format(**filled).replace("\n", "\r\n").encode()

    def receive(
        self,
        raw: bytes | None = None,
        *,
        question: Question | None = None,
        is_stranger: bool = False,
        received_at: datetime | None = None,
        **values: str,
    ) -> Message:
        """Store a mail: in a question of its own, or as a reply in that one."""
        raw = self.mail(**values) if raw is None else raw
        parsed = parse(raw)
        self.arrived += timedelta(minutes=1)
        with transaction():
            if question is None:
                question, kind = self._open(parsed), "question"
            else:
                kind = "reply"
            return self._store(raw, parsed, question, kind, is_stranger, received_at)

    def _open(self, parsed: ParsedMessage) -> Question:
        assert parsed.from_
        people = contacts.ensure([parsed.from_])
        opened: Question = Question.create(
            id=allocate_ids(Question, 1)[0],
            segment=self.segment,
            mailbox=self.mailbox,
            contact=next(iter(people.values())),
            subject=parsed.subject,
            created_at=self.arrived,
            updated_at=self.arrived,
        )
        return opened

    def _store(
        self,
        raw: bytes,
        parsed: ParsedMessage,
        question: Question,
        kind: str,
        is_stranger: bool,
        received_at: datetime | None,
    ) -> Message:
        assert parsed.from_
        message: Message = Message.create(
            id=allocate_ids(Message, 1)[0],
            question=question,
            mailbox=self.mailbox,
            kind=kind,
            direction="in",
            raw_id=raws.save(raw),
            from_address=parsed.from_.address,
            from_name=parsed.from_.name,
            to=[[a.address, a.name] for a in parsed.to],
            cc=[[a.address, a.name] for a in parsed.cc],
            reply_to=[[a.address, a.name] for a in parsed.reply_to],
            subject=parsed.subject,
            date=parsed.date,
            received_at=received_at or self.arrived,
            internet_id=parsed.message_id,
            in_reply_to=list(parsed.in_reply_to),
            references=list(parsed.references),
            text=parsed.text,
            reply_text=None if parsed.reply_text == parsed.text else parsed.reply_text,
            html=parsed.html_original,
            may_auto_reply=parsed.may_auto_reply,
            is_stranger=is_stranger,
            attachments=[
                {
                    "filename": a.filename,
                    "content_type": a.content_type,
                    "size": a.size,
                    "sha256": a.sha256,
                    "content_id": a.content_id,
                    "inline": a.inline,
                }
                for a in parsed.attachments
            ],
            created_at=self.arrived,
        )
        MessageKey.create(key=id_key(parsed.message_id or ""), names=False, message=message.id)
        return message


@pytest.fixture
def desk(store: str) -> Desk:
    """A helpdesk that can send."""
    segment = Segment.create(name="support", name_key="support", created_at=CREATED)
    mailbox = Mailbox.create(
        address="info@example.org",
        address_key="info@example.org",
        name="Example Support",
        segment=segment,
        aliases=["help@example.org"],
        created_at=CREATED,
    )
    Side.create(mailbox=mailbox, direction="out", transport="smtp")
    return Desk(segment, mailbox)


@pytest.fixture
def parsed() -> Callable[..., ParsedMessage]:
    """Parse a mail made of header lines and a text."""

    def make(*headers: str, text: str = "Hello", **_: Any) -> ParsedMessage:
        return parse("\r\n".join([*headers, "", text, ""]).encode())

    return make
