"""Deletes a mailbox, with what came and went through it."""

from __future__ import annotations

from typing import Any

from postroom.errors import InputError
from postroom.store.database import rows, transaction
from postroom.store.models import (
    Attempt,
    Mailbox,
    Message,
    MessageKey,
    Outbox,
    Question,
    Raw,
    RawChunk,
    Receipt,
    Side,
)


def delete(mailbox: Mailbox, *, with_questions: bool = False) -> int:
    """Delete a mailbox with what came and went through it; return how many questions that were.

    A question of this mailbox in which another mailbox has messages too goes to that one; only the
    messages of this one are removed. Nothing happens on any server.

    :raises InputError: there are questions, and they are not to be deleted
    """
    with transaction():
        Side.delete().where(Side.mailbox == mailbox.id).execute()  # waits for what a visit commits
        questions = Question.select().where(Question.mailbox == mailbox.id).count()
        messages = Message.select().where(Message.mailbox == mailbox.id).count()
        if (questions or messages) and not with_questions:
            raise InputError(
                f"{mailbox.address} has {questions} questions with {messages} messages.",
                next_step="Disable it with `postroom mailbox disable`, or delete all of it with "
                "--with-questions --yes.",
            )
        _give_shared_questions_away(mailbox)
        gone = Question.select(Question.id).where(Question.mailbox == mailbox.id)
        count = gone.count()
        _delete_messages(mailbox)
        Question.delete().where(Question.merged_into.in_(gone)).execute()
        Question.delete().where(Question.mailbox == mailbox.id).execute()
        Mailbox.delete().where(Mailbox.id == mailbox.id).execute()
        _delete_unused_bytes()
    return int(count)


def _give_shared_questions_away(mailbox: Mailbox) -> None:
    shared = (
        Message.select(Message.question, Message.mailbox)
        .join(Question)
        .where((Question.mailbox == mailbox.id) & (Message.mailbox != mailbox.id))
        .order_by(Message.id.desc())
    )
    for question_id, other_id in rows(shared):  # the earliest message is written last
        Question.update(mailbox=other_id).where(Question.id == question_id).execute()


def _delete_messages(mailbox: Mailbox) -> None:
    mine: Any = Message.select(Message.id).where(Message.mailbox == mailbox.id)
    outbox = Outbox.select(Outbox.id).where(Outbox.mailbox == mailbox.id)
    Attempt.delete().where(Attempt.outbox.in_(outbox)).execute()
    Outbox.delete().where(Outbox.mailbox == mailbox.id).execute()
    Receipt.delete().where(Receipt.mailbox == mailbox.id).execute()
    MessageKey.delete().where(MessageKey.message.in_(mine)).execute()
    Message.delete().where(Message.mailbox == mailbox.id).execute()


def _delete_unused_bytes() -> None:
    used = (
        Message.select(Message.raw_id).where(Message.raw_id.is_null(False))
        | Receipt.select(Receipt.raw_id).where(Receipt.raw_id.is_null(False))
        | Outbox.select(Outbox.raw_id)
    )
    RawChunk.delete().where(RawChunk.raw_id.not_in(used)).execute()
    Raw.delete().where(Raw.id.not_in(used)).execute()
