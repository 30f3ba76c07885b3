"""What goes on while the database is away, and goes on after it."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext, suppress
from typing import Any

import psycopg
import pytest
from peewee import DataError, OperationalError, ProgrammingError
from postroom.cli.failure import Failure
from postroom.cli.failure import explain as failure_of
from postroom.errors import DatabaseAwayError, DatabaseUnusableError, StoreError
from postroom.leases import leases
from postroom.leases.leases import Keeper, Lease, NoLease, claim
from postroom.runner import runner
from postroom.runner.crew import HangsError, give_back
from postroom.store import schema
from postroom.store.database import connection, transaction
from postroom.store.errors import database_errors, explain
from postroom.store.models import Counter, Side, database
from postroom_test_servers.pigeon import FakePlugins
from postroom_test_servers.shelves import look, shelf_mailbox


def _away(*_: Any, **__: Any) -> Any:
    raise OperationalError("server closed the connection unexpectedly")


@pytest.mark.usefixtures("store")
def test_leases_are_renewed_again_after_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renewed = threading.Event()
    left = [_away, _away, renewed.set]
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(NoLease, "renew", lambda _: left.pop(0)() if left else True)
    keeper = Keeper()

    keeper.keep(NoLease(1))

    assert renewed.wait(10)
    keeper.close()


def test_an_end_does_not_wait_until_each_lease_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    is_trying = threading.Event()
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    keeper = Keeper()

    def renew(lease: Lease) -> None:
        tried.append(lease.mailbox_id)
        is_trying.set()
        assert keeper._stop.wait(10)  # as a server that does not answer

    monkeypatch.setattr(keeper, "_renew", renew)
    for number in (1, 2, 3):
        keeper.keep(NoLease(number))
    assert is_trying.wait(10)
    keeper.close()

    assert len(tried) == 1


@pytest.mark.usefixtures("store")
def test_a_plugin_may_hang_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Side, "select", _away)
    keeper = Keeper()

    give_back(NoLease(1), HangsError("It hangs."), FakePlugins([]), keeper)

    assert "It hangs. The database" in caplog.text  # the lease ends by itself
    keeper.close()


@pytest.mark.usefixtures("store")
def test_what_was_claimed_without_anybody_hearing_of_it_is_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "PROBE_SECONDS", 0.01)

    def claim_and_vanish(*arguments: Any, **options: Any) -> list[Lease]:
        monkeypatch.setattr(runner, "claim", claim)
        assert claim(*arguments, **options)
        raise DatabaseAwayError("server closed the connection unexpectedly")

    with shelf_mailbox() as (shelf, working):
        shelf.put(b"Subject: one\r\n\r\n")
        monkeypatch.setattr(runner, "claim", claim_and_vanish)
        look(working)
        look(working)

        assert shelf.downloads


only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@only_postgresql
@pytest.mark.usefixtures("store")
def test_a_commit_after_a_failure_in_silence_is_refused() -> None:
    def write() -> None:
        with transaction():
            Counter.create(name="one", next_id=1)
            with suppress(ProgrammingError):
                database.execute_sql("SELECT nonsense")

    with pytest.raises(StoreError) as caught:
        write()

    assert not isinstance(caught.value, DatabaseAwayError)  # it would fail each time
    assert not Counter.select().exists()


@only_postgresql
@pytest.mark.usefixtures("store")
def test_a_value_that_the_driver_does_not_take_is_no_outage() -> None:
    with pytest.raises(DataError) as caught:
        Counter.create(name="a\0b", next_id=1)

    assert type(explain(caught.value)) is DatabaseUnusableError


def _end(setting: str = "") -> None:
    """Have the server end this thread's connection.

    :param setting: by which it ends it by itself
    """
    pid = database.connection().info.backend_pid
    if setting:
        database.execute_sql(f"SET {setting}")
    with psycopg.connect(database.obj.database, autocommit=True) as admin:
        if not setting:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        while admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
            time.sleep(0.005)


@only_postgresql
@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("setting", ["", "idle_session_timeout = 1"])
def test_a_connection_that_the_server_ended_is_nobodys_trouble(setting: str) -> None:
    _end(setting)

    with pytest.raises(DatabaseAwayError), database_errors():
        Counter.create(name="one", next_id=1)


@only_postgresql
@pytest.mark.usefixtures("store")
def test_a_connection_that_cannot_be_set_up_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    database.close()

    def refuse(*_: Any) -> None:
        raise psycopg.errors.QueryCanceled("canceling statement due to user request")

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", refuse)
        with pytest.raises(StoreError), connection():
            pass

    assert database.is_closed()


@only_postgresql
@pytest.mark.usefixtures("store")
def test_an_upgrade_does_not_go_on_without_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Migrations:
        def status(self) -> list[Any]:
            return []

        def up(self) -> None:
            with database.atomic():
                Counter.create(name="one", next_id=1)
            _end()
            with database.atomic():
                Counter.create(name="two", next_id=1)

    monkeypatch.setattr(schema, "_runner", Migrations)
    with pytest.raises(StoreError):
        schema.upgrade()

    assert not Counter.select().exists()


@only_postgresql
@pytest.mark.usefixtures("store")
def test_a_command_that_others_kept_from_it_may_be_tried_again() -> None:
    Counter.create(name="one", next_id=1)
    database.execute_sql("SET lock_timeout = '1ms'")

    with psycopg.connect(database.obj.database) as other:
        other.execute("SELECT 1 FROM counter FOR UPDATE")
        with pytest.raises(OperationalError) as caught:
            Counter.update(next_id=2).execute()

    failure = failure_of(caught.value)
    assert isinstance(failure, Failure)
    assert (failure.exit_code, failure.next_step) == (75, "What was begun is undone; try again.")


@only_postgresql
@pytest.mark.usefixtures("store")
def test_a_transaction_does_not_go_on_on_another_connection() -> None:
    def write() -> None:
        with transaction():
            Counter.create(name="one", next_id=1)
            database.connection().close()
            with suppress(OperationalError):
                Counter.create(name="two", next_id=1)

    with pytest.raises(DatabaseAwayError):
        write()

    Counter.create(name="three", next_id=1)
    assert [row.name for row in Counter.select()] == ["three"]


@only_postgresql
@pytest.mark.usefixtures("store")
def test_what_begins_on_a_connection_that_has_ended_goes_on_on_another() -> None:
    for begin in (transaction, nullcontext):
        _end()

        with begin():
            assert not Counter.select().exists()
