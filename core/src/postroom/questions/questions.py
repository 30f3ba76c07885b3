"""Questions as agents work on them: found, listed, assigned, resolved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from peewee import JOIN

from postroom.errors import InputError, NotFoundError
from postroom.mail.threading import make_tag
from postroom.mailboxes import mailboxes, segments
from postroom.names import checked_name, name_key
from postroom.secrets import installation_secret
from postroom.store.database import allocate_ids, is_sqlite, now, transaction
from postroom.store.models import Contact, Mailbox, Message, Question, Segment, Topic

_PAGE: Final = 200
_MOST_MERGES: Final = 1_000


# ---------------------------------------------------------------------- found


def reference(question: Question) -> str:
    """Return what a customer may quote: `#123-k7f3q2x9vd`."""
    return make_tag(question.id, installation_secret())


def find(number: int) -> Question:
    """Return the question of that number, or the one it was merged into.

    :raises NotFoundError: there is none
    """
    return _follow(number, locked=False)


def lock(number: int) -> Question:
    """Return it as `find` does, locked until the caller's transaction ends."""
    return _follow(number, locked=True)


def reserve_message() -> int:
    """Return the id of a message to come.

    First in a transaction: a retrieval takes the counter before it locks questions, and so must
    everybody, else two transactions wait for each other.
    """
    return allocate_ids(Message, 1)[0]


def checked_author(author: str) -> str:
    """Return the name of who writes an answer or a note, white space collapsed.

    :raises InputError: not a name
    """
    try:
        return checked_name(author)
    except ValueError as error:
        raise InputError(f"The author's name {error}.") from error


def _follow(number: int, *, locked: bool) -> Question:
    wanted = number
    for _ in range(_MOST_MERGES):
        query = Question.select().where(Question.id == wanted)
        if locked and not is_sqlite():
            query = query.for_update()
        question: Question | None = query.first()
        if question is None:
            break
        if question.merged_into_id is None:
            return question
        wanted = question.merged_into_id
    raise NotFoundError(
        f"There is no question {number}.",
        next_step="`postroom question list` shows those that there are.",
    )


def listing(
    *,
    status: str | None = None,
    segment: str | None = None,
    mailbox: str | None = None,
    topic: str | None = None,
    assignee: str | None = None,
    limit: int | None = None,
    oldest_first: bool = False,
) -> Iterator[Question]:
    """Yield questions, the latest number first, a page at a time; merged ones are left out.

    Each has its segment, mailbox, topic and contact.

    :raises NotFoundError: no such segment, mailbox or topic
    """
    query = _joined().where(Question.merged_into.is_null())
    if status is not None:
        query = query.where(Question.status == status)
    if segment is not None:
        query = query.where(Question.segment == segments.find(segment).id)
    if mailbox is not None:
        query = query.where(Question.mailbox == mailboxes.find(mailbox).id)
    if topic is not None:
        query = query.where(Question.topic.in_(_topics(topic)))
    if assignee is not None:
        query = query.where(Question.assignee == assignee)
    return _pages(query, limit, oldest_first=oldest_first)


def _joined() -> Any:
    return (
        Question.select(Question, Segment, Mailbox, Topic, Contact)
        .join_from(Question, Segment)
        .join_from(Question, Mailbox)
        .join_from(Question, Topic, JOIN.LEFT_OUTER)
        .join_from(Question, Contact, JOIN.LEFT_OUTER)
    )


def _pages(query: Any, limit: int | None, *, oldest_first: bool) -> Iterator[Question]:
    """Page by number: nothing but one page stands in memory, whatever the database."""
    order = Question.id if oldest_first else Question.id.desc()
    left = limit
    last: int | None = None
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        page = query.order_by(order).limit(size)
        if last is not None:
            page = page.where(Question.id > last if oldest_first else Question.id < last)
        found = list(page)
        yield from found
        if len(found) < size:
            return
        last = found[-1].id
        left = None if left is None else left - size


def _topics(name: str) -> Sequence[int]:
    """Topics of that name in all segments."""
    ids = [row.id for row in Topic.select(Topic.id).where(Topic.name_key == name_key(name))]
    if not ids:
        raise NotFoundError(f'There is no topic "{name}".')
    return ids


# ---------------------------------------------------------------------- worked on


def assign(number: int, assignee: str) -> Question:
    """Give the question to somebody; whatever its status was, it is assigned now.

    :raises InputError: not a name
    """
    try:
        name = checked_name(assignee)
    except ValueError as error:
        raise InputError(f"The assignee's name {error}.") from error
    with transaction():
        return _change(lock(number), status="assigned", assignee=name)


def resolve(number: int) -> Question:
    """Say that it is done; a reply of the customer opens it again."""
    with transaction():
        return _change(lock(number), status="resolved")


def reopen(number: int) -> Question:
    """Undo `resolve` or `mark_spam`."""
    with transaction():
        question = lock(number)
        if question.status not in ("resolved", "spam"):
            return question
        return _change(question, status=_open_status(question))


def mark_spam(number: int) -> Question:
    """Put it away; replies to it stay away with it."""
    with transaction():
        return _change(lock(number), status="spam")


def note_work(question: Question, *, author: str | None = None) -> None:
    """Record that an agent did something with a locked question; who answers one that is nobody's
    has it from now on."""
    changes: dict[str, Any] = {}
    if author is not None and question.status == "unassigned":
        changes = {"status": "assigned", "assignee": question.assignee or author}
    _change(question, **changes)


def _change(question: Question, **values: Any) -> Question:
    values |= {"acted": True, "updated_at": now()}
    Question.update(**values).where(Question.id == question.id).execute()
    for name, value in values.items():
        setattr(question, name, value)
    return question


def _open_status(question: Question) -> str:
    return "assigned" if question.assignee else "unassigned"
