"""What the server is told follows what is on the disk: a power cut takes nothing it let go of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from postroom.intake import intake
from postroom.store.models import Message, database
from postroom_test_servers.shelves import shelf_mailbox, visit

MAILS = 20


@contextmanager
def noting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note the commits that are waited for until they are on the disk, and those that are not; one
    that changes nothing is none, for SQLite waits for what it writes."""
    noted: list[str] = []
    awaited = [True]
    execute: Callable[..., Any] = database.obj.execute_sql
    commit: Callable[..., Any] = database.obj.commit

    def execute_sql(sql: str, *rest: Any) -> Any:
        if sql.startswith("PRAGMA synchronous"):
            assert not database.in_transaction()  # else SQLite takes no notice
            awaited[0] = sql.endswith("full")
        return execute(sql, *rest)

    log = Path(f"{database.obj.database}-wal")

    def committed() -> Any:
        before = log.stat()
        done = commit()
        after = log.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            noted.append("on the disk" if awaited[0] else "later")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(database.obj, "execute_sql", execute_sql)
        patch.setattr(database.obj, "commit", committed)
        yield noted


# PostgreSQL waits for every commit
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("store")
def test_the_server_is_told_nothing_before_its_mail_is_on_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "BATCH_COUNT", 4)
    with shelf_mailbox(disposition="delete") as (shelf, runner):
        shelf.put(*[f"Subject: {n}\r\nMessage-ID: <{n}@a>\r\n\r\n".encode() for n in range(MAILS)])
        with noting(monkeypatch) as noted:
            shelf.on_settle = lambda _ref: noted.append("settled")

            visit(runner)

        assert shelf.items == {}

    assert Message.select().count() == MAILS
    assert noted.count("later") >= MAILS / 4
    assert noted.count("settled") == MAILS
    before = noted[: noted.index("settled")]
    assert "on the disk" in before[len(before) - before[::-1].index("later") :]
    assert "later" not in noted[noted.index("settled") :]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("store")
def test_a_visit_that_ends_in_an_error_leaves_nothing_in_the_air(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "BATCH_COUNT", 4)
    with shelf_mailbox() as (shelf, runner):
        shelf.put(*[f"Subject: {n}\r\nMessage-ID: <{n}@a>\r\n\r\n".encode() for n in range(MAILS)])
        with noting(monkeypatch) as noted:
            monkeypatch.setattr(intake.Retrieval, "_secure", _fail)

            visit(runner)

    assert Message.select().count() == MAILS
    assert noted[-1] == "on the disk"
    row = database.execute_sql("PRAGMA synchronous").fetchone()
    assert row[0] == 2  # full


def _fail(_: intake.Retrieval) -> None:
    raise RuntimeError("the visit ends here")
