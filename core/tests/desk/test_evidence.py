"""Whose outcome is unknown; a message with one is looked up by itself, at once and then again."""

from __future__ import annotations

import importlib.metadata
import sys
import threading
import time
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from peewee import OperationalError
from postroom.admin import outbox_admin
from postroom.api import (
    CANNOT_TELL,
    NOT_SENT,
    Capability,
    OutcomeUnknown,
    Outgoing,
    RecipientProblem,
    SendResult,
    Sent,
    hookimpl,
)
from postroom.errors import DatabaseAwayError, InputError
from postroom.leases import leases
from postroom.leases.owners import new_owner
from postroom.outbox import answers
from postroom.outbox.outbox import LOOK_PAUSES
from postroom.outbox.record import Record
from postroom.plugins import Plugins
from postroom.runner.visits import visit_outgoing
from postroom.store.models import Attempt, MessageKey, Outbox, Side, Trouble, database
from postroom_test_servers.shelf import Shelf, ShelfTransport

Desk = Any


@pytest.fixture
def shelf() -> Shelf:
    """The server."""
    return Shelf()


@pytest.fixture
def plugins(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """The shelf's transport, as an installed plugin."""
    module = types.ModuleType("shelf_plugin")
    module.postroom_transports = hookimpl(  # type: ignore[attr-defined]
        lambda: [ShelfTransport(shelf)], specname="postroom_transports"
    )
    monkeypatch.setitem(sys.modules, "shelf_plugin", module)
    return Plugins([importlib.metadata.EntryPoint("shelf", "shelf_plugin", "postroom")])


@pytest.fixture
def row(desk: Desk) -> Outbox:
    """An answer on its way."""
    Side.update(transport="shelf").execute()
    message = answers.answer(desk.receive().question, "Five.", author="Eve")
    found: Outbox = Outbox.get(Outbox.message == message.id)
    return found


@pytest.fixture
def keeper() -> Iterator[leases.Keeper]:
    """Renews leases."""
    made = leases.Keeper()
    yield made
    made.close()


def visit(plugins: Plugins, keeper: leases.Keeper) -> bool:
    """Visit the outgoing side as the runner does; say whether it was due."""
    claimed = leases.claim(new_owner(), "out")
    for lease in claimed:
        visit_outgoing(lease, plugins, keeper)
    return bool(claimed)


def lose_the_answer(shelf: Shelf) -> None:
    """Take the next message, and break the connection instead of saying so."""

    def send(outgoing: Outgoing) -> SendResult:
        shelf.sent.append(outgoing)
        raise OutcomeUnknown("The connection broke.")

    shelf.on_send = send


def test_answer_that_was_lost_is_looked_up_in_the_same_visit(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    lose_the_answer(shelf)
    shelf.on_find = lambda _message_id: Sent("other@provider.example")

    assert visit(plugins, keeper)

    assert Outbox.get_by_id(row.id).state == "sent"
    assert len(shelf.sent) == 1
    assert MessageKey.select().where(MessageKey.key == "other@provider.example").exists()
    assert not visit(plugins, keeper)


def test_without_proof_it_is_looked_up_again_later_and_not_all_the_time(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    lose_the_answer(shelf)
    visit(plugins, keeper)

    assert not visit(plugins, keeper)

    found = Outbox.get_by_id(row.id)
    assert found.state == "unknown"
    assert LOOK_PAUSES[0] >= found.next_try_at - datetime.now(UTC) > LOOK_PAUSES[0] / 2
    Outbox.update(next_try_at=datetime.now(UTC) - timedelta(seconds=1)).execute()
    shelf.on_find = lambda _message_id: Sent()
    assert visit(plugins, keeper)
    assert Outbox.get_by_id(row.id).state == "sent"
    assert len(shelf.sent) == 1


def test_proof_that_it_was_not_sent_sends_it_again(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    accept = shelf.on_send
    lose_the_answer(shelf)
    visit(plugins, keeper)
    Outbox.update(next_try_at=datetime.now(UTC) - timedelta(seconds=1)).execute()
    shelf.sent.clear()
    shelf.on_send, shelf.on_find = accept, lambda _message_id: NOT_SENT

    assert visit(plugins, keeper)

    assert Outbox.get_by_id(row.id).state == "sent"
    assert [one.message_id for one in shelf.sent] == [row.internet_id]


def test_earlier_attempt_that_is_found_proves_nothing_about_whom_it_put_off(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    busy = [{"address": "ann@example.net", "state": "accepted"}]
    busy += [{"address": "eve@example.net", "state": "deferred"}]
    Outbox.update(recipients=busy).execute()
    lose_the_answer(shelf)
    shelf.on_find = lambda _message_id: Sent()

    assert visit(plugins, keeper)

    assert shelf.sent[0].recipients == ("eve@example.net",)
    assert Outbox.get_by_id(row.id).state == "unknown"


def test_what_a_dead_runner_left_is_taken_up_though_nothing_else_is_due(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    Outbox.update(state="sending", sending_since=datetime.now(UTC)).execute()
    shelf.on_find = lambda _message_id: Sent()

    assert visit(plugins, keeper)

    assert Outbox.get_by_id(row.id).state == "sent"
    assert not shelf.sent


def test_transport_that_can_prove_nothing_leaves_it_to_a_person(
    row: Outbox,
    shelf: Shelf,
    plugins: Plugins,
    keeper: leases.Keeper,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(
        ShelfTransport, "capabilities", ShelfTransport.capabilities & ~Capability.FIND_SENT
    )
    lose_the_answer(shelf)
    shelf.on_find = lambda _message_id: CANNOT_TELL

    visit(plugins, keeper)

    assert Outbox.get_by_id(row.id).state == "unknown"
    assert not visit(plugins, keeper)


# ---------------------------------------------------------------------- what a result says

ANN, EVE, BOB = "ann@example.net", "eve@example.net", "bob@example.net"


def refused(address: str) -> RecipientProblem:
    return RecipientProblem(address, "RECIPIENT-REFUSED", "550 no such user")


@pytest.mark.parametrize(
    ("result", "states"),
    [
        (SendResult(), ["queued", "queued"]),
        (SendResult(accepted=(ANN,)), ["accepted", "queued"]),
        (SendResult(refused=(refused(ANN),)), ["refused", "queued"]),
        (SendResult(accepted=(ANN,), deferred=(refused(ANN),)), ["queued", "queued"]),
        (SendResult(accepted=(ANN, "Eve@example.net")), ["accepted", "queued"]),
    ],
    ids=["nothing", "one accepted", "one refused", "one twice", "another's name"],
)
def test_recipient_that_a_plugin_leaves_out_is_not_taken_for_served(
    row: Outbox,
    shelf: Shelf,
    plugins: Plugins,
    keeper: leases.Keeper,
    result: SendResult,
    states: list[str],
):
    asked = [{"address": ANN, "state": "queued"}, {"address": EVE, "state": "queued"}]
    Outbox.update(recipients=asked).execute()
    shelf.on_send = lambda _: result

    visit(plugins, keeper)

    found = Outbox.get_by_id(row.id)
    assert found.state == "unknown"
    assert [recipient["state"] for recipient in found.recipients] == states
    assert EVE in found.sentence
    assert Trouble.get().code == "PLUGIN-BUG"
    assert not visit(plugins, keeper)


def test_message_that_is_found_was_not_sent_to_whoever_refused_it(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    told = [{"address": ANN, "state": "refused", "reply": "550 no such user"}]
    Outbox.update(recipients=[*told, {"address": EVE, "state": "deferred"}]).execute()
    lose_the_answer(shelf)
    shelf.on_find = lambda _message_id: Sent()

    visit(plugins, keeper)

    assert shelf.sent[0].recipients == (EVE,)
    assert Outbox.get_by_id(row.id).state == "unknown"


def test_recipient_that_was_not_asked_for_is_the_plugins_fault(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    Outbox.update(recipients=[{"address": ANN, "state": "queued"}]).execute()
    shelf.on_send = lambda _: SendResult(accepted=(ANN,), refused=(refused(BOB),))

    visit(plugins, keeper)

    found = Outbox.get_by_id(row.id)
    assert found.state == "sent"
    assert [recipient["address"] for recipient in found.recipients] == [ANN]
    trouble = Trouble.get()
    assert trouble.code == "PLUGIN-BUG"
    assert BOB in trouble.sentence


@pytest.mark.parametrize("odd", ["\0", "\udcff"])
def test_words_that_no_database_takes_make_nothing_unknown(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper, odd: str
):
    Outbox.update(
        recipients=[{"address": ANN, "state": "queued"}, {"address": BOB, "state": "queued"}]
    ).execute()
    shelf.on_send = lambda _: SendResult(
        accepted=(ANN,), refused=(RecipientProblem(BOB, "550", f"no{odd}"),), reply=f"ok{odd}"
    )

    visit(plugins, keeper)

    found = Outbox.get_by_id(row.id)
    assert found.state == "failed"
    assert [(one["state"], one["reply"]) for one in found.recipients] == [
        ("accepted", "ok"),
        ("refused", "no"),
    ]
    assert "ok" in [attempt.detail for attempt in Attempt.select()]


class SlowCommit:
    """Commits what the next `begin` writes, but only when others wait for that, or after the
    block; whoever committed has lost the connection by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        begin, commit = Record.begin, database.obj.commit

        def begin_and_break(record: Record, row: Outbox) -> bool:
            monkeypatch.setattr(Record, "begin", begin)
            monkeypatch.setattr(database.obj, "commit", break_off)
            return begin(record, row)

        def break_off() -> None:
            monkeypatch.setattr(database.obj, "commit", commit)
            connection = database.connection()
            database.dispose()
            self._thread = threading.Thread(target=self._commit, args=(connection,))
            self._thread.start()
            raise OperationalError("the connection broke")

        monkeypatch.setattr(Record, "begin", begin_and_break)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def _commit(self, connection: psycopg.Connection) -> None:
        with connection, psycopg.connect(database.obj.database, autocommit=True) as another:
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
            while not (self._over.is_set() or another.execute(waiting).fetchone()):
                time.sleep(0.005)
            connection.execute("COMMIT")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_was_never_sent_is_not_unknown_where_the_commit_before_took_its_time(
    row: Outbox,
    shelf: Shelf,
    plugins: Plugins,
    keeper: leases.Keeper,
    monkeypatch: pytest.MonkeyPatch,
):
    with SlowCommit(monkeypatch), pytest.raises(DatabaseAwayError):
        visit(plugins, keeper)

    assert (Outbox.get_by_id(row.id).state, shelf.sent) == ("queued", [])
    assert visit(plugins, keeper)
    assert (Outbox.get_by_id(row.id).state, len(shelf.sent)) == ("sent", 1)


# ---------------------------------------------------------------------- a runner that is killed


class KilledError(BaseException):
    """Ends a visit as the end of its process does: nothing more is written."""


def visit_and_be_killed(plugins: Plugins, keeper: leases.Keeper) -> None:
    """End after it was written down who accepted a message, before what follows from it."""

    def kill(*_: Any, **__: Any) -> None:
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, "finish", kill)
        patch.setattr(Record, "postpone", kill)
        visit(plugins, keeper)
    Side.update(next_try_at=0).execute()


def test_what_all_accepted_is_sent_although_its_runner_was_killed_then(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    visit_and_be_killed(plugins, keeper)
    assert Outbox.get_by_id(row.id).state == "sending"

    visit(plugins, keeper)

    found = Outbox.get_by_id(row.id)
    assert (found.state, len(shelf.sent)) == ("sent", 1)
    assert [recipient["state"] for recipient in found.recipients] == ["accepted"]


def test_what_all_accepted_is_not_sent_again(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    visit_and_be_killed(plugins, keeper)
    Outbox.update(state="unknown").execute()  # as a worker leaves it that lost its lease

    with pytest.raises(InputError, match="have accepted it"):
        outbox_admin.retry(row.id, author="Eve", accept_risk=True)

    outbox_admin.mark_sent(row.id, author="Eve")
    assert Outbox.get_by_id(row.id).state == "sent"


def test_whoever_accepted_it_is_not_asked_again_although_its_runner_was_killed_then(
    row: Outbox, shelf: Shelf, plugins: Plugins, keeper: leases.Keeper
):
    asked = [{"address": ANN, "state": "queued"}, {"address": BOB, "state": "queued"}]
    Outbox.update(recipients=asked).execute()
    accept = shelf.on_send
    shelf.on_send = lambda _: SendResult(accepted=(ANN,), deferred=(refused(BOB),))
    visit_and_be_killed(plugins, keeper)
    shelf.on_send = accept
    shelf.sent.clear()

    visit(plugins, keeper)
    assert Outbox.get_by_id(row.id).state == "unknown"
    Outbox.update(recipients=asked).execute()  # as a worker leaves it that lost its lease
    outbox_admin.retry(row.id, author="Eve", accept_risk=True)
    visit(plugins, keeper)

    assert [one.recipients for one in shelf.sent] == [(BOB,)]
