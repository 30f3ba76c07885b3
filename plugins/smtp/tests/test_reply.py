"""A server's words are not trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postroom.api import Outgoing
from postroom_smtp.letter import Letter
from postroom_smtp.reply import MAX_WORDS, MalformedReply, is_last_line, parsed


def words(*lines: bytes) -> str:
    return parsed(lines).words


def test_words_are_one_line_with_the_codes_once():
    reply = parsed([b"550-5.1.1 The account does not exist.", b"550 5.1.1 Check the address."])

    assert reply.words == "550 5.1.1 The account does not exist. Check the address."
    assert (reply.code, reply.enhanced) == (550, "5.1.1")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"250 ok", "250 ok"),
        (b"250", "250"),
        (b"550 5.1.1", "550 5.1.1"),
        (b"550 5.1.1.1 x", "550 5.1.1.1 x"),
        (b"550 \x1b[31mred\x07\x00", "550 [31mred"),
        ("550 \u202egnp.exe\u2028x".encode(), "550 gnp.exe x"),
        (b"550 \xff\xfe", "550 \ufffd\ufffd"),
    ],
    ids=ascii,
)
def test_words_are_cleaned(line, expected):
    assert words(line) == expected


def test_words_are_bounded():
    assert len(words(b"550 " + b"x" * 5000)) == MAX_WORDS


@pytest.mark.parametrize(
    "line", [b"", b"2", b"25x hello", b"199 no", b"650 no", b"250ok", b"250_x"]
)
def test_line_of_something_else_is_malformed(line):
    with pytest.raises(MalformedReply):
        is_last_line(line)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_words_never_have_a_control_character_or_a_second_line(texts):
    lines = [b"550-" + text for text in texts]

    shown = words(*lines)

    assert shown.isprintable()
    assert len(shown.splitlines()) == 1


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\xc3"]), max_size=30))
def test_wire_has_only_crlf_and_one_final_dot(pieces):
    raw = b"".join(pieces)
    letter = Letter.of(Outgoing("1@x", "", ("a@b",), raw))

    wire = letter.stuffed()

    assert wire.count(b"\r\n") == wire.count(b"\r") == wire.count(b"\n")
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert not wire or wire.endswith(b"\r\n")
    unstuffed = [line.removeprefix(b".") for line in wire.split(b"\r\n")]
    assert b"\r\n".join(unstuffed) == letter.raw
    if raw.count(b"\r\n") == raw.count(b"\r") == raw.count(b"\n") and raw.endswith(b"\r\n"):
        assert letter.raw == raw
