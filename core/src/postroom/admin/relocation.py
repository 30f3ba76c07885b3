"""Moves a mailbox to another segment."""

from __future__ import annotations

from postroom.errors import NotFoundError
from postroom.mailboxes import segments, sides, topics
from postroom.store.database import rows, transaction
from postroom.store.models import Mailbox, Question, Segment, Topic


def move(mailbox: Mailbox, segment_name: str, *, with_questions: bool = False) -> int:
    """Make new questions of a mailbox open in another segment; return how many old ones moved.

    A topic stays where the other segment has one of its name, else it is taken off.

    :raises NotFoundError: no such segment
    """
    segment = segments.find(segment_name)
    with transaction():
        sides.end_visits(mailbox)  # one under way would open questions in the former segment
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
        return int(topics.find(segment, topic.name).id)
    except NotFoundError:
        return None
