"""Topics: the categories that questions of a segment are put into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from postroom import names
from postroom.api.errors import Problem
from postroom.errors import InputError, NotFoundError
from postroom.mailboxes import segments
from postroom.store.database import transaction
from postroom.store.models import Filter, Mailbox, Question, Segment, Topic


def find(segment: Segment, name: str) -> Topic:
    """Return a topic of a segment by its name.

    :raises NotFoundError: with the nearest name
    """
    found: Topic | None = Topic.get_or_none(
        (Topic.segment == segment.id) & (Topic.name_key == names.name_key(name))
    )
    if found is None:
        topics = Topic.select(Topic.name).where(Topic.segment == segment.id)
        hint = names.nearest(name, [topic.name for topic in topics])
        raise NotFoundError(f'The segment "{segment.name}" has no topic "{name}"; {hint}')
    return found


def put(segment_name: object, name: object) -> list[str]:
    """Make a topic exist; return the names of what changed.

    :raises InputError: with every problem
    """
    segment, problems = segments.named_by(segment_name)
    tidy = ""
    try:
        tidy = names.checked_name(name)
    except ValueError as error:
        problems.append(Problem("name", str(error)))
    if segment is None or problems:
        raise InputError("The topic is not right.", problems)
    key = names.name_key(tidy)
    with transaction():
        old = Topic.get_or_none((Topic.segment == segment.id) & (Topic.name_key == key))
        if old is None:
            Topic.create(segment=segment.id, name=tidy, name_key=key)
            return ["added"]
        if old.name == tidy:
            return []
        _rename(old, tidy)
        return ["name"]


def rename(segment_name: str, old_name: str, new_name: str) -> None:
    """Give a topic another name; filters that set it follow."""
    segment = segments.find(segment_name)
    topic = find(segment, old_name)
    new_name = segments.checked_name(new_name)
    key = names.name_key(new_name)
    others = (Topic.segment == segment.id) & (Topic.name_key == key) & (Topic.id != topic.id)
    with transaction():
        segments.refuse_taken(Topic.select().where(others))
        _rename(topic, new_name)


def remove(segment_name: str, name: str) -> None:
    """Remove a topic that nothing uses.

    :raises InputError: something does; says what
    """
    topic = find(segments.find(segment_name), name)
    with transaction():
        segments.refuse_used(
            topic.name,
            {
                "mailboxes": Mailbox.select().where(Mailbox.topic == topic.id).count(),
                "questions": Question.select().where(Question.topic == topic.id).count(),
                "filters": Filter.select().where(_filters_with(topic)).count(),
            },
        )
        Topic.delete().where(Topic.id == topic.id).execute()


def listed(segment_name: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield topics with the number of their questions, of one segment or of all."""
    query = Topic.select(Topic, Segment).join(Segment).order_by(Segment.name_key, Topic.name_key)
    if segment_name is not None:
        query = query.where(Topic.segment == segments.find(segment_name).id)
    for topic in query:
        questions = Question.select().where(Question.topic == topic.id).count()
        yield {"segment": topic.segment.name, "name": topic.name, "questions": questions}


def _rename(topic: Topic, name: str) -> None:
    Filter.update(topic=name).where(_filters_with(topic)).execute()
    values = {"name": name, "name_key": names.name_key(name)}
    Topic.update(values).where(Topic.id == topic.id).execute()


def _filters_with(topic: Topic) -> Any:
    return (Filter.segment == topic.segment_id) & (Filter.topic == topic.name)
