"""Who took part in a question: whoever did not is a stranger to it, and is marked as one.

That follows from all messages of a question, in the order in which they were written and not in
that in which they came. Whoever asked takes part, and whom we answered; who takes part brings
along those whom the message names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from peewee import JOIN

from postroom.mail.domains import address_key
from postroom.mail.threading import id_key, tagged_numbers
from postroom.store.database import is_among, rows
from postroom.store.models import Message, MessageKey, Question

if TYPE_CHECKING:
    from postroom.intake.conversations import Incoming, Placement

Opener = tuple[datetime | None, "Placement | Message | None"]
"""The message that opened a question: its date, and where it went or, if it is stored, itself."""
Pairs = Sequence[Sequence[str]]
"""Address and name of each."""


@dataclass(slots=True, eq=False)
class _Part:
    """What one message says of who took part in its question."""

    of: Placement | int
    """Where it goes or, if it is stored, its id."""
    written: tuple[datetime, int]
    """When; of two at the same time the one that came first is first."""
    sender: str | None
    people: set[str]
    keys: set[str]
    links: tuple[str, ...]
    is_person: bool
    """Its sender may be a stranger: no machine, and none of us."""
    opens: bool = False
    """It opened the question."""
    is_answer: bool = False
    """It is an answer of ours."""
    asks: bool = False
    """It is here by itself and not because it belongs to another, unless one is found."""
    was_stranger: bool = False
    answers: list[_Part] = field(default_factory=list)

    def starts(self) -> bool:
        """Say whether its sender takes part whoever did before."""
        asks = self.asks and self.is_person and not self.answers
        return self.opens or self.is_answer or asks


class Participants:
    """Those who took part in the questions that one batch joins or opens.

    :param own: keys of the addresses that are ours
    :param tag_secret: signs the tags of questions in subjects
    :param instant: when the batch came
    """

    def __init__(self, own: frozenset[str], tag_secret: bytes, instant: datetime) -> None:
        self._own = own
        self._tag_secret = tag_secret
        self._instant = instant
        self._noted: list[tuple[Incoming, Placement, bool]] = []
        """This batch's; it is seldom asked for them."""

    def note(self, message: Incoming, placement: Placement, *, asks: bool) -> None:
        """Note a message of this batch.

        :param asks: it opens a question, or is what others answer
        """
        self._noted.append((message, placement, asks))

    def judge(
        self,
        questions: Iterable[Question],
        homes: dict[int, Question],
        final: Callable[[Question], Question],
        openers: dict[int, Opener],
    ) -> dict[int, bool]:
        """Mark the messages of this batch that are in these questions, and return the ids of stored
        ones that are to be marked, or are so no more.

        :param homes: by number, the question that the stored messages with it belong to by now
        :param final: what a question was merged into
        :param openers: by identity, what opened a question, where that is known
        """
        parts: dict[int, list[_Part]] = {id(question): [] for question in questions}
        for number, part in self._stored(homes):
            parts[id(homes[number])].append(part)
        for place, (message, placement, asks) in enumerate(self._noted):
            home = parts.get(id(final(placement.question)))
            if home is not None:
                home.append(self._new(place, message, placement, asks=asks))
        changed: dict[int, bool] = {}
        for home_id, theirs in parts.items():
            if home_id in openers:
                _, opener = openers[home_id]
                of = opener.id if isinstance(opener, Message) else opener
                for part in theirs:
                    part.opens = part.of is of or (isinstance(of, int) and part.of == of)
            for part, is_stranger in self._judged(theirs):
                if not isinstance(part.of, int):
                    part.of.is_stranger = is_stranger
                elif is_stranger != part.was_stranger:
                    changed[part.of] = is_stranger
        return changed

    def _judged(self, parts: list[_Part]) -> Iterator[tuple[_Part, bool]]:
        by_key = {key: part for part in parts for key in part.keys}
        for part in parts:
            named = (by_key[key] for key in part.links if key in by_key)
            part.answers = [one for one in named if one is not part]
        known = self._own.union(*(part.people for part in parts if part.starts()))
        for part in _in_order(parts):
            takes_part = part.starts() or part.sender in known
            if takes_part:
                known |= part.people
            yield part, part.is_person and not takes_part

    # ------------------------------------------------------------------ what messages say

    def _new(self, place: int, message: Incoming, placement: Placement, *, asks: bool) -> _Part:
        parsed = message.parsed
        pairs = [(a.address, a.name) for a in (*parsed.reply_to, *parsed.to, *parsed.cc)]
        sender = address_key(parsed.from_.address) if parsed.from_ else None
        return _Part(
            of=placement,
            written=(parsed.date or parsed.received_at or self._instant, _LATEST + place),
            sender=sender,
            people=_people(sender, pairs),
            keys={message.own_key} if message.own_key else set(),
            links=message.link_keys,
            is_person=not placement.is_machine,
            asks=asks,
        )

    def _stored(self, numbers: Iterable[int]) -> Iterator[tuple[int, _Part]]:
        found: dict[int, tuple[int, _Part]] = {}
        for row, key in _select(numbers):
            if row.id not in found:
                found[row.id] = row.question, self._read(row)
            if key is not None:
                found[row.id][1].keys.add(key)
        return iter(found.values())

    def _read(self, row: _Row) -> _Part:
        sender = address_key(row.from_address) if row.from_address else None
        is_machine = row.is_automatic or row.is_bounce or sender in self._own
        is_person = row.kind in ("question", "reply") and not is_machine
        pairs = (*row.reply_to, *row.to, *row.cc)
        return _Part(
            of=row.id,
            written=(row.date or row.received_at or row.created_at, row.id),
            sender=sender,
            # that we received it says nothing of who takes part
            people=set() if row.kind == "acknowledgement" else _people(sender, pairs),
            keys=set(),
            links=tuple(map(id_key, (*row.in_reply_to, *row.references))),
            is_person=is_person,
            opens=row.kind == "question",
            is_answer=row.kind == "answer",
            asks=not row.is_stranger and not tagged_numbers(row.subject, self._tag_secret),
            was_stranger=row.is_stranger,
        )


_LATEST = 1 << 62
"""What is not stored yet comes after what is."""


class _Row(NamedTuple):
    """Of a stored message, what tells who took part."""

    id: int
    question: int
    kind: str
    from_address: str | None
    reply_to: Pairs
    to: Pairs
    cc: Pairs
    subject: str
    date: datetime | None
    received_at: datetime | None
    created_at: datetime
    in_reply_to: list[str]
    references: list[str]
    is_automatic: bool
    is_bounce: bool
    is_stranger: bool


def _select(numbers: Iterable[int]) -> Iterator[tuple[_Row, str | None]]:
    """Yield the messages of questions, once for each id that they have, with that id."""
    columns = (*(getattr(Message, name) for name in _Row._fields), MessageKey.key)
    is_its_own = (MessageKey.message == Message.id) & ~MessageKey.names
    query = Message.select(*columns).join(MessageKey, JOIN.LEFT_OUTER, on=is_its_own)
    theirs = is_among(Message.question, numbers) & (Message.kind != "note")
    for *row, key in rows(query.where(theirs)):
        yield _Row(*row), key


def _people(sender: str | None, pairs: Pairs) -> set[str]:
    people = {address_key(address) for address, _ in pairs}
    return people | {sender} if sender else people


def _in_order(parts: list[_Part]) -> Iterator[_Part]:
    """Return them as they were written: each after those that it answers, else by their dates."""
    seen: set[_Part] = set()
    for first in sorted(parts, key=lambda part: part.written):
        path = [] if first in seen else [first]
        seen.add(first)
        while path:
            before = next((one for one in path[-1].answers if one not in seen), None)
            if before is None:
                yield path.pop()
            else:
                seen.add(before)
                path.append(before)
