"""Mailboxes, segments, topics and filters as an administrator sets them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from postroom.admin import deletion, relocation
from postroom.errors import InputError, NotFoundError
from postroom.mailboxes import filters, mailboxes, segments, sides, topics
from postroom.store.models import (
    Contact,
    Mailbox,
    Message,
    Outbox,
    Question,
    Raw,
    RawChunk,
    Receipt,
    Side,
    Trouble,
)
from postroom_test_servers.pigeon import problems_of

pytestmark = pytest.mark.usefixtures("store", "pigeons")


def test_first_contact_is_safe() -> None:
    added = mailboxes.add("info@example.org")

    assert (added.disposition, added.start, added.acknowledge) == ("leave", "now", False)
    assert added.segment.name == "default"


def test_every_problem_of_a_mailbox_is_named() -> None:
    values = {
        "name": "x\x1b[0m",
        "segment": "suport",
        "enabled": 1,
        "disposition": {"move": ""},
        "start": "yesterday",
        "acknowledge": "no",
        "aliases": ["not one"],
        "poll_seconds": 0,
        "max_message_bytes": True,
        "polseconds": 1,
    }
    segments.put("support", None)

    with pytest.raises(InputError) as caught:
        mailboxes.put("info", values)

    problems = problems_of(caught)
    assert set(problems) == {*values, "address"}
    assert problems["polseconds"] == 'is unknown; did you mean "poll_seconds"?'
    assert 'did you mean "support"?' in problems["segment"]
    assert Mailbox.select().count() == 0


def test_no_message_may_be_larger_than_the_database_can_count() -> None:
    segments.put("support", None)

    mailboxes.put("info@example.org", {"segment": "support", "max_message_bytes": (1 << 31) - 1})
    with pytest.raises(InputError) as caught:
        mailboxes.put("info@example.org", {"segment": "support", "max_message_bytes": 1 << 31})

    assert "from 1 to 2147483647" in problems_of(caught)["max_message_bytes"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "info",
        "info@",
        "@example.org",
        "a b@example.org",
        "Ann <a@b.org>",
        "a@b.org, c@d.org",
        "a@b..org",
        "x" * 250 + "@example.org",
        "a\n@example.org",
        "a@exa mple.org",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError) as caught:
        mailboxes.add(address)

    assert set(problems_of(caught)) == {"address"}


def test_address_is_compared_without_case() -> None:
    mailboxes.add("Info@Example.org")

    assert mailboxes.find("INFO@example.ORG").address == "Info@Example.org"
    with pytest.raises(InputError, match="exists"):
        mailboxes.add("info@example.org")
    with pytest.raises(NotFoundError, match="did you mean"):
        mailboxes.find("inof@example.org")


@pytest.mark.parametrize(
    ("start", "instant"),
    [
        ("all", None),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_start_is_resolved_to_an_instant(start: Any, instant: datetime | None) -> None:
    assert mailboxes.add("info@example.org", start=start).start_at == instant


def test_now_is_a_whole_second_and_stays_when_it_was(store: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    added = mailboxes.add("info@example.org")
    mailboxes.change(added, start="now", name="x")

    kept = mailboxes.find("info@example.org")

    assert kept.start_at == added.start_at
    assert kept.start_at.microsecond == 0
    assert before <= kept.start_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("change", "cursor"),
    [({"start": "all"}, None), ({"max_message_bytes": 5}, None), ({"name": "New"}, "here")],
)
def test_what_was_left_out_is_looked_at_again(change: dict[str, Any], cursor: str | None) -> None:
    mailbox = mailboxes.add("info@example.org")
    Mailbox.update(cursor="here").where(Mailbox.id == mailbox.id).execute()

    assert mailboxes.change(mailbox, **change) == list(change)

    assert mailboxes.find("info@example.org").cursor == cursor


def test_change_keeps_the_rest_and_repeats_without_effect() -> None:
    mailbox = mailboxes.add("info@example.org", disposition={"move": "Done"}, poll_seconds=5)

    assert mailboxes.change(mailbox, name="Info") == ["name"]
    assert mailboxes.change(mailboxes.find("info@example.org"), name="Info") == []
    assert mailboxes.settings_of(mailboxes.find("info@example.org")) == {
        "name": "Info",
        "segment": "default",
        "enabled": True,
        "topic": None,
        "disposition": {"move": "Done"},
        "start": "now",
        "acknowledge": False,
        "aliases": [],
        "poll_seconds": 5,
        "max_message_bytes": 100 << 20,
    }


# ---------------------------------------------------------------------------- list and errors


def trouble(side: Side, kind: str, *, age: timedelta, cleared: bool = False) -> None:
    instant = datetime.now(UTC)
    Side.update(down_since=instant - age).where(Side.id == side.id).execute()
    Trouble.create(
        side=side.id,
        code="X",
        kind=kind,
        sentence="s",
        next_step="n",
        first_seen_at=instant - age,
        last_seen_at=instant,
        cleared_at=instant if cleared else None,
    )


@pytest.mark.parametrize(
    ("kind", "minutes", "state"),
    [
        ("transient", 1, "failing"),
        ("transient", 20, "attention"),
        ("settings", 1, "attention"),
        ("auth", 1, "attention"),
    ],
)
def test_state_says_whether_a_person_is_needed(kind: str, minutes: int, state: str) -> None:
    mailbox = mailboxes.add("info@example.org")
    side = sides.save(mailbox, "in", "pigeon", {"host": "x"})
    trouble(side, kind, age=timedelta(minutes=minutes))

    assert next(mailboxes.listed())["incoming_state"] == state
    mailboxes.enable(mailbox, enabled=False)
    assert next(mailboxes.listed())["incoming_state"] == "disabled"


def test_list_has_exactly_the_documented_fields() -> None:
    mailboxes.add("b@example.org")
    mailboxes.add("a@example.org")

    rows = list(mailboxes.listed())

    assert [row["address"] for row in rows] == ["a@example.org", "b@example.org"]
    assert list(rows[0]) == [
        "address",
        "name",
        "segment",
        "enabled",
        "incoming",
        "outgoing",
        "incoming_state",
        "outgoing_state",
        "last_success_at",
        "quarantined",
        "queued",
        "unknown",
        "credential_expires_at",
    ]
    assert rows[0]["incoming_state"] == "never"


def test_errors_have_exactly_the_documented_fields() -> None:
    mailbox = mailboxes.add("info@example.org")
    side = sides.save(mailbox, "in", "pigeon", {"host": "x"})
    trouble(side, "auth", age=timedelta(minutes=3), cleared=True)

    (row,) = mailboxes.errors(mailbox)

    assert list(row) == [
        "code",
        "direction",
        "sentence",
        "next_step",
        "first_seen_at",
        "last_seen_at",
        "count",
        "next_try_at",
        "cleared_at",
    ]
    assert row["direction"] == "in"
    assert mailboxes.shown(mailbox)["errors"] == []


# ---------------------------------------------------------------------------- move and delete


def question(number: int, mailbox: Mailbox, topic: Any = None, **more: Any) -> None:
    now = datetime.now(UTC)
    Question.create(
        id=number,
        segment=mailbox.segment_id,
        mailbox=mailbox.id,
        subject="s",
        topic=topic,
        created_at=now,
        updated_at=now,
        force_insert=True,
        **more,
    )


def message(number: int, question_id: int, mailbox: Mailbox) -> None:
    now = datetime.now(UTC)
    Raw.create(id=number, sha256="x", size=1, force_insert=True)
    RawChunk.create(raw_id=number, position=0, body=b"x")
    Message.create(
        id=number,
        question=question_id,
        mailbox=mailbox.id,
        kind="question",
        direction="in",
        raw_id=number,
        created_at=now,
        force_insert=True,
    )
    Receipt.create(
        id=number,
        mailbox=mailbox.id,
        ref=str(number),
        ref_key=str(number),
        outcome="stored",
        created_at=now,
        raw_id=number,
        message=number,
        force_insert=True,
    )


def test_move_takes_present_questions_only_when_asked() -> None:
    segments.put("sales", None)
    for segment in ("default", "sales"):
        topics.put(segment, "Billing")
    topics.put("default", "Other")
    mailbox = mailboxes.add("info@example.org", topic="Billing")
    here, there = segments.find("default"), segments.find("sales")
    question(1, mailbox, topics.find(here, "Billing").id)
    question(2, mailbox, topics.find(here, "Other").id)

    assert relocation.move(mailbox, "sales") == 0
    moved = mailboxes.find("info@example.org")
    assert moved.segment.name == "sales"
    assert moved.topic_id == topics.find(there, "Billing").id
    assert Question.get_by_id(1).segment_id == here.id

    assert relocation.move(moved, "sales", with_questions=True) == 2
    assert Question.get_by_id(1).segment_id == there.id
    assert Question.get_by_id(1).topic_id == topics.find(there, "Billing").id
    assert Question.get_by_id(2).topic_id is None


def test_delete_is_refused_while_there_are_questions() -> None:
    mailbox = mailboxes.add("info@example.org")
    question(1, mailbox)

    with pytest.raises(InputError, match="1 questions"):
        deletion.delete(mailbox)

    assert deletion.delete(mailbox, with_questions=True) == 1
    assert Mailbox.select().count() == 0
    assert Question.select().count() == 0


def test_delete_takes_what_is_its_own_and_leaves_what_is_shared() -> None:
    mailbox, other = mailboxes.add("info@example.org"), mailboxes.add("other@example.org")
    sides.save(mailbox, "in", "pigeon", {"host": "x"})
    Contact.create(address="a@b.org", address_key="a@b.org", created_at=datetime.now(UTC))
    question(1, mailbox)
    message(1, 1, mailbox)
    question(2, mailbox)
    message(2, 2, mailbox)
    message(3, 2, other)
    question(3, other, merged_into=1)
    Outbox.create(
        mailbox=mailbox.id,
        message=1,
        raw_id=1,
        internet_id="i",
        sender="",
        recipient_key="r",
        created_at=datetime.now(UTC),
        queued_at=datetime.now(UTC),
    )

    assert deletion.delete(mailbox, with_questions=True) == 1

    assert [q.id for q in Question.select()] == [2]
    assert Question.get().mailbox_id == other.id
    assert [m.id for m in Message.select()] == [3]
    assert [r.id for r in Raw.select()] == [3]
    assert [r.raw_id for r in RawChunk.select()] == [3]
    assert [r.id for r in Receipt.select()] == [3]
    assert Side.select().count() == 0


# ---------------------------------------------------------------------------- segments and filters


def test_default_segment_always_exists() -> None:
    assert segments.find("DEFAULT").name == "default"
    with pytest.raises(InputError):
        segments.remove("default")
    with pytest.raises(InputError):
        segments.rename("default", "other")


def test_segment_in_use_is_not_removed() -> None:
    segments.put("support", None)
    mailboxes.add("info@example.org", segment="Support")

    with pytest.raises(InputError, match="1 mailboxes"):
        segments.remove("support")

    mailboxes.change(mailboxes.find("info@example.org"), segment="default")
    segments.remove("support")
    assert not segments.exists("support")


def test_renamed_topic_takes_its_filters_along() -> None:
    topics.put("default", "Billing")
    filters.put("default", "f", {"field": "subject", "pattern": "x", "topic": "billing"})

    topics.rename("default", "Billing", "Money")

    assert filters.find("f", "default").topic == "Money"
    with pytest.raises(InputError, match="1 filters"):
        topics.remove("default", "Money")


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({}, {"field", "pattern", "set"}),
        ({"field": "cc", "pattern": "(", "status": "open"}, {"field", "pattern", "set.status"}),
        ({"field": "header:", "pattern": "x", "topic": "No"}, {"field", "set.topic"}),
        ({"field": "to", "pattern": "x", "ignore": "r", "status": "spam"}, {"ignore"}),
        ({"field": "to", "pattern": "x", "status": "assigned"}, {"set.status"}),
        ({"field": "to", "pattern": "x", "ignore": ""}, {"ignore"}),
        ({"field": 1, "pattern": "x" * 3000, "stop": 1}, {"field", "pattern", "stop", "set"}),
    ],
)
def test_every_problem_of_a_filter_is_named(values: dict[str, Any], fields: set[str]) -> None:
    with pytest.raises(InputError) as caught:
        filters.put("default", "f", values)

    assert set(problems_of(caught)) == fields


def test_filters_keep_their_order() -> None:
    for name in "abcd":
        filters.put("default", name, {"field": "header:List-Id", "pattern": "x", "ignore": "r"})

    assert filters.order("default", ["d", "b"])
    assert not filters.order("default", ["d", "b"])

    assert [row["name"] for row in filters.listed("default")] == ["a", "d", "c", "b"]
