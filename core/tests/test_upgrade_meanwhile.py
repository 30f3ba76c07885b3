"""The database is upgraded while a runner of the older program works."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from postroom import plugins
from postroom.errors import LeaseLostError, SchemaError
from postroom.leases.leases import claim
from postroom.mailboxes import mailboxes
from postroom.runner.runner import Runner
from postroom.store import schema
from postroom.store.database import execute, transaction
from postroom.store.models import Side


@pytest.fixture
def side(store: str) -> Side:
    mailbox = mailboxes.add("info@example.org")
    made: Side = Side.create(mailbox=mailbox, direction="in", transport="x")
    return made


def _make_older() -> None:
    execute("DELETE FROM schema_migration WHERE name LIKE '0007%%' RETURNING 1", ())


def test_a_visit_under_way_writes_nothing_more_and_keeps_others_away(side: Side) -> None:
    [lease] = claim("old", "in")
    _make_older()

    schema.upgrade()

    with pytest.raises(LeaseLostError), transaction():
        lease.hold()
    assert claim("new", "in") == []


def test_an_upgrade_that_finds_nothing_to_do_leaves_visits_alone(side: Side) -> None:
    [lease] = claim("old", "in")

    schema.upgrade()

    with transaction():
        lease.hold()


@pytest.mark.parametrize("work", [Runner.run, Runner.run_once])
def test_a_runner_ends_before_its_next_visit(
    side: Side, work: Callable[[Runner], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "_visit", lambda runner, *_: runner.stop())
    execute(
        "INSERT INTO schema_migration (name, applied) VALUES ('0999_later', '2030-01-01') "
        "RETURNING 1",
        (),
    )

    with pytest.raises(SchemaError, match="a newer postroom"):
        work(Runner(plugins.load()))


def test_a_program_whose_files_were_replaced_is_to_be_started_again(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    had = schema._ours() - {max(schema._ours())}
    monkeypatch.setattr(schema, "_ours", lambda: had)

    with pytest.raises(SchemaError, match="while this program ran"):
        schema.check()
