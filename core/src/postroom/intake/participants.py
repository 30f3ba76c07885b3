"""Who took part in a question: whoever did not is a stranger to it, and is marked as one."""

from __future__ import annotations

from collections import defaultdict

from postroom.mail.domains import address_key
from postroom.mail.message import ParsedMessage
from postroom.store.models import Message, Question


class Participants:
    """Those who took part in the questions that one batch joins or opens."""

    def __init__(self) -> None:
        self.new_messages: dict[int, list[ParsedMessage]] = defaultdict(list)
        """This batch's, by the identity of the question, until it is asked who took part in them:
        it is seldom asked."""
        self._new: dict[int, set[str]] = defaultdict(set)
        self._stored: dict[int, set[str]] = {}

    def is_stranger(self, parsed: ParsedMessage, question: Question) -> bool:
        """Say whether the sender of a message took no part in the question so far."""
        if parsed.from_ is None:
            return True
        sender = address_key(parsed.from_.address)
        if sender in self._of_this_batch(question):
            return False
        return sender not in self._of_before(question)

    def merge(self, first: Question, other: Question) -> None:
        """Take those who took part in one question for participants of another one."""
        self._of_this_batch(first).update(self._of_this_batch(other))
        if first.id is not None and other.id is not None:
            self._of_before(first).update(self._of_before(other))

    def _of_this_batch(self, question: Question) -> set[str]:
        people = self._new[id(question)]
        for message in self.new_messages.pop(id(question), ()):
            for one in (message.from_, *message.reply_to, *message.to, *message.cc):
                if one is not None:
                    people.add(address_key(one.address))
        return people

    def _of_before(self, question: Question) -> set[str]:
        if question.id is None:
            return set()
        if question.id not in self._stored:
            self._stored[question.id] = _read(question.id)
        return self._stored[question.id]


def _read(question_id: int) -> set[str]:
    people: set[str] = set()
    theirs = Message.select(
        Message.from_address, Message.reply_to, Message.to, Message.cc, Message.is_stranger
    ).where((Message.question == question_id) & (Message.kind != "note"))
    for message in theirs:
        if not message.is_stranger:
            pairs = [*message.reply_to, *message.to, *message.cc]
            people.update(address_key(pair[0]) for pair in pairs)
            if message.from_address:
                people.add(address_key(message.from_address))
    return people
