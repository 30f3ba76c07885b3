"""What a visit costs does not grow with the mail that is stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from postroom import plugins
from postroom.admin import audit
from postroom.leases import wrong_clock
from postroom.store.models import Contact, Mailbox, Message, Receipt, database
from postroom_test_servers.shelves import shelf_mailbox, visit

GROWING = {"contact", "message", "message_key", "question", "raw", "raw_chunk", "receipt"}
"""What there is more of with each mail that comes; what agents send is less."""
_OF_ALL = re.compile(r"question_(segment_id_status|mailbox_id)\b")
"""All questions of a segment or of a mailbox have the same value in these."""
SMALL_INDEXES = ("receipt_needs_person", "receipt_next_try")
"""These hold few rows, however many the table has."""


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is asked of the database."""
    asked: list[tuple[str, Any]] = []
    execute: Callable[..., Any] = database.obj.execute_sql

    def noting(sql: str, params: Any = None, *rest: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, *rest)

    monkeypatch.setattr(database.obj, "execute_sql", noting)
    return asked


# SQLite only: PostgreSQL plans by what it counted
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("store")
def test_no_visit_looks_through_what_is_stored(statements: list[tuple[str, Any]]) -> None:
    with shelf_mailbox() as (shelf, runner):
        for number in range(20):
            shelf.put(_mail(number), conversation=f"conversation {number}")
        visit(runner)
        assert Message.select().count() == Receipt.select().count() == 20
        statements.clear()

        visit(runner)
        wrong_clock.mend(datetime.now(UTC))
        runner.outcome.judge(datetime.now(UTC), was_stopped=False)
        nothing_new = list(statements)
        shelf.put(_mail(20, answers=3), conversation="conversation 4")
        visit(runner)
        asked = list(statements)

    assert Contact.select().count() == 21
    assert 10 < len(nothing_new) < len(asked)
    for sql, params in asked:
        if sql.startswith(("SELECT", "UPDATE", "DELETE")):
            plan = " | ".join(_plan(sql, params))
            small = "|".join(SMALL_INDEXES)
            scanned = set(
                re.findall(rf"SCAN (\w+)\b(?! USING (?:COVERING )?INDEX (?:{small}))", plan)
            )
            aliases = dict(re.findall(r'"(\w+)" AS "(\w+)"', sql))
            growing = {aliases.get(table, table) for table in GROWING}
            assert not scanned & growing, f"{sql}\n{plan}"
            assert not _OF_ALL.search(plan), f"{sql}\n{plan}"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("store")
def test_an_audit_looks_through_all_receipts_as_often_for_many_pages_as_for_one(
    statements: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = []
    with shelf_mailbox() as (shelf, runner):
        shelf.put(*[_mail(number) for number in range(20)])
        visit(runner)
        for page in (20, 4):
            monkeypatch.setattr(audit, "_PAGE", page)
            statements.clear()
            assert audit.audit(Mailbox.get(), plugins.load(), poll=False).counted["stored"] == 20
            asked = [one for one in statements if '"receipt"' in one[0]]
            scans.append(sum(_scans_receipts(*one) for one in asked))
    assert scans[0] == scans[1] > 0


def _scans_receipts(sql: str, params: Any) -> bool:
    return any(re.match(r"SCAN (t1|receipt)\b", step) for step in _plan(sql, params))


# PostgreSQL scans a small table whatever there is: so it is told not to
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("store")
def test_conversations_are_looked_up_by_their_index(statements: list[tuple[str, Any]]) -> None:
    with shelf_mailbox() as (shelf, runner):
        shelf.put(_mail(1), conversation="one")
        visit(runner)

    [(sql, params)] = [
        (sql, params)
        for sql, params in statements
        if sql.startswith("SELECT") and re.search(r'WHERE.*"conversation" =', sql)
    ]
    database.execute_sql("SET enable_seqscan = off")
    plan = [line for (line,) in database.execute_sql(f"EXPLAIN {sql}", params).fetchall()]
    assert any("question_conversation" in line for line in plan), plan


def _plan(sql: str, params: Any) -> list[str]:
    return [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()]


def _mail(number: int, answers: int | None = None) -> bytes:
    links = f"In-Reply-To: <m{answers}@customer.example>\r\n" if answers is not None else ""
    return (
        f"From: ann{number}@customer.example\r\nTo: info@example.org\r\nSubject: {number}\r\n"
        f"Message-ID: <m{number}@customer.example>\r\n{links}\r\nHello {number}\r\n"
    ).encode()
