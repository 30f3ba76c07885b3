"""Moving a mailbox to another segment, and deleting one."""

from __future__ import annotations

from typing import Any

from postroom.errors import InputError, NotFoundError
from postroom.mailboxes import segments
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
    Segment,
    Topic,
)


def move(mailbox: Mailbox, segment_name: str, *, with_questions: bool = False) -> int:
    """Make new questions of a mailbox open in another segment; return how many old ones moved.

    A topic stays where the other segment has one of its name, else it is taken off.

    :raises NotFoundError: no such segment
    """
    segment = segments.find(segment_name)
    with transaction():
        topic = _same_topic(segment, mailbox.topic_id)
        Mailbox.update(segment=segment.id, topic=topic).where(Mailbox.id == mailbox.id).execute()
        return _move_questions(mailbox, segment) if with_questions else 0


def _move_questions(mailbox: Mailbox, segment: Segment) -> int:
    affected = (Question.mailbox == mailbox.id) & (Question.segment != segment.id)
    used = Question.select(Question.topic).where(affected & Question.topic.is_null(False))
    for (topic_id,) in rows(used.distinct()):
        values = {"topic": _same_topic(segment, topic_id)}
        Question.update(values).where(affected & (Question.topic == topic_id)).execute()
    return int(Question.update(segment=segment.id).where(affected).execute())


def _same_topic(segment: Segment, topic_id: int | None) -> int | None:
    topic = Topic.get_or_none(Topic.id == topic_id)
    if topic is None:
        return None
    try:
        return int(segments.find_topic(segment, topic.name).id)
    except NotFoundError:
        return None


def delete(mailbox: Mailbox, *, with_questions: bool = False) -> int:
    """Delete a mailbox with what came and went through it; return how many questions that were.

    A question of this mailbox in which another mailbox has messages too goes to that one; only the
    messages of this one are removed. Nothing happens on any server.

    :raises InputError: there are questions, and they are not to be deleted
    """
    with transaction():
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
