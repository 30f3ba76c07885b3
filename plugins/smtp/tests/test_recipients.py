"""Each recipient has its own fate."""

from __future__ import annotations

import pytest
from postroom.api import AuthError, OutcomeUnknown, RecipientProblem, Rejected, codes


def test_good_recipients_get_it_and_the_others_are_told_apart(smtp_server, open_sender, letter):
    smtp_server.refuse_recipient("gone@example.org", "550 5.1.1 <gone@example.org>: unknown user")
    smtp_server.defer_recipient("grey@example.org", "450 4.2.0 greylisted")

    result = open_sender(smtp_server).send(
        letter("gone@example.org", "a@example.org", "grey@example.org", "b@example.org"), None
    )

    assert result.accepted == ("a@example.org", "b@example.org")
    assert result.refused == (
        RecipientProblem(
            "gone@example.org",
            "RECIPIENT-REFUSED",
            "550 5.1.1 <gone@example.org>: unknown user",
        ),
    )
    assert result.deferred == (
        RecipientProblem("grey@example.org", "SERVER-BUSY", "450 4.2.0 greylisted"),
    )
    assert smtp_server.received[0].recipients == ("a@example.org", "b@example.org")


def test_refusal_of_all_is_a_rejection_with_each_ones_words(smtp_server, open_sender, letter):
    smtp_server.refuse_recipient("x@example.org", "550 5.1.1 unknown")
    smtp_server.refuse_recipient("y@example.org", "551 5.7.1 not here")

    with pytest.raises(Rejected, match=r"x@example.org \(and 1 more\): 550 5.1.1") as caught:
        open_sender(smtp_server).send(letter("x@example.org", "y@example.org"), None)

    assert caught.value.code is codes.RECIPIENT_REFUSED
    assert caught.value.recipients == {
        "x@example.org": "550 5.1.1 unknown",
        "y@example.org": "551 5.7.1 not here",
    }
    assert "DATA" not in smtp_server.commands


def test_all_deferred_is_a_result_and_sends_nothing(smtp_server, open_sender, letter):
    smtp_server.defer_recipient("a@example.org")

    result = open_sender(smtp_server).send(letter("a@example.org"), None)

    assert not result.accepted
    assert [problem.address for problem in result.deferred] == ["a@example.org"]
    assert not smtp_server.received


def test_recipient_named_twice_is_asked_for_once(smtp_server, open_sender, letter):
    open_sender(smtp_server).send(letter("a@example.org", "a@example.org"), None)

    assert smtp_server.received[0].recipients == ("a@example.org",)


def test_message_without_recipients_is_rejected(smtp_server, open_sender, letter):
    from dataclasses import replace

    with pytest.raises(Rejected, match="no recipient"):
        open_sender(smtp_server).send(replace(letter(), recipients=()), None)


@pytest.mark.parametrize(
    "address",
    [
        "a@example.org\r\nDATA",
        "a@example.org\nRCPT TO:<b@example.org>",
        "a@example.org> ORCPT=rfc822;x",
        "<a@example.org",
        "a b@example.org",
        "a\0@example.org",
        "a@example.org\u2028",
        "a\udc80@example.org",
        "a",
        "@example.org",
        "a@",
        "",
        "a@" + "x" * 300,
        '"a\r\nDATA"@example.org',
        '"a\\\n"@example.org',
        '"a\0"@example.org',
        '"a\u2028"@example.org',
        '"a> b@example.org',
        '"a\\" b"@example.org"@example.org',
        '"a" > b"@example.org',
        '"a b\\"@example.org',
        '"a"@"b c".example.org',
        'x"a b"@example.org',
    ],
    ids=ascii,
)
def test_address_that_could_end_the_command_never_reaches_the_wire(
    smtp_server, open_sender, letter, address
):
    result = open_sender(smtp_server).send(letter(address, "good@example.org"), None)

    assert result.accepted == ("good@example.org",)
    assert [problem.address for problem in result.refused] == [address]
    assert [c for c in smtp_server.commands if c.startswith("RCPT")] == [
        "RCPT TO:<good@example.org>"
    ]


QUOTED = [
    '"quoted local"@x.example',
    '"john..doe"@x.example',
    '"a@b"@x.example',
    '"a>b <c"@x.example',
    '"a\\"b\\\\ c"@x.example',
    '"> RCPT TO:<b@x.example"@x.example',
]
"""Legal by RFC 5321 section 4.1.2."""


@pytest.mark.parametrize("address", QUOTED)
def test_quoted_local_part_is_sent_as_it_is(start_scripted, open_sender, letter, address):
    from postroom_test_servers.scripted import Expect, ReadUntil, Say

    server = start_scripted(
        [
            Say("220 x"),
            Expect("EHLO"),
            Say("250 x"),
            Expect(f"MAIL FROM:<{address}>\r\n"),
            Say("250 x"),
            Expect(f"RCPT TO:<{address}>\r\n"),
            Say("250 x"),
            Expect("DATA"),
            Say("354 x"),
            ReadUntil(b"\r\n.\r\n"),
            Say("250 x"),
            Expect("QUIT"),
        ]
    )
    sender = open_sender(server)

    result = sender.send(letter(address, sender=address), None)
    sender.close()

    assert result.accepted == (address,)
    server.finish()


def test_real_server_takes_a_quoted_local_part(smtp_server, open_sender, letter):
    open_sender(smtp_server).send(letter('"quoted local"@x.example', "a@example.org"), None)

    [message] = smtp_server.received
    assert message.recipients == ('"quoted local"@x.example', "a@example.org")


def test_what_we_cannot_send_to_is_not_put_down_to_the_server(smtp_server, open_sender, letter):
    with pytest.raises(Rejected) as caught:
        open_sender(smtp_server).send(letter("a b@x.example"), None)

    assert caught.value.sentence == (
        "Not sent to a b@x.example: The address holds a space, an angle bracket or a control "
        "character."
    )


def test_hostile_addresses_alone_open_no_connection(smtp_server, open_sender, letter):
    with pytest.raises(Rejected) as caught:
        open_sender(smtp_server).send(letter("a@example.org\r\nDATA"), None)

    assert smtp_server.connections == 0
    assert not {"\r", "\n"} & set(str(caught.value))


def test_hostile_sender_is_rejected_before_a_connection(smtp_server, open_sender, letter):
    with pytest.raises(Rejected) as caught:
        open_sender(smtp_server).send(letter(sender="a@b> SIZE=1\r\nRSET"), None)

    assert caught.value.code is codes.SENDER_REFUSED
    assert smtp_server.connections == 0


class TestTooMany:
    """Servers that take only some recipients at a time, RFC 5321 section 4.5.3.1.10."""

    ALL = tuple(f"r{number}@example.org" for number in range(7))

    @pytest.fixture(params=["452 4.5.3 too many recipients", "552 5.5.3 too many", "452 Too many"])
    def limited(self, request, start_smtp):
        """A server that takes three."""
        return start_smtp(max_recipients=3, too_many=request.param)

    def test_the_rest_is_sent_at_once(self, limited, open_sender, letter):
        result = open_sender(limited).send(letter(*self.ALL), None)

        assert result.accepted == self.ALL
        assert not result.deferred
        assert [m.recipients for m in limited.received] == [
            self.ALL[:3],
            self.ALL[3:6],
            self.ALL[6:],
        ]

    def test_trouble_with_the_rest_leaves_the_first_accepted(self, limited, open_sender, letter):
        limited.answer("END", "451 4.3.0 queue full", times=None, skip=1)

        result = open_sender(limited).send(letter(*self.ALL), None)

        assert result.accepted == self.ALL[:3]
        assert {problem.address for problem in result.deferred} == set(self.ALL[3:])

    def test_cut_in_the_rest_leaves_the_first_accepted(self, limited, open_sender, letter):
        limited.cut("MAIL", skip=1)

        result = open_sender(limited).send(letter(*self.ALL), None)

        assert result.accepted == self.ALL[:3]
        assert {problem.address for problem in result.deferred} == set(self.ALL[3:])
        assert {problem.code for problem in result.deferred} == {"CONNECTION-LOST"}

    def test_unknown_outcome_of_the_rest_says_who_has_it(self, limited, open_sender, letter):
        limited.cut("END", accept=True, skip=1)

        with pytest.raises(OutcomeUnknown, match=r"Accepted before for r0@example.org, r1"):
            open_sender(limited).send(letter(*self.ALL), None)


def test_full_mailbox_is_not_too_many(smtp_server, open_sender, letter):
    smtp_server.refuse_recipient("b@example.org", "552 5.2.2 mailbox full")

    result = open_sender(smtp_server).send(letter("a@example.org", "b@example.org"), None)

    assert [problem.address for problem in result.refused] == ["b@example.org"]


def test_too_many_at_the_first_recipient_is_deferred(smtp_server, open_sender, letter):
    smtp_server.defer_recipient("a@example.org", "452 4.5.3 too many", times=None)

    result = open_sender(smtp_server).send(letter("a@example.org"), None)

    assert [problem.reply for problem in result.deferred] == ["452 4.5.3 too many"]
    assert sum(c.startswith("RCPT") for c in smtp_server.commands) == 1


def test_log_in_wanted_at_a_recipient_is_about_us(smtp_server, open_sender, letter):
    smtp_server.refuse_recipient("a@example.org", "530 5.7.0 authenticate first")

    with pytest.raises(AuthError):
        open_sender(smtp_server).send(letter("a@example.org"), None)
