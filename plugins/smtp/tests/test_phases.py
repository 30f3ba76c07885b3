"""What an answer or a break means depends on when it comes (RFC 1047, RFC 5321 section 4.2.5)."""

from __future__ import annotations

import contextlib
import socket
import sys
import time

import pytest
from postroom.api import (
    AuthError,
    OutcomeUnknown,
    Rejected,
    SettingsError,
    TransientError,
    codes,
)
from postroom_test_servers.scripted import Expect, ReadUntil, Reset, Say, Stall

BEFORE_THE_DOT = ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "BODY"]
LARGE = b"A: b\r\n\r\n" + b"x" * 70 + b"\r\n" + b"y\r\n" * 1_000_000
ACCEPTING = [
    Say("220 x"),
    Expect("EHLO"),
    Say("250 x"),
    Expect("MAIL"),
    Say("250 x"),
    Expect("RCPT"),
    Say("250 x"),
    Expect("DATA"),
    Say("354 x"),
]


class TestBeforeTheFinalDot:
    @pytest.mark.parametrize("stage", BEFORE_THE_DOT)
    def test_lost_connection_is_transient(self, smtp_server, open_sender, letter, stage):
        smtp_server.cut(stage)

        with pytest.raises(TransientError) as caught:
            open_sender(smtp_server).send(letter(raw=LARGE), None)

        assert caught.value.code is codes.CONNECTION_LOST
        assert caught.value.__cause__ is not None
        assert not smtp_server.received

    @pytest.mark.parametrize("stage", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
    def test_silence_is_transient(self, smtp_server, open_sender, letter, stage):
        smtp_server.stall(stage)

        with pytest.raises(TransientError) as caught:
            open_sender(smtp_server, timeout_seconds=0.2).send(letter(), None)

        assert caught.value.code is codes.TIMEOUT

    @pytest.mark.parametrize("stage", BEFORE_THE_DOT[:-1])
    def test_421_is_transient(self, smtp_server, open_sender, letter, stage):
        smtp_server.answer(stage, "421 4.3.2 shutting down")

        with pytest.raises(TransientError, match=r"421 4.3.2 shutting down") as caught:
            open_sender(smtp_server).send(letter(raw=LARGE), None)

        assert caught.value.code is codes.SERVER_BUSY
        assert not smtp_server.received

    def test_421_in_the_middle_of_the_message_is_transient(self, smtp_server, open_sender, letter):
        smtp_server.answer("BODY", "421 4.3.2 shutting down")

        with pytest.raises(TransientError):  # the words may be lost with the connection
            open_sender(smtp_server).send(letter(raw=LARGE), None)

        assert not smtp_server.received

    def test_sender_put_off_is_transient(self, smtp_server, open_sender, letter):
        smtp_server.answer("MAIL", "451 4.7.1 later")

        with pytest.raises(TransientError, match=r"451 4.7.1 later"):
            open_sender(smtp_server).send(letter(), None)

    def test_data_put_off_defers_all(self, smtp_server, open_sender, letter):
        smtp_server.answer("DATA", "451 4.3.0 later")

        result = open_sender(smtp_server).send(letter("a@example.org", "b@example.org"), None)

        assert [p.address for p in result.deferred] == ["a@example.org", "b@example.org"]

    def test_data_refused_is_a_rejection(self, smtp_server, open_sender, letter):
        smtp_server.answer("DATA", "554 5.5.1 no valid recipients")

        with pytest.raises(Rejected) as caught:
            open_sender(smtp_server).send(letter(), None)

        assert caught.value.code is codes.MESSAGE_REFUSED

    def test_sender_refused_is_a_rejection(self, smtp_server, open_sender, letter):
        smtp_server.answer("MAIL", "550 5.7.60 SMTP; Client does not have permissions")

        with pytest.raises(Rejected, match=r"5.7.60") as caught:
            open_sender(smtp_server).send(letter("a@example.org"), None)

        assert caught.value.code is codes.SENDER_REFUSED
        assert "a@example.org" in caught.value.recipients

    def test_refusal_in_the_middle_of_the_message_is_a_rejection(
        self, start_scripted, open_sender, letter
    ):
        server = start_scripted([*ACCEPTING, Say("552 5.3.4 too much"), ReadUntil(b"\r\n.\r\n")])

        with pytest.raises(Rejected, match=r"5.3.4"):
            open_sender(server).send(letter(raw=LARGE), None)

    @pytest.mark.parametrize("early", ["250 2.0.0 already yours", "354 still"])
    def test_success_before_the_end_is_not_believed(
        self, start_scripted, open_sender, letter, early
    ):
        server = start_scripted([*ACCEPTING[:-1], Say("354 x", early), ReadUntil(b"\r\n.\r\n")])

        with pytest.raises(TransientError) as caught:
            open_sender(server).send(letter(), None)

        assert caught.value.code is codes.PROTOCOL
        assert b"\r\n.\r\n" not in server.heard[0]

    def test_answers_ahead_of_their_questions_are_not_believed(
        self, start_scripted, open_sender, letter
    ):
        server = start_scripted(
            [
                Say("220 x"),
                Expect("EHLO"),
                Say("250 x", "250 x", "250 x", "354 x", "250 x"),
                Stall(),
            ]
        )

        with pytest.raises(TransientError, match="more than was asked"):
            open_sender(server).send(letter(), None)

    def test_interrupted_session_is_transient(self, smtp_server, open_sender, letter):
        sender = open_sender(smtp_server)
        sender.interrupt()
        sender.interrupt()

        with pytest.raises(TransientError, match="interrupted"):
            sender.send(letter(), None)

    @pytest.mark.parametrize("stage", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
    def test_interrupt_ends_a_waiting_command_at_once(
        self, smtp_server, open_sender, letter, stage, soon
    ):
        smtp_server.stall(stage)
        sender = open_sender(smtp_server, timeout_seconds=60)
        soon(sender.interrupt)

        with pytest.raises(TransientError, match="interrupted"):
            sender.send(letter(), None)


class TestAfterTheFinalDot:
    @pytest.mark.parametrize("accept", [True, False], ids=["taken", "not taken"])
    def test_lost_connection_is_unknown(self, smtp_server, open_sender, letter, accept):
        smtp_server.cut("END", accept=accept)

        with pytest.raises(
            OutcomeUnknown, match="may have accepted the message for jane"
        ) as caught:
            open_sender(smtp_server).send(letter(), None)

        assert isinstance(caught.value.__cause__, TransientError)

    @pytest.mark.parametrize("accept", [True, False], ids=["taken", "not taken"])
    def test_silence_is_unknown(self, smtp_server, open_sender, letter, accept):
        smtp_server.stall("END", accept=accept)

        with pytest.raises(OutcomeUnknown):
            open_sender(smtp_server, data_timeout_seconds=0.2).send(letter(), None)

    def test_verdict_has_a_time_limit_of_its_own(self, start_scripted, open_sender, letter):
        server = start_scripted([*ACCEPTING, ReadUntil(b"\r\n.\r\n"), Stall()])

        with pytest.raises(OutcomeUnknown):
            open_sender(server, timeout_seconds=30, data_timeout_seconds=0.1).send(letter(), None)

    @pytest.mark.parametrize(
        "reply", [b"250 2.0.0 Ok: queued\r\n", b"250-a\r\n250 b\r\n"], ids=repr
    )
    def test_answer_that_is_cut_anywhere_is_unknown(
        self, start_scripted, open_sender, letter, reply
    ):
        scripts = [
            [*ACCEPTING, ReadUntil(b"\r\n.\r\n"), Say(raw=reply[:length]), *end]
            for length in range(len(reply))
            for end in ([], [Reset()])
        ]
        server = start_scripted(*scripts)

        for _ in scripts:
            with pytest.raises(OutcomeUnknown):
                open_sender(server).send(letter(), None)

        server.finish()

    @pytest.mark.parametrize(
        "reply",
        [b"HTTP/1.1 200 OK\r\n", b"25\r\n", b"\0\xff\r\n", b"250-a\r\n550 b\r\n", b"354 x\r\n"],
    )
    def test_answer_that_is_none_is_unknown(self, start_scripted, open_sender, letter, reply):
        server = start_scripted([*ACCEPTING, ReadUntil(b"\r\n.\r\n"), Say(raw=reply)])

        with pytest.raises(OutcomeUnknown):
            open_sender(server).send(letter(), None)

    def test_endless_answer_is_unknown(self, start_scripted, open_sender, letter):
        flood = b"250-" + b"x" * 100_000
        server = start_scripted([*ACCEPTING, ReadUntil(b"\r\n.\r\n"), Say(raw=flood), Stall()])

        with pytest.raises(OutcomeUnknown):
            open_sender(server).send(letter(), None)

    def test_interrupt_is_unknown(self, smtp_server, open_sender, letter, soon):
        smtp_server.stall("END", accept=True)
        sender = open_sender(smtp_server)
        soon(sender.interrupt, after=lambda: bool(smtp_server.received))

        with pytest.raises(OutcomeUnknown, match="interrupted"):
            sender.send(letter(), None)

    def test_refusal_is_a_rejection(self, smtp_server, open_sender, letter):
        smtp_server.answer("END", "554 5.7.1 looks like spam")

        with pytest.raises(Rejected, match="looks like spam") as caught:
            open_sender(smtp_server).send(letter("a@example.org", "b@example.org"), None)

        assert caught.value.code is codes.MESSAGE_REFUSED
        assert caught.value.recipients.keys() == {"a@example.org", "b@example.org"}

    def test_refusal_leaves_a_deferred_recipient_its_chance(self, smtp_server, open_sender, letter):
        smtp_server.defer_recipient("grey@example.org")
        smtp_server.answer("END", "554 5.7.1 no")

        result = open_sender(smtp_server).send(letter("a@example.org", "grey@example.org"), None)

        assert [p.address for p in result.refused] == ["a@example.org"]
        assert [p.address for p in result.deferred] == ["grey@example.org"]

    @pytest.mark.parametrize("reply", ["451 4.3.0 queue full", "421 4.3.2 shutting down"])
    def test_later_defers_those_who_were_taken(self, smtp_server, open_sender, letter, reply):
        smtp_server.refuse_recipient("gone@example.org")
        smtp_server.answer("END", reply)
        sender = open_sender(smtp_server)

        result = sender.send(letter("a@example.org", "gone@example.org"), None)
        again = sender.send(letter("a@example.org"), None)

        assert [(p.address, p.reply) for p in result.deferred] == [("a@example.org", reply)]
        assert [p.address for p in result.refused] == ["gone@example.org"]
        assert again.accepted == ("a@example.org",)
        assert len(smtp_server.received) == 1

    def test_nothing_is_tried_again_on_an_unknown_outcome(self, smtp_server, open_sender, letter):
        smtp_server.cut("END", accept=True)

        with pytest.raises(OutcomeUnknown):
            open_sender(smtp_server).send(letter(), None)

        assert len(smtp_server.received) == smtp_server.connections == 1


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
def test_cut_after_any_byte_is_told_truly(
    smtp_server, open_sender, letter, start_cutter, direction
):
    """No copy is lost or doubled, wherever the network fails (reliability row 3)."""
    outgoing = letter("a@example.org", "b@example.org", raw=b"S: x\r\n\r\n.dot\r\n")
    byte, verdicts = 0, set()
    while "sent" not in verdicts:
        smtp_server.clear()
        cutter = start_cutter(smtp_server, direction, byte)
        sender = open_sender(cutter, timeout_seconds=5)
        try:
            sender.send(outgoing, None)
            verdict = "sent"
        except TransientError:
            verdict = "not sent"
        except OutcomeUnknown:
            verdict = "unknown"
        sender.close()
        cutter.finish()
        expected = {"sent": {1}, "not sent": {0}, "unknown": {0, 1}}[verdict]
        assert len(smtp_server.received) in expected, (byte, verdict)
        verdicts.add(verdict)
        byte += 1
    assert verdicts == {"sent", "not sent", "unknown"}
    assert byte > 120


class TestBeforeAnyMessage:
    """A server that does not want us says nothing about the message: it stays queued."""

    @pytest.mark.parametrize("stage", ["GREETING", "EHLO"])
    def test_refusal_is_a_matter_of_settings(self, smtp_server, open_sender, letter, stage):
        smtp_server.answer(stage, "554 5.7.1 your address is listed")

        with pytest.raises(SettingsError, match="your address is listed") as caught:
            open_sender(smtp_server).send(letter(), None)

        assert str(caught.value.code) == "SMTP-CLIENT-REFUSED"

    def test_busy_server_is_transient(self, smtp_server, open_sender, letter):
        smtp_server.answer("GREETING", "450 4.3.2 too many connections")

        with pytest.raises(TransientError):
            open_sender(smtp_server).send(letter(), None)

    @pytest.mark.parametrize(
        "greeting", ["* OK IMAP4rev1", "+OK POP3", "SSH-2.0-x", "HTTP/1.1 400"]
    )
    def test_server_of_another_protocol_is_named_as_such(
        self, start_scripted, open_sender, letter, greeting
    ):
        server = start_scripted([Say(greeting)])

        with pytest.raises(TransientError, match="did not speak SMTP, at the greeting") as caught:
            open_sender(server).send(letter(), None)

        assert caught.value.code is codes.PROTOCOL

    def test_port_without_a_server_is_named(self, free_port, open_sender, letter):
        sender = open_sender(None, host="127.0.0.1", port=free_port, security="none")

        with pytest.raises(TransientError, match=f"127.0.0.1:{free_port}") as caught:
            sender.send(letter(), None)

        assert caught.value.code is codes.PORT_REFUSED
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    def test_unknown_host_is_named(self, open_sender, letter):
        sender = open_sender(None, host="nowhere.invalid", port=25, security="none")

        with pytest.raises(TransientError, match=r"nowhere.invalid") as caught:
            sender.send(letter(), None)

        assert caught.value.code is codes.HOST_UNKNOWN

    @pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example.org"], ids=ascii)
    def test_impossible_host_is_a_matter_of_settings(self, open_sender, letter, host):
        sender = open_sender(None, host=host, port=25, security="none")

        with pytest.raises(SettingsError) as caught:
            sender.send(letter(), None)

        assert caught.value.problems[0].field == "host"

    def test_log_in_wanted_is_about_us(self, start_smtp, open_sender, letter):
        server = start_smtp(users={"info": "x"})

        with pytest.raises(AuthError, match=r"530 5.7.0"):
            open_sender(server).send(letter(), None)

    def test_server_that_lost_the_thread_is_transient(self, smtp_server, open_sender, letter):
        smtp_server.answer("MAIL", "503 5.5.1 bad sequence")

        with pytest.raises(TransientError) as caught:
            open_sender(smtp_server).send(letter(), None)

        assert caught.value.code is codes.PROTOCOL


@pytest.mark.skipif(sys.platform != "linux", reason="how a full backlog behaves differs")
def test_interrupt_ends_a_waiting_connect_at_once(open_sender, letter, soon):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(3):  # fill the backlog: the next handshake gets no answer
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        sender = open_sender(None, host="127.0.0.1", port=port, timeout_seconds=60)
        began = time.monotonic()
        soon(sender.interrupt)

        with pytest.raises(TransientError, match="interrupted"):
            sender.send(letter(), None)

        assert time.monotonic() - began < 10
