"""Segments: departments or brands, and what their mailboxes have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from postroom import names
from postroom.api.errors import Problem
from postroom.errors import InputError, NotFoundError, in_one_line
from postroom.mailboxes import templates
from postroom.store.database import now, transaction
from postroom.store.models import Filter, Mailbox, Question, Segment, Topic

DEFAULT: Final = "default"


def ensure_default() -> bool:
    """Make the segment ``default`` if there is none; say whether it was made."""
    with transaction():
        added = Segment.insert(
            name=DEFAULT, name_key=DEFAULT, created_at=now()
        ).on_conflict_ignore()
        return bool(added.as_rowcount().execute())


def find(name: object) -> Segment:
    """Return a segment by its name.

    :raises NotFoundError: with the nearest name
    :raises InputError: that is no name
    """
    if not isinstance(name, str):
        raise InputError("The name is not right.", [Problem("segment", "must be text")])
    found: Segment | None = Segment.get_or_none(Segment.name_key == names.name_key(name))
    if found is None:
        if names.name_key(name) == DEFAULT:  # it always exists
            ensure_default()
            return find(DEFAULT)
        known = [segment.name for segment in Segment.select(Segment.name)]
        raise NotFoundError(f'There is no segment "{name}"; {names.nearest(name, known)}')
    return found


def named_by(name: object) -> tuple[Segment | None, list[Problem]]:
    """Return the segment that an entry names, or what is wrong with that."""
    try:
        return find(name), []
    except NotFoundError as error:
        return None, [Problem("segment", error.sentence)]
    except InputError as error:
        return None, list(error.problems)


def exists(name: str) -> bool:
    """Say whether there is a segment of that name."""
    return bool(Segment.select().where(Segment.name_key == names.name_key(name)).exists())


def put(name: object, acknowledgement: object) -> list[str]:
    """Make a segment be so; return the names of what changed.

    :param acknowledgement: the template of acknowledgements, None: the one that is built in
    :raises InputError: with every problem
    """
    problems = []
    tidy = ""
    try:
        tidy = names.checked_name(name)
    except ValueError as error:
        problems.append(Problem("name", str(error)))
    try:
        _check_template(acknowledgement)
    except ValueError as error:
        problems.append(Problem("acknowledgement", str(error)))
    if problems:
        raise InputError("The segment is not right.", problems)
    values = {"name": tidy, "acknowledgement": acknowledgement}
    with transaction():
        old = Segment.get_or_none(Segment.name_key == names.name_key(tidy))
        if old is None:
            Segment.create(name_key=names.name_key(tidy), created_at=now(), **values)
            return ["added"]
        changed = [field for field, value in values.items() if getattr(old, field) != value]
        if changed:
            Segment.update(values).where(Segment.id == old.id).execute()
        return changed


def rename(old_name: str, new_name: str) -> None:
    """Give a segment another name."""
    segment = find(old_name)
    new_name = checked_name(new_name)
    key = names.name_key(new_name)
    if segment.name_key == DEFAULT and key != DEFAULT:
        raise InputError('The segment "default" keeps its name.')
    with transaction():
        refuse_taken(Segment.select().where((Segment.name_key == key) & (Segment.id != segment)))
        Segment.update(name=new_name, name_key=key).where(Segment.id == segment.id).execute()


def remove(name: str) -> None:
    """Remove a segment that nothing is in.

    :raises InputError: something is; says what
    """
    segment = find(name)
    if segment.name_key == DEFAULT:
        raise InputError('The segment "default" always exists.')
    with transaction():
        refuse_used(
            segment.name,
            {
                "mailboxes": Mailbox.select().where(Mailbox.segment == segment.id).count(),
                "questions": Question.select().where(Question.segment == segment.id).count(),
            },
        )
        Filter.delete().where(Filter.segment == segment.id).execute()
        Topic.delete().where(Topic.segment == segment.id).execute()
        Segment.delete().where(Segment.id == segment.id).execute()


def listed() -> Iterator[dict[str, Any]]:
    """Yield every segment with the number of what is in it, by name."""
    for segment in Segment.select().order_by(Segment.name_key):
        yield shown(segment)


def shown(segment: Segment) -> dict[str, Any]:
    """Return a segment for people and programs."""
    return {
        "name": segment.name,
        "mailboxes": Mailbox.select().where(Mailbox.segment == segment.id).count(),
        "topics": [
            topic.name
            for topic in Topic.select().where(Topic.segment == segment.id).order_by(Topic.name_key)
        ],
        "filters": Filter.select().where(Filter.segment == segment.id).count(),
        "questions": Question.select().where(Question.segment == segment.id).count(),
        "acknowledgement": segment.acknowledgement,
        "created_at": segment.created_at,
    }


# ---------------------------------------------------------------------------- checks


def checked_name(name: object) -> str:
    """Return a new name, tidied up.

    :raises InputError: it is none
    """
    try:
        return names.checked_name(name)
    except ValueError as error:
        raise InputError("The name is not right.", [Problem("name", str(error))]) from error


def _check_template(template: object) -> None:
    if template is None:
        return
    if not isinstance(template, str):
        raise ValueError("must be text")
    if "\0" in template:
        raise ValueError("must hold no NUL")
    try:
        templates.check(template)
    except InputError as error:
        raise ValueError(in_one_line(error.sentence, error.next_step)) from error


def refuse_taken(query: Any) -> None:
    """Refuse a name that what a query finds has already.

    :raises InputError: it finds something
    """
    taken = query.first()
    if taken is not None:
        raise InputError(f'The name "{taken.name}" is taken.')


def refuse_used(name: str, uses: dict[str, int]) -> None:
    """Refuse to remove what is used, by so many of each kind.

    :raises InputError: it is used
    """
    used = [f"{count} {what}" for what, count in uses.items() if count]
    if used:
        raise InputError(f'"{name}" cannot be removed: {", ".join(used)} use it.')
