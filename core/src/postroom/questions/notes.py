"""Internal notes: what agents write to one another beside a conversation."""

from __future__ import annotations

from postroom.errors import InputError
from postroom.mail.text import readable
from postroom.questions import questions
from postroom.store.database import now, transaction
from postroom.store.models import Message, Question


def add(question: Question, text: str, *, author: str) -> Message:
    """Add an internal note.

    :raises InputError: it is empty
    """
    author = questions.checked_author(author)
    text = readable(text).strip("\n")
    if not text.strip():
        raise InputError("The note is empty.")
    with transaction():
        message_id = questions.reserve_message()
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
