"""Which question a message belongs to.

A message joins a question of its segment when one of these holds, in this order: it names a
message known there; a stored message names it; its subject carries the question's tag; the
provider's conversation id is the same. Otherwise it opens one. If it links two questions, the
later is merged into the earlier.

All of a batch is looked up with a few statements; what the batch itself brings is found in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Expression

from postroom.api.verdict import Verdict
from postroom.intake.changes import Changes
from postroom.intake.participants import Opener, Participants
from postroom.mail.domains import address_key
from postroom.mail.message import ParsedMessage
from postroom.mail.threading import id_key, linked_ids, tagged_numbers
from postroom.store.database import execute, is_among, is_sqlite
from postroom.store.models import Mailbox, Message, Question


@dataclass(slots=True)
class Incoming:
    """A message on its way into a question."""

    parsed: ParsedMessage
    fingerprint: str
    verdict: Verdict
    own_key: str | None = None
    link_keys: tuple[str, ...] = ()
    conversation: str | None = None

    def __post_init__(self) -> None:
        if self.parsed.message_id:
            self.own_key = id_key(self.parsed.message_id)
        self.link_keys = tuple(map(id_key, linked_ids(self.parsed)))

    @property
    def may_auto_reply(self) -> bool:
        """Whether a machine may answer it: the mail itself has nothing against it, and no
        classifier has, which knows the addresses that are ours."""
        return self.parsed.may_auto_reply and self.verdict.may_auto_reply is not False


@dataclass(slots=True)
class Placement:
    """Where a message goes. A new question has no id yet: `Filing` gives it one."""

    question: Question
    kind: str
    opened: bool = False
    is_stranger: bool = False
    is_machine: bool = False
    """Its sender is no customer: a machine, or one of us."""


class Conversations:
    """Places the messages of one batch, inside the transaction that stores them."""

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        own_addresses: frozenset[str],
        tag_secret: bytes,
        topics: dict[str, int],
        siblings: list[int],
        instant: datetime,
    ) -> None:
        self._mailbox = mailbox
        self._own_addresses = own_addresses
        self._secret = tag_secret
        self._topics = topics
        self._siblings = siblings
        """The segment's other mailboxes: one mail that reaches two of them is one question."""
        self._instant = instant
        self._always = {
            "segment": mailbox.segment_id,
            "mailbox": mailbox.id,
            "topic": mailbox.topic_id,
            "created_at": instant,
            "updated_at": instant,
        }
        """What all questions that are opened have; the topic unless a filter names another."""
        self._by_own_key: dict[str, list[Question]] = defaultdict(list)
        self._by_named_key: dict[str, list[Question]] = defaultdict(list)
        self._by_fingerprint: dict[str, Question] = {}
        self._by_conversation: dict[str, Question] = {}
        self._by_number: dict[int, Question] = {}
        self._ours: set[str] = set()
        """Keys of messages that we sent."""
        self._participants = Participants(own_addresses, tag_secret, instant)
        self._joined: list[Question] = []
        self._forward: dict[int, Question] = {}
        """Merges of this batch, by the identity of what was merged away."""
        self._openers: dict[int, Opener] = {}
        """By the identity of the question; of those that are stored, once it is asked."""
        self.changes = Changes()
        """What the batch does to questions; for the caller to write."""

    # ------------------------------------------------------------------ looking up

    def load(self, batch: Sequence[Incoming]) -> None:
        """Look up everything the batch could join, with a few statements."""
        own = {m.own_key for m in batch if m.own_key}
        links = {key for m in batch for key in m.link_keys}
        found = [*self._keys(links - own, [False]), *self._keys(own, [False, True])]
        twins = self._twins({m.fingerprint for m in batch})
        tags = {number for m in batch for number in self._tags(m.parsed.subject)}
        ids = {row[2] for row in found} | set(twins.values()) | tags
        self._load_questions(ids, {m.conversation for m in batch if m.conversation})
        for key, names, question_id, direction in found:
            question = self._by_number.get(question_id)
            if question is not None:
                (self._by_named_key if names else self._by_own_key)[key].append(question)
                if direction == "out" and not names:
                    self._ours.add(key)
        for fingerprint, question_id in twins.items():
            if question_id in self._by_number:
                self._by_fingerprint[fingerprint] = self._by_number[question_id]

    def _keys(self, keys: set[str], names: list[bool]) -> list[tuple[Any, ...]]:
        return execute(
            "SELECT k.key, k.names, m.question_id, m.direction FROM message_key k "
            "JOIN message m ON m.id = k.message "
            "WHERE k.key = ANY(%s) AND k.names = ANY(%s) ORDER BY k.id",
            [list(keys), names],
        )

    def _twins(self, fingerprints: set[str]) -> dict[str, int]:
        if not self._siblings:
            return {}
        found = execute(
            "SELECT r.fingerprint, m.question_id FROM receipt r JOIN message m ON m.id = r.message "
            "WHERE r.mailbox_id = ANY(%s) AND r.fingerprint = ANY(%s) AND r.outcome = 'stored'",
            [self._siblings, list(fingerprints)],
        )
        return dict(found)

    def _load_questions(self, ids: set[int], conversations: set[str]) -> None:
        """Load those of the segment, and of this mailbox wherever it belonged before; each once,
        or what one message does to it would be undone by the next."""
        if conversations:
            # that there is one is said for PostgreSQL, which else may not see that the index does
            has_one = Question.conversation.is_null(False)
            for question in self._load(has_one & is_among(Question.conversation, conversations)):
                self._by_conversation.setdefault(question.conversation or "", question)
        asked: set[int] = set()
        while wanted := (ids | self._merged_into()) - self._by_number.keys() - asked:
            asked |= wanted
            self._load(is_among(Question.id, wanted))

    def _load(self, condition: Expression) -> list[Question]:
        # Where they are is no part of the condition: for that SQLite goes through all of a segment.
        found = Question.select().where(condition).order_by(Question.id)
        if not is_sqlite():
            found = found.for_update()  # what an agent does meanwhile would be undone
        here = [question for question in found if self._is_here(question)]
        self._by_number.update((question.id, question) for question in here)
        return here

    def _is_here(self, question: Question) -> bool:
        mailbox = self._mailbox
        return question.segment_id == mailbox.segment_id or question.mailbox_id == mailbox.id

    def _merged_into(self) -> set[int]:
        merged = (question.merged_into_id for question in self._by_number.values())
        return {number for number in merged if number is not None}

    def final(self, question: Question) -> Question:
        """Follow merges, old ones and those of this batch."""
        while True:
            if id(question) in self._forward:
                question = self._forward[id(question)]
            elif question.merged_into_id in self._by_number:
                question = self._by_number[question.merged_into_id]
            else:
                return question

    # ------------------------------------------------------------------ placing

    def place(self, message: Incoming) -> Placement:
        """Return the message's question, joined or opened."""
        answered = [q for key in message.link_keys for q in self._by_own_key.get(key, ())]
        answering = self._by_named_key.get(message.own_key, []) if message.own_key else []
        twin = self._by_fingerprint.get(message.fingerprint)
        twins = [] if twin is None else [twin]
        linked = self._distinct([*twins, *answered, *answering])
        if not linked:
            linked = self._tagged(message)
        if not linked and message.conversation in self._by_conversation:
            linked = [self.final(self._by_conversation[message.conversation])]
        if linked:
            question = linked[0] if len(linked) == 1 else self._merge(linked)
            placement = self._join(message, question, is_root=bool(answering) and not answered)
        else:
            placement = self._open(message)
        self._remember(message, placement)
        self._participants.note(message, placement, asks=not linked or bool(answering))
        return placement

    def judge(self) -> None:
        """Say who is a stranger, once all of a batch is placed: all of a question counts."""
        joined = self._distinct(self._joined)
        if joined:
            homes = {question.id: question for question in joined if question.id is not None}
            homes |= {other.id: self.final(first) for other, first in self.changes.merged}
            self.changes.marked = self._participants.judge(joined, homes, self.final, self._openers)

    def _distinct(self, questions: Iterable[Question]) -> list[Question]:
        seen: dict[int, Question] = {}
        for question in questions:
            final = self.final(question)
            seen.setdefault(id(final), final)
        return list(seen.values())

    def _tagged(self, message: Incoming) -> list[Question]:
        numbers = (self._by_number.get(number) for number in self._tags(message.parsed.subject))
        return [self.final(question) for question in numbers if question is not None][:1]

    def _tags(self, subject: str) -> list[int]:
        return tagged_numbers(subject, self._secret)

    def _remember(self, message: Incoming, placement: Placement) -> None:
        question = placement.question
        self._by_fingerprint.setdefault(message.fingerprint, question)
        if message.own_key:
            self._by_own_key[message.own_key].append(question)
        for key in message.link_keys:
            self._by_named_key[key].append(question)
        if message.conversation:
            self._by_conversation.setdefault(message.conversation, question)

    def _open(self, message: Incoming) -> Placement:
        parsed, verdict = message.parsed, message.verdict
        topic = self._topics.get(verdict.topic.casefold()) if verdict.topic else None
        status = verdict.status or ("assigned" if verdict.assignee else "unassigned")
        if verdict.status is None and _is_report(parsed):
            status = "resolved"
        question = Question()
        question.__data__.update(  # as its constructor would, in a fifth of the time
            self._always,
            subject=parsed.subject,
            status=status,
            topic=topic or self._always["topic"],
            assignee=verdict.assignee,
            conversation=message.conversation,
        )
        self.changes.opened.append(question)
        is_machine = _is_machine(parsed, is_ours=self._is_own(parsed))
        placement = Placement(question, "question", opened=True, is_machine=is_machine)
        self._openers[id(question)] = parsed.date, placement
        return placement

    def _join(self, message: Incoming, question: Question, *, is_root: bool) -> Placement:
        parsed = message.parsed
        is_ours = message.own_key in self._ours or self._is_own(parsed)
        is_machine = _is_machine(parsed, is_ours=is_ours)
        placement = Placement(question, _joined_kind(is_machine), is_machine=is_machine)
        if parsed.is_bounce or placement.kind == "reply":
            _reopen(question)
        if is_root and not is_ours:
            opener, former = (parsed.date, placement), self._opener(question)
            if _came_first(opener, former):
                self._let_open(question, opener, former)
                question.subject = parsed.subject
        question.updated_at = self._instant
        self._joined.append(question)
        self._touch(question)
        return placement

    def _touch(self, question: Question) -> None:
        if question.id is not None:
            self.changes.touched[question.id] = question

    def _is_own(self, parsed: ParsedMessage) -> bool:
        return self._is_ours(parsed.from_.address if parsed.from_ else None)

    def _is_ours(self, address: str | None) -> bool:
        return address is not None and address_key(address) in self._own_addresses

    # ------------------------------------------------------------------ what came first

    def _opener(self, question: Question) -> Opener:
        opener = self._openers.get(id(question))
        if opener is None:
            is_it = (Message.question == question.id) & (Message.kind == "question")
            columns = Message.id, Message.date, Message.from_address
            machine = Message.is_automatic, Message.is_bounce
            stored = Message.select(*columns, *machine).where(is_it).first()
            opener = (None, None) if stored is None else (stored.date, stored)
            self._openers[id(question)] = opener
        return opener

    def _let_open(self, question: Question, opener: Opener, former: Opener) -> None:
        """Take one of two messages for what opened the question, the other for a reply. Of a
        question that is new, the first is the one to be acknowledged."""
        self._openers[id(question)] = opener
        _, message = opener
        if isinstance(message, Placement):
            message.kind, message.opened = "question", question.id is None
        _, message = former
        if isinstance(message, Placement):
            message.kind, message.opened = _joined_kind(message.is_machine), False
        elif message is not None:
            is_machine = _is_machine(message, is_ours=self._is_ours(message.from_address))
            self.changes.demoted[message.id] = _joined_kind(is_machine)

    # ------------------------------------------------------------------ merging

    def _merge(self, linked: list[Question]) -> Question:
        """Merge the later ones into the earliest; where an agent has acted on both, link them."""
        first, *others = sorted(linked, key=self._age)
        for other in others:
            if first.acted and other.acted:
                first.linked_to = sorted({*first.linked_to, other.id})
                other.linked_to = sorted({*other.linked_to, first.id})
                self._touch(other)
            else:
                self._merge_into(first, other)
        self._touch(first)
        return first

    def _age(self, question: Question) -> tuple[int, int]:
        if question.id is not None:
            return (0, question.id)
        return (1, next(i for i, q in enumerate(self.changes.opened) if q is question))

    def _merge_into(self, first: Question, other: Question) -> None:
        opener, former = self._opener(first), self._opener(other)
        if _came_first(former, opener):
            opener, former = former, opener
            first.subject, first.contact_id = other.subject, other.contact_id
        self._let_open(first, opener, former)
        if other.id is None:  # of this very batch: it need never have been
            self.changes.opened = [q for q in self.changes.opened if q is not other]
        else:
            self._touch(other)
            self.changes.merged.append((other, first))
        self._forward[id(other)] = first
        first.acted = first.acted or other.acted
        first.assignee = first.assignee or other.assignee
        if first.status == "resolved" and other.status in ("unassigned", "assigned"):
            _reopen(first)
        elif first.status == "unassigned" and first.assignee:
            first.status = "assigned"


def _is_machine(message: ParsedMessage | Message, *, is_ours: bool) -> bool:
    return is_ours or message.is_automatic or message.is_bounce


def _joined_kind(is_machine: bool) -> str:
    """Return the kind of a message that did not open its question."""
    return "notification" if is_machine else "reply"


def _came_first(message: Opener, opener: Opener) -> bool:
    """A message that others answer, older than what opened the question, is what opened it: the
    order of arrival does not change the result."""
    date, known = message[0], opener[0]
    return date is not None and known is not None and date < known


def _reopen(question: Question) -> None:
    """A resolved question is open again; spam stays spam."""
    if question.status == "resolved":
        question.status = "assigned" if question.assignee else "unassigned"


def _is_report(parsed: ParsedMessage) -> bool:
    """A bounce or receipt: nobody waits for an answer to it."""
    if not parsed.is_automatic or parsed.is_bounce:
        return parsed.is_bounce
    content_type = parsed.header("content-type") or ""
    return content_type.strip().lower().startswith("multipart/report")
