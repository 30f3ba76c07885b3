"""Questions found, listed, worked on, and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.errors import InputError, NotFoundError
from postroom.outbox import answers
from postroom.questions import notes, questions, transcript
from postroom.store.models import Message, Outbox, Question, Topic

Desk = Any
WITH_FILE = """\
From: Ann <ann@customer.example>
To: info@example.org
Subject: Invoice
Message-ID: <with-file@customer.example>
Date: Mon, 02 Nov 2026 10:00:00 +0100
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html

<p onclick="x()">See <b>this</b><script>alert(1)</script></p>
--b
Content-Type: application/pdf
Content-Disposition: attachment; filename="one.pdf"

%PDF-1
--b
Content-Type: application/pdf
Content-Disposition: attachment; filename="two.pdf"

%PDF-2
--b--
""".replace("\n", "\r\n").encode()

QUESTION_KEYS = (
    "number reference subject status topic segment mailbox contact assignee created_at updated_at "
    "messages"
).split()
MESSAGE_KEYS = (
    "id kind direction state from to cc reply_to subject date received_at message_id in_reply_to "
    "references text reply_text html is_automatic is_bounce may_auto_reply attachments size "
    "raw_sha256"
).split()


def merge(other: Question, into: Question) -> None:
    other.merged_into = into
    other.save()


class TestFind:
    def test_number_of_a_merged_question_is_an_alias(self, desk: Desk) -> None:
        first, second, third = (desk.receive().question for _ in range(3))
        merge(third, second)
        merge(second, first)

        assert questions.find(third.id).id == first.id

    @pytest.mark.parametrize("number", [99, 2**31])
    def test_number_of_none(self, desk: Desk, number: int) -> None:
        with pytest.raises(NotFoundError, match=f"no question {number}"):
            questions.find(number)


class TestListing:
    def numbers(self, **filters: Any) -> list[int]:
        return [question.id for question in questions.listing(**filters)]

    def test_latest_first_over_many_pages_without_merged_ones(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(questions, "_PAGE", 2)
        asked = [desk.receive().question for _ in range(5)]
        merge(asked[1], asked[0])

        assert self.numbers() == [5, 4, 3, 1]
        assert self.numbers(limit=3) == [5, 4, 3]
        assert self.numbers(oldest_first=True) == [1, 3, 4, 5]

    def test_filters(self, desk: Desk) -> None:
        one, two, three = (desk.receive().question.id for _ in range(3))
        topic = Topic.create(segment=desk.segment, name="Billing", name_key="billing")
        Question.update(topic=topic).where(Question.id == two).execute()
        questions.assign(two, "eve")
        questions.resolve(three)

        assert self.numbers(status="unassigned") == [one]
        assert self.numbers(status="resolved") == [three]
        assert self.numbers(assignee="eve") == [two]
        assert self.numbers(topic="BILLING") == [two]
        assert self.numbers(segment="Support", mailbox="INFO@example.org") == [three, two, one]

    @pytest.mark.parametrize("name", ["segment", "mailbox", "topic"])
    def test_unknown_name_is_told(self, desk: Desk, name: str) -> None:
        with pytest.raises(NotFoundError):
            self.numbers(**{name: "nobody@example.org"})


class TestWork:
    def test_status_follows_what_agents_do(self, desk: Desk) -> None:
        number = desk.receive().question.id

        assert questions.reopen(number).status == "unassigned"
        assert questions.resolve(number).status == "resolved"
        assert questions.reopen(number).status == "unassigned"
        assert questions.assign(number, " Eve  Doe ").assignee == "Eve Doe"
        assert questions.mark_spam(number).status == "spam"
        assert questions.reopen(number).status == "assigned"

    def test_it_is_recorded(self, desk: Desk) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        question = desk.receive().question

        questions.resolve(question.id)

        found = questions.find(question.id)
        assert found.acted
        assert found.updated_at > before

    @pytest.mark.parametrize("name", ["", " ", "x" * 500, "a\x1bb"])
    def test_assignee_needs_a_name(self, desk: Desk, name: str) -> None:
        with pytest.raises(InputError):
            questions.assign(desk.receive().question.id, name)


class TestTranscript:
    def test_every_key_is_there_and_it_is_json(self, desk: Desk) -> None:
        question = desk.receive(WITH_FILE).question
        answers.answer(question, "Thanks.", author="Eve")
        notes.add(question, "Paid.", author="Eve")

        document = transcript.shown(questions.find(question.id))

        assert set(QUESTION_KEYS) < set(document)
        assert [m["kind"] for m in document["messages"]] == ["question", "answer", "note"]
        for message in document["messages"]:
            assert set(MESSAGE_KEYS) < set(message)
        json.dumps(document)

    def test_values(self, desk: Desk) -> None:
        message = desk.receive(WITH_FILE, received_at=datetime(2026, 11, 2, 9, 1, tzinfo=UTC))

        document = transcript.shown(questions.find(message.question_id))

        assert document["number"] == message.question_id
        assert document["reference"].startswith(f"#{message.question_id}-")
        assert document["contact"] == {"address": "ann@customer.example", "name": "Ann"}
        assert (document["segment"], document["mailbox"]) == ("support", "info@example.org")
        (shown,) = document["messages"]
        assert (shown["direction"], shown["state"]) == ("in", "received")
        assert shown["from"] == {"address": "ann@customer.example", "name": "Ann"}
        assert shown["to"] == [{"address": "info@example.org", "name": ""}]
        assert shown["date"] == "2026-11-02T09:00:00Z"
        assert shown["received_at"] == "2026-11-02T09:01:00Z"
        assert shown["message_id"] == "with-file@customer.example"
        assert shown["reply_text"] == shown["text"]
        assert shown["html"] is not None
        assert "script" not in shown["html"]
        assert "onclick" not in shown["html"]
        assert shown["size"] == len(WITH_FILE)
        assert set(shown["attachments"][0]) == {
            *("filename", "content_type", "size", "sha256", "content_id", "inline")
        }

    def test_state_of_an_answer_is_the_outbox_state(self, desk: Desk) -> None:
        question = desk.receive().question
        answers.answer(question, "Five.", author="Eve")
        Outbox.update(state="failed").execute()

        *_, shown = transcript.shown(question)["messages"]

        assert (shown["direction"], shown["state"]) == ("out", "failed")

    def test_merged_and_linked_numbers(self, desk: Desk) -> None:
        first, second = desk.receive().question, desk.receive().question
        merge(second, first)
        Question.update(linked_to=[7]).where(Question.id == first.id).execute()

        document = transcript.shown(questions.find(second.id))

        assert (document["aliases"], document["linked"]) == ([second.id], [7])

    def test_messages_stand_by_date_whatever_order_they_came_in(self, desk: Desk) -> None:
        late = desk.receive(id="late")
        early = desk.receive(
            id="early", question=late.question, date="Sun, 01 Nov 2026 10:00:00 +0000"
        )
        future = desk.receive(
            id="future", question=late.question, date="Thu, 01 Jan 2099 10:00:00 +0000"
        )
        desk.arrived += timedelta(minutes=5)
        last = desk.receive(id="last", question=late.question)

        ids = [m["id"] for m in transcript.shown(late.question)["messages"]]

        assert ids == [early.id, late.id, future.id, last.id]

    def test_export_has_every_question_once(self, desk: Desk) -> None:
        first, second, third = (desk.receive().question for _ in range(3))
        merge(second, first)

        documents = list(transcript.export())

        assert [d["number"] for d in documents] == [first.id, third.id]
        assert documents[0] == transcript.shown(questions.find(first.id))

    def test_raw_is_what_was_served(self, desk: Desk) -> None:
        message = desk.receive(WITH_FILE)

        assert transcript.raw(transcript.message(message.question_id)) == WITH_FILE

    def test_attachment_is_read_out_of_the_raw_message(self, desk: Desk) -> None:
        message = desk.receive(WITH_FILE)

        found = transcript.attachment(message, 1)

        assert (found.filename, found.content.strip()) == ("two.pdf", b"%PDF-2")
        with pytest.raises(NotFoundError, match="has 2 attachments"):
            transcript.attachment(message, 2)

    def test_note_has_no_bytes(self, desk: Desk) -> None:
        note = notes.add(desk.receive().question, "Call.", author="Eve")

        with pytest.raises(NotFoundError, match="note"):
            transcript.raw(note)

    def test_message_of_another_question_is_not_found(self, desk: Desk) -> None:
        one, other = desk.receive(), desk.receive()

        assert transcript.message(one.question_id, one.id).id == one.id
        with pytest.raises(NotFoundError):
            transcript.message(one.question_id, other.id)


def test_question_of_a_mailbox_without_a_contact(desk: Desk) -> None:
    question = desk.receive().question
    Question.update(contact=None).execute()
    Message.update(from_address=None, from_name="").execute()

    document = transcript.shown(questions.find(question.id))

    assert document["contact"] == {"address": None, "name": ""}
    assert document["messages"][0]["from"] == {"address": None, "name": ""}
