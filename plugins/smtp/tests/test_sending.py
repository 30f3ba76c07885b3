"""The ordinary way of a message, against a real server."""

from __future__ import annotations

import pytest
from postroom.api import Rejected, SendResult, TransientError, codes


def test_message_arrives_with_its_envelope_and_its_very_bytes(smtp_server, open_sender, letter):
    raw = b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden\r\nend\r\n"

    result = open_sender(smtp_server).send(letter("a@example.org", raw=raw), None)

    assert result == SendResult(accepted=("a@example.org",), reply="250 2.0.0 OK: queued as 4711")
    [message] = smtp_server.wait_for(1)
    assert (message.sender, message.recipients) == ("support@example.org", ("a@example.org",))
    assert message.raw == raw


def test_automatic_mail_goes_out_with_the_null_path(smtp_server, open_sender, letter):
    open_sender(smtp_server).send(letter(sender=""), None)

    assert smtp_server.received[0].sender == ""


def test_one_connection_carries_several_messages(smtp_server, open_sender, letter):
    sender = open_sender(smtp_server)

    for _ in range(5):
        sender.send(letter(), None)

    assert len(smtp_server.received) == 5
    assert smtp_server.connections == 1


def test_connection_that_the_server_closed_while_idle_is_opened_again(
    smtp_server, open_sender, letter
):
    sender = open_sender(smtp_server)
    sender.send(letter(), None)
    smtp_server.drop_connections()

    sender.send(letter(), None)

    assert len(smtp_server.received) == 2
    assert smtp_server.connections == 2


def test_connection_serves_the_next_message_after_one_was_rejected(
    smtp_server, open_sender, letter
):
    sender = open_sender(smtp_server)
    smtp_server.answer("MAIL", "550 5.7.60 SendAsDenied")
    smtp_server.refuse_recipient("gone@example.org")

    for recipient in ("a@example.org", "gone@example.org"):
        with pytest.raises(Rejected):
            sender.send(letter(recipient), None)
    sender.send(letter(), None)

    assert len(smtp_server.received) == 1
    assert smtp_server.connections == 1


def test_transient_trouble_leaves_a_sender_that_still_works(smtp_server, open_sender, letter):
    sender = open_sender(smtp_server)
    smtp_server.cut("MAIL")

    with pytest.raises(TransientError):
        sender.send(letter(), None)
    sender.send(letter(), None)

    assert len(smtp_server.received) == 1


def test_large_message_arrives_whole(smtp_server, open_sender, letter):
    raw = b"Subject: large\r\n\r\n" + b"x" * 76 + b"\r\n"
    raw += b".23456789\r\n" * 300_000

    open_sender(smtp_server).send(letter(raw=raw), None)

    assert smtp_server.wait_for(1)[0].raw == raw


@pytest.mark.parametrize(
    "body",
    [
        b"a\n.\nQUIT\n",
        b"a\r\n.\rb",
        b"a\n.\r\nMAIL FROM:<x@y>\r\n",
        b"a\r.\rb\r\n.\n",
        b"\r\n.\r\n",
    ],
    ids=repr,
)
def test_smuggled_end_of_message_stays_content(smtp_server, open_sender, letter, body):
    sender = open_sender(smtp_server)

    sender.send(letter(raw=b"Subject: x\r\n\r\n" + body), None)
    sender.close()

    [message] = smtp_server.wait_for(1)
    assert message.raw.count(b"\n") == message.raw.count(b"\r") == message.raw.count(b"\r\n")
    assert [c.split()[0] for c in smtp_server.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_failing_good_bye_is_no_failure(start_scripted, open_sender, letter):
    from postroom_test_servers.scripted import Expect, ReadUntil, Reset, Say

    server = start_scripted(
        [
            Say("220 x"),
            Expect("EHLO"),
            Say("250 x"),
            Expect("MAIL"),
            Say("250 x"),
            Expect("RCPT"),
            Say("250 x"),
            Expect("DATA"),
            Say("354 x"),
            ReadUntil(b"\r\n.\r\n"),
            Say("250 2.6.0 taken"),
            Expect("QUIT"),
            Reset(),
        ]
    )
    sender = open_sender(server)

    assert sender.send(letter(), None).accepted == ("jane@example.org",)
    sender.close()
    sender.close()

    server.finish()


def test_server_that_knows_only_helo_is_served(start_scripted, open_sender, letter):
    from postroom_test_servers.scripted import Expect, ReadUntil, Say

    server = start_scripted(
        [
            Say("220 x"),
            Expect("EHLO"),
            Say("502 what"),
            Expect("HELO"),
            Say("250 x"),
            Expect("MAIL FROM:<support@example.org>\r\n"),
            Say("250 x"),
            Expect("RCPT"),
            Say("250 x"),
            Expect("DATA"),
            Say("354 x"),
            ReadUntil(b"\r\n.\r\n"),
            Say("250"),
            Expect("QUIT"),
        ]
    )

    sender = open_sender(server)
    assert sender.send(letter(), None).reply == "250"
    sender.close()
    server.finish()


class TestWhatTheServerOffers:
    def test_size_is_announced(self, smtp_server, open_sender, letter):
        open_sender(smtp_server).send(letter(raw=b"A: b\r\n\r\n.c\r\n"), None)

        assert smtp_server.received[0].options == ("SIZE=12",)

    def test_message_above_the_servers_limit_is_refused_unsent(
        self, start_smtp, open_sender, letter
    ):
        server = start_smtp(size_limit=1000)

        with pytest.raises(Rejected, match=r"has 2\d\d\d bytes, .* takes 1000") as caught:
            open_sender(server).send(letter(raw=b"A: b\r\n\r\n" + b"x\r\n" * 800), None)

        assert caught.value.code is codes.MESSAGE_TOO_LARGE
        assert not any(command.startswith("MAIL") for command in server.commands)

    def test_size_without_a_number_is_no_limit(self, start_scripted, open_sender, letter):
        from postroom_test_servers.scripted import Expect, Say

        server = start_scripted(
            [
                Say("220 x"),
                Expect("EHLO"),
                Say("250-x", "250 SIZE 0"),
                Expect("MAIL FROM:<support@example.org> SIZE="),
                Say("552 5.3.4 too big all the same"),
                Expect("QUIT"),
            ]
        )
        sender = open_sender(server)

        with pytest.raises(Rejected) as caught:
            sender.send(letter(), None)
        sender.close()

        assert caught.value.code is codes.MESSAGE_TOO_LARGE
        server.finish()

    def test_eight_bit_text_is_declared(self, smtp_server, open_sender, letter):
        raw = "Subject: x\r\n\r\nGrüße\r\n".encode()

        open_sender(smtp_server).send(letter(raw=raw), None)

        [message] = smtp_server.wait_for(1)
        assert "BODY=8BITMIME" in message.options
        assert "SMTPUTF8" not in message.options
        assert message.raw == raw

    def test_eight_bit_text_is_refused_where_only_seven_are_taken(
        self, start_smtp, open_sender, letter
    ):
        server = start_smtp(without=["8BITMIME"])

        with pytest.raises(Rejected, match="7-bit only") as caught:
            open_sender(server).send(letter(raw="A: b\r\n\r\nü\r\n".encode()), None)

        assert caught.value.recipients.keys() == {"jane@example.org"}

    def test_international_address_asks_for_smtputf8(self, smtp_server, open_sender, letter):
        result = open_sender(smtp_server).send(letter("jörg@example.org"), None)

        assert result.accepted == ("jörg@example.org",)
        assert "SMTPUTF8" in smtp_server.received[0].options
        assert smtp_server.received[0].recipients == ("jörg@example.org",)

    def test_international_header_asks_for_smtputf8(self, smtp_server, open_sender, letter):
        open_sender(smtp_server).send(letter(raw="Subject: ü\r\n\r\nx\r\n".encode()), None)

        assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(smtp_server.received[0].options)

    def test_international_recipient_alone_is_refused_without_smtputf8(
        self, start_smtp, open_sender, letter
    ):
        server = start_smtp(without=["SMTPUTF8"])

        result = open_sender(server).send(letter("jörg@example.org", "a@example.org"), None)

        assert result.accepted == ("a@example.org",)
        [problem] = result.refused
        assert problem.address == "jörg@example.org"
        assert "international" in problem.reply
        assert problem.code == "RECIPIENT-UNSUPPORTED"

    def test_international_sender_is_refused_without_smtputf8(
        self, start_smtp, open_sender, letter
    ):
        server = start_smtp(without=["SMTPUTF8"])

        with pytest.raises(Rejected) as caught:
            open_sender(server).send(letter(sender="jörg@example.org"), None)

        assert caught.value.code is codes.SENDER_REFUSED

    def test_international_header_is_refused_without_smtputf8(
        self, start_smtp, open_sender, letter
    ):
        server = start_smtp(without=["SMTPUTF8"])

        with pytest.raises(Rejected, match="8-bit headers"):
            open_sender(server).send(letter(raw="Subject: ü\r\n\r\nx\r\n".encode()), None)

    def test_international_domain_is_sent_in_ascii(self, start_smtp, open_sender, letter):
        server = start_smtp(without=["SMTPUTF8"])

        result = open_sender(server).send(letter("a@bücher.example"), None)

        assert result.accepted == ("a@bücher.example",)
        assert server.received[0].recipients == ("a@xn--bcher-kva.example",)
