"""What commands and visits do at the same time: each on a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from postroom import plugins
from postroom.admin import deletion, importing, quarantine, relocation
from postroom.errors import InputError, NotFoundError
from postroom.intake import conversations, intake
from postroom.intake.intake import Retrieval
from postroom.intake.records import Prepared
from postroom.leases.leases import Lease
from postroom.mailboxes import mailboxes, segments, sides, topics
from postroom.questions import questions
from postroom.runner.runner import Runner
from postroom.store.database import connection, execute, is_sqlite
from postroom.store.models import Mailbox, Message, Question, Receipt, Side
from postroom_test_servers.desk import mail
from postroom_test_servers.shelf import Shelf, ShelfSettings, ShelfTransport
from postroom_test_servers.shelves import shelf_mailbox, visit

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def box() -> Iterator[tuple[Shelf, Runner]]:
    """A mailbox."""
    with shelf_mailbox() as made:
        yield made


class Beside:
    """Runs something on a connection of its own, while the test is in the middle of a transaction.

    On SQLite it waits for the end of that; on PostgreSQL too if they want the same row.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[Any] | None = None

    def start(self, *_: Any, **__: Any) -> None:
        """Start it once, and wait until it is done or waits itself."""
        if self._future is not None:
            return
        self._future = self._pool.submit(self._connected)
        while not (self._future.done() or is_sqlite() or _somebody_waits()):
            time.sleep(0.005)

    def result(self) -> Any:
        """Return what it returned, or raise what it raised."""
        assert self._future is not None
        self._pool.shutdown()
        return self._future.result()

    def _connected(self) -> Any:
        with connection():
            return self._work()


def _somebody_waits() -> bool:
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    [(count,)] = execute(waits, [])
    return bool(count)


@pytest.fixture
def in_the_middle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Beside]:
    """Have something started while a batch is written: when it has read the questions it joins."""

    def arrange(work: Callable[[], Any]) -> Beside:
        beside = Beside(work)
        place = conversations.Conversations.place

        def placing(self: Any, message: Any) -> Any:
            beside.start()
            return place(self, message)

        monkeypatch.setattr(conversations.Conversations, "place", placing)
        return beside

    return arrange


def test_what_an_agent_does_while_a_reply_is_stored_is_not_undone(
    box: tuple[Shelf, Runner], in_the_middle: Any
) -> None:
    shelf, runner = box
    shelf.put(mail("a"))
    visit(runner)
    number = Question.get().id
    shelf.put(mail("b", "References: <a@customer.example>"))

    beside = in_the_middle(lambda: questions.assign(number, "eve"))
    visit(runner)
    beside.result()

    question = Question.get_by_id(number)
    assert (question.assignee, question.status, question.acted) == ("eve", "assigned", True)
    assert Message.select().count() == 2


def test_a_mailbox_is_not_deleted_with_mail_that_is_just_stored(
    box: tuple[Shelf, Runner], in_the_middle: Any
) -> None:
    shelf, runner = box
    shelf.put(mail("a"))

    beside = in_the_middle(lambda: deletion.delete(Mailbox.get()))
    visit(runner)
    with pytest.raises(InputError, match="1 questions with 1 messages"):
        beside.result()

    assert Message.select().count() == 1


def test_settings_that_change_while_a_batch_is_stored_take_the_database_to_no_deadlock(
    box: tuple[Shelf, Runner], in_the_middle: Any
) -> None:
    shelf, runner = box
    shelf.put(mail("a"))

    beside = in_the_middle(lambda: mailboxes.change(Mailbox.get(), max_message_bytes=5_000_000))
    visit(runner)

    assert beside.result() == ["max_message_bytes"]
    assert Mailbox.get().cursor is None


def test_two_changes_at_once_undo_nothing_of_each_other(box: tuple[Shelf, Runner]) -> None:
    seen_before = Mailbox.get()
    mailboxes.change(Mailbox.get(), disposition="seen")
    segments.put("sales", None)
    relocation.move(Mailbox.get(), "sales")

    mailboxes.change(seen_before, poll_seconds=30)

    mailbox = Mailbox.get()
    assert (mailbox.disposition, mailbox.segment.name) == ("seen", "sales")


CHANGES: dict[str, Callable[[], object]] = {
    "left": lambda: mailboxes.change(Mailbox.get(), disposition="leave"),
    "disabled": lambda: mailboxes.enable(Mailbox.get(), enabled=False),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_nothing_more_is_deleted_once_it_is_to_be_left(change: str) -> None:
    with shelf_mailbox(disposition="delete") as (shelf, runner):
        shelf.put(mail("a"), mail("b"))
        shelf.on_fetch = lambda _: CHANGES[change]() and None

        visit(runner)

        assert shelf.settled == []


def test_a_topic_that_is_replaced_and_removed_meanwhile_sends_no_mail_to_quarantine(
    box: tuple[Shelf, Runner],
) -> None:
    shelf, runner = box
    for name in ("Old", "New"):
        topics.put("support", name)
    mailboxes.change(Mailbox.get(), topic="Old")

    def replace(_: str) -> None:
        if Mailbox.get().topic.name == "Old":
            mailboxes.change(Mailbox.get(), topic="New")
            topics.remove("support", "Old")

    shelf.put(mail("a"))
    shelf.on_fetch = replace
    visit(runner)
    visit(runner)

    assert [receipt.outcome for receipt in Receipt.select()] == ["stored"]
    assert Question.get().topic.name == "New"


def test_new_questions_open_in_the_segment_that_the_mailbox_was_moved_to(
    box: tuple[Shelf, Runner],
) -> None:
    shelf, runner = box
    segments.put("sales", None)
    shelf.put(mail("a"))
    shelf.on_fetch = lambda _: relocation.move(Mailbox.get(), "sales") and None

    visit(runner)
    shelf.on_fetch = lambda _: None
    visit(runner)

    assert Question.get().segment.name == "sales"


def test_an_import_goes_on_with_the_mailbox_as_it_is_by_then(
    box: tuple[Shelf, Runner], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Settings(ShelfSettings):
        path: str

    shelf, _ = box
    monkeypatch.setattr(ShelfTransport, "receiver_settings", lambda _: Settings)
    monkeypatch.setattr(intake, "BATCH_COUNT", 1)
    segments.put("sales", None)
    shelf.put(mail("a"), mail("b"), mail("c"))
    loaded = plugins.load()

    def change(ref: str) -> None:
        if ref == "shelf;3" and Mailbox.get().segment.name == "support":
            relocation.move(Mailbox.get(), "sales", with_questions=True)

    shelf.on_fetch = change
    tally = importing.source(loaded, "shelf", str(tmp_path)).bring_in(Mailbox.get(), loaded)

    assert (tally.stored, tally.complete) == (3, True)
    assert {question.segment.name for question in Question.select()} == {"sales"}


def test_a_retry_of_what_was_too_large_is_not_lost_to_a_visit_under_way(
    box: tuple[Shelf, Runner],
) -> None:
    shelf, runner = box
    shelf.has_sizes = False
    Mailbox.update(max_message_bytes=500).execute()
    shelf.put(mail("a", text=1000 * "x"))
    visit(runner)
    refused = Receipt.get(Receipt.outcome == "refused").id

    def retry(_: str) -> None:
        Mailbox.update(max_message_bytes=5000).execute()
        quarantine.retry(refused, plugins.load())

    shelf.put(mail("b"))
    shelf.on_fetch = retry
    visit(runner)

    assert Mailbox.get().cursor is None


def test_what_two_people_release_at_once_is_one_question(
    box: tuple[Shelf, Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, runner = box
    monkeypatch.setattr(Retrieval, "prepare", fail_to_understand(Retrieval.prepare))
    shelf.put(mail("a"))
    visit(runner)
    monkeypatch.undo()
    [entry] = quarantine.entries()
    del shelf.items["shelf;1"]
    sides.forget_cursor(Mailbox.get())
    visit(runner)  # the server has it no more: nothing but the receipt keeps it from coming twice
    claimed = quarantine.claimed

    @contextmanager
    def claimed_later(side: Side) -> Iterator[Lease]:
        monkeypatch.setattr(quarantine, "claimed", claimed)
        quarantine.release(entry["id"], plugins.load())
        with claimed(side) as lease:
            yield lease

    monkeypatch.setattr(quarantine, "claimed", claimed_later)
    with pytest.raises(NotFoundError, match="no quarantined message"):
        quarantine.release(entry["id"], plugins.load())

    assert [message.internet_id for message in Message.select()] == ["a@customer.example"]
    assert not Receipt.select().where(Receipt.gone_at.is_null()).exists()
    assert not [*quarantine.entries()]


def fail_to_understand(prepare: Callable[..., Prepared]) -> Callable[..., Prepared]:
    """Return what prepares a message as one that could not be understood."""

    def failing(self: Retrieval, fetched: Any, _: object) -> Prepared:
        return prepare(self, fetched, ValueError("a bug of the reader"))

    return failing
