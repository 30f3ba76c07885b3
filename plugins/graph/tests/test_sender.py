"""Sending: drafts, what Exchange makes of them, and what is known when an answer is lost."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from postroom.api import (
    CANNOT_TELL,
    NOT_SENT,
    AuthError,
    OutcomeUnknown,
    Outgoing,
    Rejected,
    Sent,
    SettingsError,
    TransientError,
    codes,
)
from postroom_graph.evidence import TRANSIT
from postroom_graph.sender import GraphSender
from postroom_test_servers.graph import CUT, GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.graph_wire import GraphAnswer, GraphRequest, refusal

OpenSender = Callable[..., GraphSender]
Letter = Callable[..., Outgoing]
ALWAYS = float("inf")


def send(sender: GraphSender, outgoing: Outgoing) -> Any:
    return sender.send(outgoing, sender.prepare(outgoing))


def arrived(mailbox: GraphMailbox) -> EmailMessage:
    [(_, _, raw)] = mailbox.delivered
    found = message_from_bytes(raw, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def in_folder(mailbox: GraphMailbox, name: str) -> int:
    return len(mailbox.folders[mailbox.well_known[name]].present)


def with_files(*sizes: int) -> bytes:
    parts = [
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    ]
    for number, size in enumerate(sizes):
        content = base64.encodebytes(bytes([number]) * size).replace(b"\n", b"\r\n")
        parts.append(
            b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
            b'Content-Disposition: attachment; filename="%d.pdf"\r\n\r\n' % number + content
        )
    head = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    return head + b"".join(parts) + b"--b--\r\n"


# ---------------------------------------------------------------------------- what arrives


def test_the_handle_is_the_draft_and_stays_the_sent_messages_id(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    sender = open_sender()

    handle = sender.prepare(letter())
    assert mailbox.messages[handle].is_draft
    result = sender.send(letter(), handle)

    assert result.accepted == ("ann@customer.example",)
    assert not mailbox.messages[handle].is_draft
    assert in_folder(mailbox, "sentitems") == 1


def test_from_and_display_name_are_ours_although_exchange_ignores_the_mimes(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    mailbox.name = "Support Mailbox (Contoso)"

    send(open_sender(), letter())

    [person] = arrived(mailbox)["From"].addresses
    assert (person.display_name, person.addr_spec) == ("Example Support", "support@example.org")


def test_a_message_id_that_exchange_makes_is_learnt(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    mailbox.rewrites_message_ids = True

    result = send(open_sender(), letter())

    [message] = mailbox.messages.values()
    assert f"<{result.message_id}>" == message.internet_id != "<answer-1@desk.example.org>"


def test_who_is_not_named_in_the_headers_gets_it_unseen(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    outgoing = letter("ann@customer.example")
    both = Outgoing(
        **{
            **{name: getattr(outgoing, name) for name in Outgoing.__slots__},
            "recipients": ("ann@customer.example", "boss@example.org"),
        }
    )

    send(open_sender(), both)

    [(_, recipients, _)] = mailbox.delivered
    assert set(recipients) == {"ann@customer.example", "boss@example.org"}
    assert arrived(mailbox)["Bcc"] is None


def test_who_is_named_and_is_not_a_recipient_gets_nothing(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    outgoing = letter("ann@customer.example", "bob@customer.example")
    one = Outgoing(
        **{
            **{name: getattr(outgoing, name) for name in Outgoing.__slots__},
            "recipients": ("bob@customer.example",),
        }
    )

    send(open_sender(), one)

    [(_, recipients, _)] = mailbox.delivered
    assert recipients == ("bob@customer.example",)


@pytest.mark.parametrize("sizes", [(3_000_000,), (1_000, 7_000_000, 2_950_000), (5_000,) * 3])
def test_large_attachments_arrive_whole_and_in_the_conversation(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter, sizes: tuple[int, ...]
):
    sender = open_sender(mime_limit_bytes=10_000)
    outgoing = letter(body=with_files(*sizes), head=b"X-Kind: answer\r\nAuto-Submitted: no\r\n")

    send(sender, outgoing)

    found = arrived(mailbox)
    files = [part.get_payload(decode=True) for part in found.iter_attachments()]
    assert files == [bytes([number]) * size for number, size in enumerate(sizes)]
    body = found.get_body(("plain",))
    assert body is not None
    assert "Grüße" in body.get_content()
    assert found["In-Reply-To"] == "<q1@customer.example>"
    assert found["References"] == "<q0@customer.example> <q1@customer.example>"
    assert found["Message-ID"] == "<answer-1@desk.example.org>"
    assert found["X-Kind"] == "answer"
    assert found["Auto-Submitted"] == "no"
    assert found["From"].addresses[0].display_name == "Example Support"


def test_an_inline_picture_keeps_its_content_id(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    body = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
        b'--b\r\nContent-Type: text/html\r\n\r\n<img src="cid:logo@x">\r\n'
        b"--b\r\nContent-Type: image/png\r\nContent-ID: <logo@x>\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--b--\r\n"
    )

    sender = open_sender(mime_limit_bytes=0)
    handle = sender.prepare(letter(body=body))

    [file] = mailbox.messages[handle].files
    assert (file["contentId"], file["isInline"]) == ("logo@x", True)
    assert mailbox.messages[handle].properties["body"]["contentType"] == "html"


def test_a_limit_lower_than_ours_is_met_by_taking_the_message_apart(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    mailbox.most_request_bytes = 1_000_000

    send(open_sender(), letter(body=with_files(600_000, 600_000)))

    assert len(list(arrived(mailbox).iter_attachments())) == 2


def test_the_upload_gets_no_token_and_only_an_encrypted_connection(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(
        "createUploadSession",
        GraphAnswer(201, {"uploadUrl": "http://evil.example/upload", "nextExpectedRanges": ["0-"]}),
    )
    outgoing = letter(body=with_files(4_000_000))

    with pytest.raises(TransientError):
        open_sender().prepare(outgoing)

    assert in_folder(mailbox, "drafts") == 0


@pytest.mark.parametrize("rewrites", [False, True], ids=["kept id", "rewritten id"])
@pytest.mark.parametrize("limit", [2_700_000, 1], ids=["whole", "in parts"])
def test_a_draft_that_nobody_heard_of_is_removed_by_the_next_session(
    open_sender: OpenSender,
    mailbox: GraphMailbox,
    graph_server: GraphServer,
    letter: Letter,
    rewrites: bool,
    limit: int,
):
    mailbox.rewrites_message_ids = rewrites
    first = open_sender(mime_limit_bytes=limit)
    foreign = first.prepare(letter(message_id="answer-2@desk.example.org"))

    def lose(_: GraphRequest) -> GraphAnswer:
        first.interrupt()  # as a process that is killed, it looks for nothing any more
        return CUT

    graph_server.on(r"POST .*/messages$", lose, after=True)
    with pytest.raises(TransientError):
        first.prepare(letter())
    assert in_folder(mailbox, "drafts") == 2

    send(open_sender(), letter())

    assert list(mailbox.folders[mailbox.well_known["drafts"]].present) == [foreign]
    assert len(mailbox.delivered) == 1


def test_drafts_are_listed_again_where_that_failed(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    mailbox.rewrites_message_ids = True
    open_sender().prepare(letter())
    sender = open_sender()
    graph_server.on(r"GET .*/drafts/messages", CUT, times=2)
    with pytest.raises(TransientError):
        sender.prepare(letter())

    sender.prepare(letter())

    assert in_folder(mailbox, "drafts") == 1


def test_a_draft_whose_answer_is_lost_is_removed_at_once_whatever_its_message_id(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    mailbox.rewrites_message_ids = True
    sender = open_sender()
    sender.prepare(letter(message_id="answer-2@desk.example.org"))
    graph_server.on(r"POST .*/messages$", CUT, after=True)

    with pytest.raises(TransientError):
        sender.prepare(letter())

    assert in_folder(mailbox, "drafts") == 1


# ---------------------------------------------------------------------------- Sent Items


def test_without_save_to_sent_no_copy_stays(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    send(open_sender(), letter(save_to_sent=False))

    assert len(mailbox.delivered) == 1
    assert not mailbox.messages


def test_a_copy_is_not_removed_before_the_message_has_left(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    mailbox.holds_sent = True
    sender = open_sender()

    send(sender, letter(save_to_sent=False))
    assert len(mailbox.messages) == 1
    mailbox.transport()
    sender.close()

    assert len(mailbox.delivered) == 1
    assert not mailbox.messages


# ---------------------------------------------------------------------------- refusals

REFUSALS = {
    "send as": ((403, "ErrorSendAsDenied"), SettingsError, codes.SENDER_REFUSED.name),
    "too large": ((413, "RequestTooLarge"), Rejected, codes.MESSAGE_TOO_LARGE.name),
    "too large too": ((400, "ErrorMessageSizeExceeded"), Rejected, codes.MESSAGE_TOO_LARGE.name),
    "recipient": ((400, "ErrorInvalidRecipients"), Rejected, codes.RECIPIENT_REFUSED.name),
    "message": ((400, "ErrorInvalidRequest"), Rejected, codes.MESSAGE_REFUSED.name),
    "policy": ((403, "ErrorAccessDenied"), AuthError, "GRAPH-ACCESS-DENIED"),
    "full": ((507, "ErrorQuotaExceeded"), TransientError, "GRAPH-MAILBOX-FULL"),
    "limit": ((400, "ErrorSubmissionQuotaExceeded"), TransientError, "GRAPH-SENDING-LIMIT"),
}


@pytest.mark.parametrize("at", [r"POST .*/messages$", r"POST .*/send$"], ids=["draft", "send"])
@pytest.mark.parametrize("case", REFUSALS)
def test_each_refusal_has_its_own_error_and_sends_nothing(
    open_sender: OpenSender,
    mailbox: GraphMailbox,
    graph_server: GraphServer,
    letter: Letter,
    case: str,
    at: str,
):
    (status, code), kind, name = REFUSALS[case]
    graph_server.on(at, refusal(status, code), times=ALWAYS)

    with pytest.raises(kind) as caught:
        send(open_sender(), letter())

    assert caught.value.code.name == name
    assert not mailbox.delivered


def test_sending_as_somebody_else_without_the_right_is_about_the_settings(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    outgoing = letter()
    other = Outgoing(
        **{
            **{name: getattr(outgoing, name) for name in Outgoing.__slots__},
            "raw": outgoing.raw.replace(b"<support@", b"<sales@"),
            "from_address": "sales@example.org",
        }
    )

    with pytest.raises(SettingsError) as caught:
        send(open_sender(), other)
    assert caught.value.code is codes.SENDER_REFUSED

    mailbox.send_as.add("sales@example.org")
    send(open_sender(), other)
    assert arrived(mailbox)["From"].addresses[0].addr_spec == "sales@example.org"


@pytest.mark.parametrize("status", [200, 201, 204])
def test_another_success_than_202_is_no_proof(
    open_sender: OpenSender, graph_server: GraphServer, letter: Letter, status: int
):
    graph_server.on(r"POST .*/send$", GraphAnswer(status))

    with pytest.raises(OutcomeUnknown):
        send(open_sender(), letter())


def test_a_draft_answered_by_200_is_none(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(r"POST .*/messages$", GraphAnswer(200, {}))

    with pytest.raises(TransientError):
        open_sender().prepare(letter())


# ---------------------------------------------------------------------------- lost answers


def test_a_lost_answer_to_prepare_leaves_no_second_draft(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(r"POST .*/messages$", CUT, after=True)

    with pytest.raises(TransientError):
        open_sender().prepare(letter())
    send(open_sender(), letter())

    assert len(mailbox.delivered) == 1
    assert in_folder(mailbox, "drafts") == 0


def test_a_draft_that_an_earlier_attempt_did_not_hear_of_is_removed_by_the_next(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(r"POST .*/messages$", CUT, after=True)
    graph_server.on(r"GET .*/messages$", lambda r: CUT if len(mailbox.messages) else None, times=2)
    with pytest.raises(TransientError):
        open_sender().prepare(letter())
    assert in_folder(mailbox, "drafts") == 1

    handle = open_sender().prepare(letter())

    assert list(mailbox.messages) == [handle]


def test_a_lost_answer_to_send_is_found_as_sent(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(r"POST .*/send$", CUT, after=True)
    sender = open_sender()
    handle = sender.prepare(letter())

    with pytest.raises(OutcomeUnknown):
        sender.send(letter(), handle)

    assert isinstance(open_sender().find_sent(letter().message_id, handle), Sent)
    assert isinstance(open_sender().find_sent(letter().message_id, None), Sent)
    assert len(mailbox.delivered) == 1


def test_a_draft_proves_nothing_until_it_has_lain_there_for_long(
    open_sender: OpenSender,
    mailbox: GraphMailbox,
    graph_server: GraphServer,
    letter: Letter,
    context: Any,
):
    graph_server.on(r"POST .*/send$", CUT)
    sender = open_sender()
    handle = sender.prepare(letter())
    with pytest.raises(OutcomeUnknown):
        sender.send(letter(), handle)

    assert sender.find_sent(letter().message_id, handle) is CANNOT_TELL
    context.time = datetime.now(UTC) + TRANSIT + timedelta(minutes=1)

    assert sender.find_sent(letter().message_id, handle) is NOT_SENT
    sender.send(letter(), handle)
    assert len(mailbox.delivered) == 1


def test_a_draft_in_the_outbox_is_on_its_way_however_old(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter, context: Any
):
    sender = open_sender()
    handle = sender.prepare(letter())
    mailbox.move(mailbox.messages[handle], mailbox.well_known["outbox"])
    context.time = datetime.now(UTC) + timedelta(days=1)

    assert sender.find_sent(letter().message_id, handle) is CANNOT_TELL


def test_an_accepted_message_that_is_a_draft_still_is_found_once_it_left(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    mailbox.holds_sent = True
    graph_server.on(r"POST .*/send$", CUT, after=True)
    sender = open_sender()
    handle = sender.prepare(letter())
    with pytest.raises(OutcomeUnknown):
        sender.send(letter(), handle)

    assert sender.find_sent(letter().message_id, handle) is CANNOT_TELL
    mailbox.transport()

    assert isinstance(sender.find_sent(letter().message_id, handle), Sent)


def test_not_finding_it_proves_nothing(open_sender: OpenSender, mailbox: GraphMailbox):
    assert open_sender().find_sent("nobody@x", "AAnothing") is CANNOT_TELL
    assert open_sender().find_sent("nobody's@x", None) is CANNOT_TELL


def test_a_draft_of_an_earlier_session_that_was_sent_after_all_is_not_sent_again(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    first = open_sender()
    handle = first.prepare(letter())
    first.send(letter(), handle)

    result = open_sender().send(letter(), handle)

    assert result.accepted == ("ann@customer.example",)
    assert len(mailbox.delivered) == 1


def test_an_old_draft_is_touched_before_it_is_sent_so_that_its_age_tells_of_this_attempt(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    handle = open_sender().prepare(letter())
    mailbox.messages[handle].modified_at -= timedelta(hours=5)
    graph_server.on(r"POST .*/send$", CUT)
    sender = open_sender()

    with pytest.raises(OutcomeUnknown):
        sender.send(letter(), handle)

    assert sender.find_sent(letter().message_id, handle) is CANNOT_TELL


def test_a_draft_that_somebody_threw_away_is_made_anew(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    handle = open_sender().prepare(letter())
    mailbox.remove(mailbox.messages[handle])

    open_sender().send(letter(), handle)

    assert len(mailbox.delivered) == 1


def test_throttling_sends_once(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(r"POST", refusal(429, "TooManyRequests", retry_after="0.1"), times=3)

    send(open_sender(), letter())

    assert len(mailbox.delivered) == 1
    assert graph_server.early == []


def test_a_gateway_that_gives_up_after_taking_it_is_not_asked_again(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(r"POST .*/send$", refusal(504, "UnknownError"), after=True)
    sender = open_sender()
    handle = sender.prepare(letter())

    with pytest.raises(OutcomeUnknown):
        sender.send(letter(), handle)

    assert len(mailbox.delivered) == 1
    assert isinstance(sender.find_sent(letter().message_id, handle), Sent)


# ---------------------------------------------------------------------------- the doctor


@pytest.mark.parametrize(
    ("taken", "failing"), [((), None), (("send",), "send"), (("write",), "write")]
)
def test_the_doctor_says_what_the_application_may_not(
    open_sender: OpenSender, mailbox: GraphMailbox, taken: tuple[str, ...], failing: str | None
):
    mailbox.permissions -= set(taken)

    steps = {step.name: step for step in open_sender().check()}

    assert list(steps) == ["token", "mailbox", "write", "send"]
    assert [name for name, step in steps.items() if step.outcome == "fail"] == (
        [failing] if failing else []
    )
    assert not mailbox.messages
    assert not mailbox.delivered


def test_a_mailbox_that_is_left_as_it_is_needs_no_right_to_write(
    open_receiver: Any, mailbox: GraphMailbox
):
    mailbox.permissions = {"read"}

    [step] = [step for step in open_receiver().check() if step.outcome != "ok"]

    assert (step.name, step.outcome) == ("write", "warn")
    assert "leave" in step.next_step


def test_a_handle_of_another_transport_is_no_draft(
    open_sender: OpenSender, mailbox: GraphMailbox, letter: Letter
):
    open_sender().send(letter(), "of-ews")

    assert len(mailbox.delivered) == 1


def test_a_server_without_a_search_still_sends(
    open_sender: OpenSender, mailbox: GraphMailbox, graph_server: GraphServer, letter: Letter
):
    graph_server.on(r"GET .*/messages$", refusal(400, "BadRequest"), times=ALWAYS)

    send(open_sender(), letter())

    assert len(mailbox.delivered) == 1


def test_the_doctor_tells_the_reasons_apart(
    open_receiver: Any, mailbox: GraphMailbox, graph_server: GraphServer
):
    assert all(step.outcome == "ok" for step in open_receiver().check())
    hints = []
    for status, code in (
        (403, "ErrorAccessDenied"),
        (403, "Authorization_RequestDenied"),
        (404, "MailboxNotEnabledForRESTAPI"),
        (404, "ErrorInvalidUser"),
    ):
        graph_server.on("mailFolders", refusal(status, code))
        steps = {step.name: step for step in open_receiver().check()}
        assert steps["mailbox"].outcome == "fail"
        assert steps["read"].outcome == "skip"
        hints.append(steps["mailbox"].next_step)
    assert len(set(hints)) == 4
    [step] = [s for s in open_receiver(folders=["Nowhere"]).check() if s.outcome == "fail"]
    assert step.name == "folder"
