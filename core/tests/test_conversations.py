"""Which question a message joins, and what that does to the question."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest
from postroom.questions import questions
from postroom.runner.runner import Runner
from postroom.store.models import Message, Question
from postroom_test_servers.desk import BOUNCE, REPORT, mail
from postroom_test_servers.shelf import Shelf
from postroom_test_servers.shelves import shelf_mailbox, visit

pytestmark = pytest.mark.usefixtures("store")

Receive = Callable[..., Message]


@pytest.fixture
def box() -> Iterator[tuple[Shelf, Runner]]:
    """A mailbox."""
    with shelf_mailbox() as made:
        yield made


@pytest.fixture
def receive(box: tuple[Shelf, Runner]) -> Receive:
    """Have a mail with this name retrieved; return what it became."""
    shelf, runner = box

    def receive(
        token: str,
        *headers: str,
        answers: str = "",
        sender: str = "",
        conversation: str | None = None,
        **more: str,
    ) -> Message:
        ids = " ".join(f"<{one}@customer.example>" for one in answers)
        named = [f"References: {ids}"] if answers else []
        sender = sender or "Ann <ann@customer.example>"
        raw = mail(token, *named, *headers, sender=sender, **more)
        shelf.put(raw, conversation=conversation)
        visit(runner)
        found: Message = Message.get(Message.internet_id == f"{token}@customer.example")
        return found

    return receive


def change(number: int, **values: object) -> None:
    """Do what an agent does to a question."""
    Question.update(**values).where(Question.id == number).execute()


@pytest.mark.parametrize("status", ["resolved", "unassigned"])
def test_questions_that_turn_out_to_be_one_are_merged_into_the_earlier(
    receive: Receive, status: str
) -> None:
    first, second = receive("a").question_id, receive("x").question_id
    change(second, assignee="eve", acted=True, status="assigned")
    change(first, status=status)

    joined = receive("y", answers="ax")

    one = Question.get_by_id(first)
    assert (joined.question_id, joined.kind) == (first, "reply")
    assert (one.assignee, one.status, one.acted) == ("eve", "assigned", True)
    assert Question.get_by_id(second).merged_into_id == first
    assert [row.kind for row in Message.select().order_by(Message.id)] == [
        "question", "reply", "reply",
    ]  # fmt: skip
    assert receive("z", answers="x").question_id == first


def test_questions_on_which_agents_acted_are_linked(receive: Receive) -> None:
    first, second = receive("a").question_id, receive("x").question_id
    Question.update(acted=True).execute()

    assert receive("y", answers="ax").question_id == first

    assert Question.get_by_id(first).linked_to == [second]
    assert Question.get_by_id(second).linked_to == [first]
    assert Question.get_by_id(second).merged_into_id is None
    assert receive("z", answers="x").question_id == second


def test_a_stranger_s_words_are_marked_each_time(receive: Receive) -> None:
    receive("a")

    marked = [
        receive(token, answers="a", sender=f"{name}@customer.example").is_stranger
        for token, name in (("b", "bob"), ("c", "bob"), ("d", "ann"), ("e", "Ann"))
    ]

    assert marked == [True, True, False, False]


def test_two_mails_of_a_stranger_at_once_are_both_marked(
    receive: Receive, box: tuple[Shelf, Runner]
) -> None:
    receive("a")
    box[0].put(mail("b", "References: <a@customer.example>", sender="bob@b.example"))

    receive("c", answers="a", sender="bob@b.example")

    assert [row.is_stranger for row in Message.select().order_by(Message.id)][1:] == [True, True]


@pytest.mark.parametrize(
    ("before", "assignee", "after"),
    [
        ("resolved", None, "unassigned"),
        ("resolved", "eve", "assigned"),
        ("assigned", "eve", "assigned"),
        ("spam", None, "spam"),
    ],
)
def test_a_reply_opens_what_was_resolved(
    receive: Receive, before: str, assignee: str | None, after: str
) -> None:
    number = receive("a").question_id
    change(number, status=before, assignee=assignee)

    receive("b", answers="a")

    assert Question.get_by_id(number).status == after


def test_a_bounce_opens_it_again_and_an_automatic_reply_does_not(receive: Receive) -> None:
    number = receive("a").question_id
    change(number, status="resolved")

    away = receive("b", "Auto-Submitted: auto-replied", answers="a")
    status = Question.get_by_id(number).status
    bounce = receive("c", REPORT, answers="a", sender="MAILER-DAEMON@b.example", text=BOUNCE)

    assert (away.kind, status) == ("notification", "resolved")
    assert (bounce.kind, bounce.is_bounce) == ("notification", True)
    assert Question.get_by_id(number).status == "unassigned"


def test_a_backdated_mail_with_the_question_s_tag_is_not_what_was_asked(receive: Receive) -> None:
    question = receive("a").question

    reply = receive(
        "b",
        subject=f"Another question [{questions.reference(question)}]",
        sender="bob@b.example",
        date="Tue, 03 Mar 2020 09:15:00 +0100",
    )

    assert (reply.question_id, reply.kind, reply.is_stranger) == (question.id, "reply", True)
    same = Question.get_by_id(question.id)
    assert (same.subject, same.contact.address) == ("Question a", "ann@customer.example")


def test_the_provider_s_conversation_of_a_merged_question_leads_to_the_other(
    receive: Receive,
) -> None:
    first = receive("a", conversation="one").question_id
    second = receive("x", conversation="two").question_id
    receive("y", answers="ax")
    assert Question.get_by_id(second).merged_into_id == first

    assert receive("z", conversation="two").question_id == first


def test_a_provider_s_conversation_may_be_of_any_length(receive: Receive) -> None:
    long = "".join(hashlib.sha256(b"%d" % number).hexdigest() for number in range(200))
    first = receive("a", conversation=f"{long}a").question_id

    assert receive("b", conversation=f"{long}b").question_id != first
    assert receive("c", conversation=f"{long}a").question_id == first


def test_a_reply_opens_it_although_an_automatic_one_follows_by_the_conversation(
    receive: Receive, box: tuple[Shelf, Runner]
) -> None:
    number = receive("a", conversation="one").question_id
    change(number, status="resolved")
    box[0].put(mail("b", "References: <a@customer.example>"))

    joined = receive("c", "Auto-Submitted: auto-replied", conversation="one")

    assert (joined.question_id, joined.kind) == (number, "notification")
    assert Question.get_by_id(number).status == "unassigned"
