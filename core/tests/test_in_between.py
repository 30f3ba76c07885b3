"""What happens between two steps: a person is faster than the runner, a plugin says more than it
was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from postroom import plugins
from postroom.admin import importing, outbox_admin, quarantine
from postroom.api import codes
from postroom.api.errors import TransientError
from postroom.api.transport import (
    NOT_SENT,
    Checkpoint,
    Delivery,
    Lookup,
    Outgoing,
    Oversized,
    SendResult,
    Unavailable,
)
from postroom.intake.intake import Retrieval
from postroom.mailboxes import sides
from postroom.outbox import answers
from postroom.runner.runner import Runner
from postroom.store.models import Attempt, Mailbox, Message, Outbox, Question, Raw, Receipt, Trouble
from postroom_test_servers.desk import mail
from postroom_test_servers.shelf import (
    Shelf,
    ShelfReceiver,
    ShelfSender,
    ShelfSettings,
    ShelfTransport,
)
from postroom_test_servers.shelves import shelf_mailbox, visit

pytestmark = pytest.mark.usefixtures("store")

Box = tuple[Shelf, Runner]


@pytest.fixture
def box() -> Iterator[Box]:
    """A mailbox with one question."""
    with shelf_mailbox() as (shelf, runner):
        shelf.put(mail("a"))
        visit(runner)
        yield shelf, runner


@pytest.fixture
def row(box: Box) -> Outbox:
    """An answer on its way."""
    answers.answer(Question.get(), "Five.", author="Eve")
    found: Outbox = Outbox.get()
    return found


@pytest.mark.parametrize(
    ("act", "state"), [(outbox_admin.hold, "held"), (outbox_admin.cancel, "cancelled")]
)
def test_what_is_held_while_it_is_prepared_is_not_sent(
    box: Box, row: Outbox, monkeypatch: pytest.MonkeyPatch, act: Callable[..., None], state: str
) -> None:
    shelf, runner = box
    monkeypatch.setattr(ShelfSender, "prepare", lambda *_: act(row.id, author="Eve"))

    visit(runner)

    assert (Outbox.get().state, shelf.sent) == (state, [])


def test_what_is_marked_as_sent_while_it_is_looked_for_is_not_sent_again(
    box: Box, row: Outbox
) -> None:
    shelf, runner = box
    Outbox.update(state="unknown", next_try_at=0).execute()

    asked: list[str] = []

    def find(message_id: str) -> Lookup:
        asked.append(message_id)
        outbox_admin.mark_sent(row.id, author="Eve")
        return NOT_SENT

    shelf.on_find = find
    visit(runner)
    visit(runner)

    assert (Outbox.get().state, shelf.sent, len(asked)) == ("sent", [], 1)
    assert "begun" not in [attempt.outcome for attempt in Attempt.select()]


def test_a_plugin_that_wants_to_end_the_process_while_it_sends_leaves_it_unknown(
    box: Box, row: Outbox
) -> None:
    def send(_: Outgoing) -> SendResult:
        raise SystemExit

    box[0].on_send = send
    visit(box[1])

    assert Outbox.get().state == "unknown"


@pytest.mark.parametrize(
    "said",
    [
        Oversized("shelf;1", 1 << 40),
        Unavailable("shelf;1", TransientError(codes.TIMEOUT, "It does not come.")),
    ],
    ids=["too large", "unreadable"],
)
def test_what_a_plugin_says_of_a_message_that_is_stored_changes_nothing(
    box: Box, monkeypatch: pytest.MonkeyPatch, said: Delivery
) -> None:
    monkeypatch.setattr(ShelfReceiver, "fetch", lambda *_, **__: iter([said]))

    visit(box[1])

    [receipt] = Receipt.select()
    assert (receipt.outcome, receipt.gone_at) == ("stored", None)
    assert not Trouble.select().exists()


def test_what_a_listing_from_the_cursor_on_does_not_show_is_not_gone(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShelfReceiver, "fetch", lambda *_, **__: iter([Checkpoint("2")]))
    assert Mailbox.get().cursor == "1"

    visit(box[1])

    assert Mailbox.get().cursor == "2"
    assert Receipt.get().gone_at is None


def test_an_import_and_the_server_close_no_receipt_of_each_other(
    box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Settings(ShelfSettings):
        path: str

    shelf, runner = box
    shelf.items, on_server = {}, shelf.items
    shelf.put(mail("b"))
    with monkeypatch.context() as patch:
        patch.setattr(ShelfTransport, "receiver_settings", lambda _: Settings)
        loaded = plugins.load()
        importing.source(loaded, "shelf", str(tmp_path)).bring_in(Mailbox.get(), loaded)
    shelf.items = on_server
    assert [receipt.gone_at for receipt in Receipt.select()] == [None, None]

    sides.forget_cursor(Mailbox.get())
    visit(runner)

    assert [receipt.gone_at for receipt in Receipt.select()] == [None, None]


def test_what_cannot_be_understood_is_deleted_only_when_it_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare = Retrieval.prepare

    def fail(self: Retrieval, fetched: Any, _: object) -> Any:
        return prepare(self, fetched, ValueError("a bug of the reader"))

    with shelf_mailbox(disposition="delete") as (shelf, runner):
        with monkeypatch.context() as patch:
            patch.setattr(Retrieval, "prepare", fail)
            shelf.put(mail("a"))
            visit(runner)
            visit(runner)
        assert shelf.settled == []

        [entry] = quarantine.entries()
        quarantine.release(entry["id"], plugins.load())
        visit(runner)

        assert shelf.settled == ["shelf;1"]
        assert Raw.select().count() == 1


def test_a_reply_to_what_was_never_acknowledged_is_not_acknowledged_either() -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    with shelf_mailbox(acknowledge=True) as (shelf, runner):
        shelf.put(mail("a"), received_at=long_ago)
        visit(runner)
        shelf.put(mail("b", "References: <a@customer.example>"), mail("c"))
        visit(runner)

    [acknowledged] = Message.select().where(Message.kind == "acknowledgement")
    assert acknowledged.in_reply_to == ["c@customer.example"]
