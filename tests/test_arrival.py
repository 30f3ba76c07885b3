"""Messages of one conversation come to the same questions in whatever order they arrive: the same
messages together, of the same kinds, with the same marks, subject, contact and status."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postroom.runner.runner import Runner
from postroom.store.database import rows
from postroom.store.models import Message, Question
from postroom_test_servers.desk import BOUNCE, REPORT, mail
from postroom_test_servers.shelf import Shelf
from postroom_test_servers.shelves import shelf_mailbox, visit

PEOPLE = st.sampled_from(["ann", "bob", "eve"])
KINDS = {
    "person": [],
    "list": ["List-Id: <talk.example.org>", "Precedence: list"],
    "machine": ["Auto-Submitted: auto-replied"],
    "bounce": [REPORT],
}
_tokens = (f"t{number}t" for number in itertools.count())


@dataclass(frozen=True)
class Letter:
    """A message of a thread; one that it names is earlier in it."""

    name: str
    sender: str
    named: str
    """Of each a letter; they make its References."""
    cc: tuple[str, ...]
    reply_to: str | None
    kind: str

    def raw(self, token: str) -> bytes:
        """Return it with addresses and ids that no other thread has."""
        ids = " ".join(f"<{token}{one}@customer.example>" for one in self.named)
        sender = "info@example.org" if self.sender == "us" else _address(token, self.sender)
        headers = [
            *([f"References: {ids}"] if ids else []),
            *([f"Cc: {', '.join(_address(token, one) for one in self.cc)}"] if self.cc else []),
            *([f"Reply-To: {_address(token, self.reply_to)}"] if self.reply_to else []),
            *KINDS[self.kind],
        ]
        date = f"Thu, 1 Jan 2026 1{'abcdef'.index(self.name)}:00:00 +0000"
        text = BOUNCE if self.kind == "bounce" else ""
        return mail(f"{token}{self.name}", *headers, sender=sender, text=text, date=date)


def _address(token: str, person: str) -> str:
    return f"{token}{person}@customer.example"


@st.composite
def _threads(draw: st.DrawFn) -> list[Letter]:
    letters: list[Letter] = []
    for name in "abcdef"[: draw(st.integers(3, 6))]:
        earlier = [one.name for one in letters]
        named = "".join(sorted(draw(st.sets(st.sampled_from(earlier))))) if earlier else ""
        letters.append(
            Letter(
                name,
                # what we write to somebody opens a question where nothing of it is here yet
                draw(PEOPLE | st.just("us") if named else PEOPLE),
                named,
                tuple(sorted(draw(st.sets(PEOPLE, max_size=2)))),
                draw(st.none() | PEOPLE),
                draw(st.sampled_from(_kinds(named) if earlier else ["person"])),
            )
        )
    return letters


def _kinds(named: str) -> list[str]:
    """Return the kinds that a letter may be of; a bounce is about something."""
    return [kind for kind in KINDS if named or kind != "bounce"]


def _arrive(box: tuple[Shelf, Runner], thread: Iterable[Letter], visits: Iterable[bool]) -> object:
    """Have it retrieved in this order, several at once where there is no visit; return what became
    of it."""
    shelf, runner = box
    token = next(_tokens)
    for letter, is_visited in zip(thread, visits, strict=True):
        shelf.put(letter.raw(token))
        if is_visited:
            visit(runner)
    visit(runner)
    shelf.items.clear()
    return _outcome(token)


def _outcome(token: str) -> object:
    into = dict(rows(Question.select(Question.id, Question.merged_into)))
    theirs: dict[int, set[tuple[str, str, bool]]] = defaultdict(set)
    columns = (Message.internet_id, Message.question, Message.kind, Message.is_stranger)
    for name, number, *rest in rows(
        Message.select(*columns).where(Message.internet_id.startswith(token))
    ):
        while into[number] is not None:
            number = into[number]
        theirs[number].add((name.partition("@")[0].removeprefix(token), *rest))
    found = {}
    for number, messages in theirs.items():
        one = Question.get_by_id(number)
        seen = one.subject, one.contact.address, one.status
        found[frozenset(messages)] = tuple(text.replace(token, "") for text in seen)
    return found


# the database only stores: SQLite is faster
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("store")
def test_the_order_of_arrival_changes_nothing() -> None:
    with shelf_mailbox() as box:

        @settings(
            max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(_threads(), st.data())
        def check(thread: list[Letter], data: st.DataObject) -> None:
            each = [True] * len(thread)
            arrived = data.draw(st.permutations(thread))
            visits = data.draw(st.tuples(*[st.booleans()] * len(thread)))
            assert _arrive(box, arrived, visits) == _arrive(box, thread, each)

        check()


A = Letter("a", "ann", "", (), None, "person")


def _later(name: str, sender: str, named: str, *cc: str, kind: str = "person") -> Letter:
    return Letter(name, sender, named, cc, None, kind)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("others", "marked"),
    [
        ([_later("b", "bob", "a"), _later("c", "ann", "ab")], "b"),
        ([_later("b", "ann", "a", "bob"), _later("c", "bob", "b")], ""),
        ([_later("b", "bob", "a"), _later("c", "ann", "a", "bob")], "b"),
        ([_later("b", "eve", "a", kind="machine"), _later("c", "eve", "a")], "c"),
        ([_later("b", "bob", ""), _later("c", "ann", "ab")], ""),
    ],
    ids=[
        "a stranger",
        "one whom the customer brought along",
        "one whom the customer brought along later",
        "one whose machine replied before",
        "one who asked a question of his own",
    ],
)
def test_who_is_a_stranger(others: list[Letter], marked: str) -> None:
    orders = list(itertools.permutations([A, *others]))
    with shelf_mailbox() as box:
        for order in orders:
            _arrive(box, order, [True] * 3)

    found = Message.select().where(Message.is_stranger)
    names = "".join(sorted(one.internet_id.partition("@")[0][-1] for one in found))
    assert names == len(orders) * marked
    assert Message.select().count() == 3 * len(orders)
