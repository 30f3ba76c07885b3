"""The order in which mail arrives does not change which conversations it makes."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest
from postroom.store.database import rows
from postroom.store.models import Message, Question
from postroom_test_servers.desk import mail
from postroom_test_servers.points import say, takes_all
from postroom_test_servers.shelves import shelf_mailbox, visit

# name → what it names in References (the last one in In-Reply-To too)
TWO_QUESTIONS = {"a": "", "b": "a", "c": "ab", "d": "b", "e": "c", "x": "", "y": "x"}
LINKED = TWO_QUESTIONS | {"y": "xa"}


def _raws(letters: dict[str, str], token: str) -> dict[str, bytes]:
    found = {}
    for name, named in letters.items():
        ids = [f"<{token}{one}@customer.example>" for one in named]
        headers = [f"References: {' '.join(ids)}", f"In-Reply-To: {ids[-1]}"] if ids else []
        found[name] = mail(f"{token}{name}", *headers, sender="Ann <ann@customer.example>")
    return found


def _groups(token: str) -> set[frozenset[str]]:
    """Return which messages are together in a question."""
    into = dict(rows(Question.select(Question.id, Question.merged_into)))
    groups: dict[int, set[str]] = defaultdict(set)
    names = Message.select(Message.internet_id, Message.question).where(
        Message.internet_id.startswith(token)
    )
    for message_id, question in rows(names):
        while into[question] is not None:
            question = into[question]
        groups[question].add(message_id.partition("@")[0].removeprefix(token))
    return {frozenset(group) for group in groups.values()}


@pytest.mark.timeout(0 if takes_all() else 120)
@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        (TWO_QUESTIONS, {frozenset("abcde"), frozenset("xy")}),
        (LINKED, {frozenset("abcdexy")}),
    ],
    ids=["two questions", "linked"],
)
def test_every_order_makes_the_same_conversations(
    store: str, letters: dict[str, str], expected: set[frozenset[str]]
) -> None:
    orders = list(itertools.permutations(letters))
    tried = orders if takes_all() else random.sample(orders, 20)

    with shelf_mailbox() as (shelf, runner):
        for number, order in enumerate(tried):
            token = f"n{number}n"
            raws = _raws(letters, token)
            for name in [*order, random.choice(order)]:  # one comes twice
                shelf.put(raws[name])
                if random.random() < 0.4:
                    visit(runner)
            visit(runner)

            assert _groups(token) == expected, order
            shelf.items.clear()
    say(f"{len(tried)} of {len(orders)} orders: the same conversations in each")


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_every_order_makes_the_same_question(
    store: str, order: tuple[str, ...], at_once: bool
) -> None:
    """It is that of whoever asked, also if a colleague's reply comes first."""
    raws = {
        name: mail(
            name,
            *([f"In-Reply-To: <{named}@customer.example>"] if named else []),
            sender=f"{name}@customer.example",
            date=f"Thu, 1 Jan 2026 1{hour}:00:00 +0000",
        )
        for hour, (name, named) in enumerate({"a": "", "b": "a", "c": "b"}.items())
    }

    with shelf_mailbox() as (shelf, runner):
        for name in order:
            shelf.put(raws[name])
            if not at_once:
                visit(runner)
        visit(runner)

        [question] = [one for one in Question.select() if one.merged_into is None]
        kinds = {one.internet_id[0]: one.kind for one in Message.select()}

    assert kinds == {"a": "question", "b": "reply", "c": "reply"}
    assert (question.subject, question.contact.address) == ("Question a", "a@customer.example")
