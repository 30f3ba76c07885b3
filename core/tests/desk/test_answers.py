"""Answers, acknowledgements and notes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.errors import InputError
from postroom.mail import ParsedMessage, parse
from postroom.mail.compose.compose import OutgoingFile
from postroom.outbox import acknowledgements, answers
from postroom.questions import notes, questions
from postroom.store import raws
from postroom.store.database import transaction
from postroom.store.models import Message, MessageKey, Outbox, Side

Desk = Any


def sent(row: Outbox) -> ParsedMessage:
    return parse(raws.load(row.raw_id))


def outbox_of(message: Message) -> Outbox:
    row: Outbox = Outbox.get(Outbox.message == message.id)
    return row


def acknowledge(message: Message, template: str = "") -> Outbox | None:
    with transaction():
        batch = acknowledgements.Acknowledgements(message.mailbox, [message.question_id])
        return batch.queue(message.question, message, template)


class TestAcknowledgement:
    def test_it_tells_the_reference_and_cannot_be_answered_by_a_machine(self, desk: Desk) -> None:
        message = desk.receive()

        row = acknowledge(message, "{{ question.reference }}!")

        assert row is not None
        mail = sent(row)
        reference = questions.reference(message.question)
        assert mail.text.strip() == f"{reference}!"
        assert mail.subject == f"Re: A question [{reference}]"
        assert mail.header("Auto-Submitted") == "auto-replied"
        assert mail.in_reply_to == ("id1@customer.example",)
        assert mail.references == ("id1@customer.example",)
        assert row.sender == ""
        assert (row.state, row.is_automatic) == ("queued", True)
        assert [r["address"] for r in row.recipients] == ["ann@customer.example"]
        assert not mail.may_auto_reply

    def test_it_is_a_message_that_answers_to_it_can_join(self, desk: Desk) -> None:
        message = desk.receive()

        row = acknowledge(message)

        assert row is not None
        stored = Message.get_by_id(row.message_id)
        assert (stored.kind, stored.direction) == ("acknowledgement", "out")
        assert stored.question_id == message.question_id
        assert MessageKey.get(MessageKey.message == stored.id).key == row.internet_id

    @pytest.mark.parametrize(
        "template", ["", "  ", "{{ question.subject }}", "{{ broken", "{{ 1/0 }}"]
    )
    def test_template_that_says_nothing_or_fails_is_replaced(
        self, desk: Desk, template: str
    ) -> None:
        message = desk.receive()

        row = acknowledge(message, template)

        assert row is not None
        assert questions.reference(message.question) in sent(row).text

    def test_it_goes_to_reply_to(self, desk: Desk) -> None:
        message = desk.receive(more="Reply-To: form@customer.example")

        row = acknowledge(message)

        assert row is not None
        assert row.recipient_key == "form@customer.example"

    def test_advertisement_in_the_subject_is_not_carried(self, desk: Desk) -> None:
        message = desk.receive(subject="Win at https://casino.example now")

        row = acknowledge(message)

        assert row is not None
        assert "casino" not in raws.load(row.raw_id).decode()
        assert sent(row).subject == f"Re: [{questions.reference(message.question)}]"

    def test_once_a_question(self, desk: Desk) -> None:
        message = desk.receive()
        acknowledge(message)

        assert acknowledge(message) is None

    def test_a_correspondent_gets_a_bounded_number(self, desk: Desk) -> None:
        mails = [desk.receive() for _ in range(acknowledgements.MOST_AUTOMATIC + 2)]

        rows = [acknowledge(m) for m in mails]

        assert sum(row is not None for row in rows) == acknowledgements.MOST_AUTOMATIC
        other = desk.receive(sender="bob@customer.example")
        assert acknowledge(other) is not None

    def test_a_machine_with_an_address_for_each_ticket_is_one_correspondent(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        count = acknowledgements.MOST_AUTOMATIC + 2
        mails = [desk.receive(sender=f"help+id{n}@customer.example") for n in range(count)]

        some = [acknowledge(m) for m in mails[: acknowledgements.MOST_AUTOMATIC]]
        both = acknowledgements.Acknowledgements(desk.mailbox, [m.question_id for m in mails])
        none = [both.queue(m.question, m, "") for m in mails[acknowledgements.MOST_AUTOMATIC :]]

        assert all(some)
        assert none == [None, None]
        assert caplog.messages == [
            f"Question {mails[-2].question_id} is not acknowledged: its sender had "
            f"{acknowledgements.MOST_AUTOMATIC} automatic mails within a day, and gets no more."
        ]

    def test_what_was_sent_long_ago_does_not_count(self, desk: Desk) -> None:
        for _ in range(acknowledgements.MOST_AUTOMATIC):
            message = desk.receive()
            acknowledge(message)
        Outbox.update(created_at=datetime.now(UTC) - acknowledgements.AUTOMATIC_SPAN).execute()

        message = desk.receive()

        assert acknowledge(message) is not None

    @pytest.mark.parametrize(
        "values",
        [
            {"more": "Auto-Submitted: auto-replied"},
            {"more": "List-Id: <list.example>"},
            {"sender": "info@example.org"},
            {"more": "Reply-To: help@example.org"},
            {"received_at": datetime(2025, 12, 31, tzinfo=UTC)},
        ],
        ids="automatic list own reply-to-own before-the-mailbox".split(),
    )
    def test_not_for(self, desk: Desk, values: dict[str, Any]) -> None:
        message = desk.receive(**values)

        assert acknowledge(message) is None

    def test_not_for_mail_whose_arrival_is_unknown(self, desk: Desk) -> None:
        message = desk.receive()
        message.received_at = None

        assert acknowledge(message) is None

    def test_not_for_spam_nor_without_an_outgoing_side(self, desk: Desk) -> None:
        message = desk.receive()
        message.question.status = "spam"
        assert acknowledge(message) is None

        Side.delete().execute()
        other = desk.receive()
        assert acknowledge(other) is None


class TestAnswer:
    def test_it_goes_to_the_customer_with_tag_and_references(self, desk: Desk) -> None:
        question = desk.receive(more="References: <root@customer.example>").question

        message = answers.answer(question, "Five euros.\n", author="Eve")

        mail = sent(outbox_of(message))
        assert str(mail.from_) == "Example Support <info@example.org>"
        assert [str(a) for a in mail.to] == ["Ann <ann@customer.example>"]
        assert mail.subject == f"Re: A question [{questions.reference(question)}]"
        assert mail.in_reply_to == ("id1@customer.example",)
        assert mail.references == ("root@customer.example", "id1@customer.example")
        assert mail.text.strip() == "Five euros."
        assert mail.header("Auto-Submitted") is None
        assert outbox_of(message).sender == "info@example.org"
        assert message.author == "Eve"

    def test_who_answers_has_the_question(self, desk: Desk) -> None:
        question = desk.receive().question

        answers.answer(question, "Five.", author="Eve")

        found = questions.find(question.id)
        assert (found.status, found.assignee, found.acted) == ("assigned", "Eve", True)

    def test_an_answer_of_another_takes_it_from_nobody(self, desk: Desk) -> None:
        question = questions.assign(desk.receive().question.id, "Bob")

        answers.answer(question, "Five.", author="Eve")

        assert questions.find(question.id).assignee == "Bob"

    def test_the_latest_message_counts_but_not_a_strangers(self, desk: Desk) -> None:
        question = desk.receive().question
        latest = desk.receive(question=question, more="Reply-To: home@customer.example")
        desk.receive(question=question, is_stranger=True, sender="mallory@evil.example")

        message = answers.answer(question, "Five.", author="Eve")

        assert message.to == [["home@customer.example", ""]]
        assert message.in_reply_to == [latest.internet_id]

    def test_reply_all_keeps_others_but_not_ourselves(self, desk: Desk) -> None:
        Side.update(send_as="desk@example.org").execute()
        question = desk.receive(
            more="Cc: HELP@example.org, desk@example.org, Boss <boss@customer.example>,\r\n"
            " ann@customer.example, boss@customer.example"
        ).question

        message = answers.answer(question, "Five.", author="Eve", reply_all=True)

        assert message.to == [["ann@customer.example", "Ann"]]
        assert message.cc == [["boss@customer.example", "Boss"]]
        row = outbox_of(message)
        addresses = [r["address"] for r in row.recipients]
        assert addresses == ["ann@customer.example", "boss@customer.example"]

    @pytest.mark.parametrize(
        ("side", "reply_to"),
        [
            ({}, []),
            ({"send_as": "desk@example.org"}, [["info@example.org", "Example Support"]]),
            ({"reply_to": "new@example.org"}, [["new@example.org", "Example Support"]]),
            ({"send_as": "new@example.org", "reply_to": "new@example.org"}, []),
        ],
        ids="plain send-as reply-to both".split(),
    )
    def test_answers_come_back_to_the_mailbox(
        self, desk: Desk, side: dict[str, str], reply_to: list[list[str]]
    ) -> None:
        if side:
            Side.update(side).execute()

        message = answers.answer(desk.receive().question, "Five.", author="Eve")

        assert message.from_address == side.get("send_as", "info@example.org")
        assert message.reply_to == reply_to

    def test_html_and_files(self, desk: Desk) -> None:
        file = OutgoingFile("../price list.pdf", "application/pdf", b"%PDF")

        message = answers.answer(
            desk.receive().question, "", author="Eve", html="<p>Five</p>", attachments=[file]
        )

        mail = sent(outbox_of(message))
        assert mail.text.strip() == message.text.strip() == "Five"
        assert "<p>Five</p>" in (mail.html_original or "")
        assert [a.content for a in mail.attachments] == [b"%PDF"]
        assert message.attachments[0]["sha256"] == mail.attachments[0].sha256
        assert "/" not in message.attachments[0]["filename"]

    def test_nothing_in_it_adds_a_header(self, desk: Desk) -> None:
        question = desk.receive().question
        question.subject = "Hi\r\nBcc: mallory@evil.example"
        question.save()

        message = answers.answer(question, "Five.", author="Eve")

        assert sent(outbox_of(message)).header("Bcc") is None

    def test_without_an_outgoing_side_it_says_what_to_do(self, desk: Desk) -> None:
        Side.delete().execute()
        question = desk.receive().question

        with pytest.raises(InputError, match="no outgoing side") as caught:
            answers.answer(question, "Five.", author="Eve")

        assert "mailbox outgoing" in caught.value.next_step
        assert Message.select().where(Message.direction == "out").count() == 0

    def test_empty_or_to_nobody_is_refused(self, desk: Desk) -> None:
        question = desk.receive().question
        with pytest.raises(InputError, match="empty"):
            answers.answer(question, " \n", author="Eve")

        Message.update(from_address=None).execute()
        with pytest.raises(InputError, match="no address"):
            answers.answer(question, "Five.", author="Eve")

    def test_spam_is_not_answered(self, desk: Desk) -> None:
        question = questions.mark_spam(desk.receive().question.id)

        with pytest.raises(InputError, match="spam"):
            answers.answer(question, "Five.", author="Eve")

    def test_text_that_a_database_refuses_is_made_storable(self, desk: Desk) -> None:
        message = answers.answer(desk.receive().question, "Fi\x00ve\ud800.", author="Eve")

        assert message.text == "Five."


def test_note_stays_inside(desk: Desk) -> None:
    question = desk.receive().question
    before = question.updated_at

    note = notes.add(question, "Call back.", author="Eve")

    assert (note.kind, note.direction, note.author) == ("note", "none", "Eve")
    assert Outbox.select().count() == 0
    found = questions.find(question.id)
    assert found.status == "unassigned"
    assert found.acted
    assert found.updated_at > before - timedelta(hours=1)


def test_answer_to_a_merged_question_goes_where_it_was_merged(desk: Desk) -> None:
    first, second = desk.receive().question, desk.receive().question
    second.merged_into = first
    second.save()

    message = answers.answer(second, "Five.", author="Eve")

    assert message.question_id == first.id
