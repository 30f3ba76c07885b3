"""What a batch does to questions: some are opened, some joined, some merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from postroom.store.database import insert_rows, is_among
from postroom.store.models import Message, Question

_Value = TypeVar("_Value")
_QUESTION_COLUMNS = (
    "id segment mailbox contact subject status topic assignee created_at updated_at acted "
    "linked_to conversation"
).split()


@dataclass(slots=True)
class Changes:
    """What a batch does to questions; noted while it is placed, then written."""

    opened: list[Question] = field(default_factory=list)
    touched: dict[int, Question] = field(default_factory=dict)
    merged: list[tuple[Question, Question]] = field(default_factory=list)
    """From, into; both stored before."""
    demoted: dict[int, str] = field(default_factory=dict)
    """Messages that opened a question and turned out to be of another kind."""
    marked: dict[int, bool] = field(default_factory=dict)
    """Messages of strangers, and of those who turned out to be none."""

    def write(self, instant: datetime) -> None:
        """Write all of it, in the transaction of the batch; what was opened has ids by then."""
        values = (tuple(map(q.__data__.get, _QUESTION_COLUMNS)) for q in self.opened)
        insert_rows(Question, _QUESTION_COLUMNS, values)
        for kind, ids in _by_value(self.demoted).items():
            Message.update(kind=kind).where(is_among(Message.id, ids)).execute()
        for is_stranger, ids in _by_value(self.marked).items():
            Message.update(is_stranger=is_stranger).where(is_among(Message.id, ids)).execute()
        for other, first in self.merged:
            _write_merged(other, first)
        for question in self.touched.values():
            _write_touched(question, instant)


def _by_value(changed: dict[int, _Value]) -> dict[_Value, list[int]]:
    ids: dict[_Value, list[int]] = {}
    for message, value in changed.items():
        ids.setdefault(value, []).append(message)
    return ids


def _write_merged(other: Question, first: Question) -> None:
    Message.update(question=first.id).where(Message.question == other.id).execute()
    Question.update(merged_into=first.id).where(
        (Question.id == other.id) | (Question.merged_into == other.id)
    ).execute()


def _write_touched(question: Question, instant: datetime) -> None:
    Question.update(
        subject=question.subject,
        contact=question.contact_id,
        status=question.status,
        assignee=question.assignee,
        acted=question.acted,
        linked_to=question.linked_to,
        updated_at=instant,
    ).where(Question.id == question.id).execute()
