"""Addresses that only SMTPUTF8 can carry, over a server without it."""

from __future__ import annotations

import pytest
from postroom.api import Rejected, codes
from postroom_smtp.head import without_international_recipients

BODY = b"\r\n\r\nHello\r\n"


@pytest.fixture
def ascii_server(start_smtp):
    """A server without SMTPUTF8, nor 8BITMIME: whatever comes in is 7-bit."""
    return start_smtp(without=["SMTPUTF8", "8BITMIME"])


def trimmed(head: str) -> str:
    return without_international_recipients(head.encode() + BODY).removesuffix(BODY).decode()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            "To: Ann <ann@a.example>, Jürgen <jürgen@x.example>, bob@b.example",
            "To: Ann <ann@a.example>,\r\n bob@b.example",
        ),
        (
            "To: ann@a.example\r\nCc: jürgen@x.example\r\nSubject: x",
            "To: ann@a.example\r\nSubject: x",
        ),
        (
            'CC: "Reed, \\"Ann\\"" <ann@a.example>,\r\n =?utf-8?B?SsO8?=\r\n <jü@x.example>',
            'CC: "Reed, \\"Ann\\"" <ann@a.example>',
        ),
        (
            'To: "a,<b"@c.example, "ü,@"@x.example, "d e>" <"f>,g"@h.example>',
            'To: "a,<b"@c.example,\r\n "d e>" <"f>,g"@h.example>',
        ),
        ("To: jü@x.example,\r\n jö@x.example\r\nSubject: x", "Subject: x"),
        ("To: ann@a.example (Reed, Ann),\r\n\tjö@x.example", "To: ann@a.example (Reed, Ann)"),
    ],
    ids=["middle", "alone in Cc", "folded", "quoted", "nobody left", "comment"],
)
def test_to_and_cc_lose_what_is_not_ascii_and_nothing_else(head, expected):
    assert trimmed(head) == expected


@pytest.mark.parametrize(
    "head",
    [
        "To: ann@a.example,bob@b.example\r\nCc:  c@d.example",
        "To: Jürgen <juergen@x.example>",
        "From: jürgen@x.example\r\nTo: ann@a.example",
        "Reply-To: jürgen@x.example\r\nX-To: jürgen@x.example",
        "Subject: To: jürgen@x.example,\r\n to: jörg@x.example",
    ],
    ids=["ASCII", "a name", "From", "other fields", "Subject"],
)
def test_everything_else_stays_byte_for_byte(head):
    assert trimmed(head) == head


def test_a_body_that_looks_like_a_header_stays():
    raw = "To: ann@a.example\r\n\r\nCc: jürgen@x.example\r\n".encode()

    assert without_international_recipients(raw) == raw


def test_a_header_without_a_body_keeps_its_last_line_end():
    raw = "To: ann@a.example, jürgen@x.example\r\n".encode()

    assert without_international_recipients(raw) == b"To: ann@a.example\r\n"


def test_many_recipients_take_linear_time():
    many = ", ".join(f"ü{number}@x.example" for number in range(50_000))

    assert trimmed(f"Subject: x\r\nCc: {many}") == "Subject: x"


def test_the_others_get_the_message_once_without_the_one_that_was_refused(
    ascii_server, open_sender, letter
):
    raw = "To: ann@a.example\r\nCc: jürgen@x.example, bob@b.example\r\n\r\nHello\r\n".encode()

    result = open_sender(ascii_server).send(
        letter("ann@a.example", "jürgen@x.example", "bob@b.example", raw=raw), None
    )

    [message] = ascii_server.received
    assert message.recipients == result.accepted == ("ann@a.example", "bob@b.example")
    assert message.raw == b"To: ann@a.example\r\nCc: bob@b.example\r\n\r\nHello\r\n"
    assert not any("SMTPUTF8" in command for command in ascii_server.commands)
    [problem] = result.refused
    assert (problem.address, problem.code) == ("jürgen@x.example", "RECIPIENT-UNSUPPORTED")
    assert "not shown in To and Cc" in problem.reply


def test_the_size_that_is_announced_is_of_what_is_sent(ascii_server, open_sender, letter):
    raw = "To: ann@a.example, jürgen@x.example\r\n\r\nHello\r\n".encode()

    open_sender(ascii_server).send(letter("ann@a.example", raw=raw), None)

    [message] = ascii_server.received
    assert message.options == (f"SIZE={len(message.raw)}",)


def test_a_server_with_smtputf8_gets_every_byte(smtp_server, open_sender, letter):
    raw = "To: ann@a.example, jürgen@x.example\r\n\r\nHello\r\n".encode()

    open_sender(smtp_server).send(letter("ann@a.example", "jürgen@x.example", raw=raw), None)

    assert smtp_server.received[0].raw == raw
    assert "SMTPUTF8" in smtp_server.received[0].options


def test_a_refusal_of_all_blames_what_the_server_lacks(ascii_server, open_sender, letter):
    raw = "To: jürgen@x.example\r\n\r\nHello\r\n".encode()

    with pytest.raises(Rejected, match=r"^Not sent to .*no SMTPUTF8\)\.$") as caught:
        open_sender(ascii_server).send(letter("jürgen@x.example", raw=raw), None)

    assert caught.value.code is codes.RECIPIENT_UNSUPPORTED
    assert "MAIL" not in str(ascii_server.commands)


def test_the_server_s_own_refusals_are_told_apart(ascii_server, open_sender, letter):
    ascii_server.refuse_recipient("gone@a.example")

    with pytest.raises(Rejected) as caught:
        open_sender(ascii_server).send(letter("jürgen@x.example", "gone@a.example"), None)

    assert caught.value.code is codes.RECIPIENT_REFUSED
    assert caught.value.recipients["gone@a.example"] == "550 5.1.1 unknown user"


def test_a_deferred_neighbour_is_put_off_and_the_international_one_refused(
    ascii_server, open_sender, letter
):
    ascii_server.defer_recipient("ann@a.example")

    result = open_sender(ascii_server).send(letter("jürgen@x.example", "ann@a.example"), None)

    assert [problem.address for problem in result.refused] == ["jürgen@x.example"]
    assert [problem.address for problem in result.deferred] == ["ann@a.example"]


@pytest.mark.parametrize("field", ["From", "Reply-To"])
def test_our_own_international_address_is_no_recipient_to_leave_out(
    start_smtp, open_sender, letter, field
):
    server = start_smtp(without=["SMTPUTF8"])
    raw = f"{field}: jürgen@x.example\r\nTo: ann@a.example\r\n\r\nHello\r\n".encode()

    with pytest.raises(Rejected, match="8-bit headers"):
        open_sender(server).send(letter("ann@a.example", raw=raw), None)


def test_international_sender_is_told_what_to_change(start_smtp, open_sender, letter):
    server = start_smtp(without=["SMTPUTF8"])
    raw = "From: jürgen@x.example\r\nTo: ann@a.example\r\n\r\nHello\r\n".encode()

    with pytest.raises(Rejected) as caught:
        open_sender(server).send(letter("ann@a.example", sender="jürgen@x.example", raw=raw), None)

    assert caught.value.code is codes.SENDER_REFUSED
    assert "send_as" in caught.value.next_step
