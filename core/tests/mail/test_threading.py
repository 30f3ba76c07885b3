"""What joins conversations cannot be guessed, and survives what gateways do to it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postroom.mail.message import ParsedMessage
from postroom.mail.threading import (
    MAX_LINKS,
    MAX_REFERENCES,
    check_tag,
    find_tags,
    id_key,
    linked_ids,
    make_tag,
    reply_references,
    reply_subject,
)

KEY = b"a key of this installation"


def message(
    message_id: str | None = "own@customer.example",
    in_reply_to: tuple[str, ...] = (),
    references: tuple[str, ...] = (),
    reported_ids: tuple[str, ...] = (),
) -> ParsedMessage:
    return ParsedMessage(
        from_=None,
        to=(),
        cc=(),
        reply_to=(),
        subject="",
        date=None,
        message_id=message_id,
        in_reply_to=in_reply_to,
        references=references,
        text="",
        reply_text="",
        html_original=None,
        is_automatic=False,
        is_bounce=False,
        may_auto_reply=True,
        reported_ids=reported_ids,
        return_path=None,
        received_at=None,
        headers=(),
        attachments=(),
        problems=(),
    )


@pytest.mark.parametrize(
    "subject",
    [
        "Re: Gears slip [{}]",
        "[{}] Gears slip",
        "AW: {} Gears",
        "my reference is {}, please look",
        "({})",
    ],
)
@given(number=st.integers(1, 10**12), key=st.binary(min_size=1, max_size=40))
def test_own_tag_is_found_wherever_it_stands(subject: str, number: int, key: bytes) -> None:
    tag = make_tag(number, key)

    for written in (tag, tag.upper(), tag.removeprefix("#")):
        [(found, check)] = find_tags(subject.format(written))
        assert (found, check_tag(found, check, key)) == (number, True)


def test_check_part_belongs_to_number_and_key() -> None:
    [(number, check)] = find_tags(make_tag(123, KEY))

    assert check_tag(number, check, KEY)
    assert not check_tag(124, check, KEY)
    assert not check_tag(number, check, b"another key")
    assert not check_tag(number, "", KEY)
    assert not check_tag(number, "ü" * 10, KEY)


@pytest.mark.parametrize("letters", ["iI", "lL", "oO"])
def test_letters_that_look_like_digits_are_read_as_such(letters: str) -> None:
    assert find_tags(f"#5-{letters[0] * 10}") == find_tags(f"#5-{letters[1] * 10}")
    assert find_tags(f"#5-{letters[0] * 10}")[0][1] in ("1" * 10, "0" * 10)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "#123",
        "[#123-]",
        "[#123-short]",
        "[#123-muchtoolongforit]",
        "x12-k7f3q2x9vd",
        "#-k7f3q2x9vd",
    ],
)
def test_what_is_no_tag_is_not_found(subject: str) -> None:
    assert find_tags(subject) == []


def test_many_tags_are_bounded_and_hostile_subjects_take_a_moment() -> None:
    started = time.perf_counter()

    assert len(find_tags(" ".join(make_tag(number, KEY) for number in range(1000)))) == 20
    for hostile in ("1" * 1_000_000, "#" * 1_000_000, "1-" * 500_000, "#1-aaaaaaaaaaa " * 60_000):
        assert find_tags(hostile) == []
        reply_subject(hostile, make_tag(1, KEY))
    reply_subject("Re: " * 250_000)

    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("Gears slip", "Re: Gears slip [#1-x]"),
        ("Re: Gears slip", "Re: Gears slip [#1-x]"),
        ("RE: AW: Re[3]: re : Gears", "Re: Gears [#1-x]"),
        ("Sv: Antw: Odp: Gears", "Re: Gears [#1-x]"),
        ("回复：齿轮", "Re: 齿轮 [#1-x]"),
        ("Fwd: Gears", "Re: Fwd: Gears [#1-x]"),
        ("Re: Gears [#1-X]", "Re: Gears [#1-X]"),
        ("Request: Gears", "Re: Request: Gears [#1-x]"),
        ("", "Re: [#1-x]"),
        ("two\r\nlines", "Re: two lines [#1-x]"),
    ],
)
def test_subject_of_an_answer_has_prefix_and_tag_once(subject: str, expected: str) -> None:
    assert reply_subject(subject, "#1-x") == expected
    assert reply_subject(expected, "#1-x") == expected


def test_subject_of_an_answer_is_bounded_and_keeps_the_tag() -> None:
    subject = reply_subject("long " * 10_000, "#1-x")

    assert len(subject) < 300
    assert subject.endswith("[#1-x]")


@pytest.mark.parametrize(
    "spelling",
    [
        "F1@CUSTOMER.EXAMPLE",
        "<f1@customer.example>",
        "f1@\r\n customer.example",
        " f1@customer.example",
    ],
)
def test_spellings_of_an_id_have_one_key(spelling: str) -> None:
    assert id_key(spelling) == id_key("f1@customer.example")


def test_key_of_an_endless_id_is_short_and_its_own() -> None:
    one, other = id_key("a" * 10_000 + "@b"), id_key("a" * 10_001 + "@b")

    assert len(one) <= 200
    assert one != other


def test_best_links_come_first_and_once() -> None:
    links = linked_ids(
        message(
            in_reply_to=("parent@a", "OWN@customer.example"),
            references=("root@a", "grand@a", "PARENT@a"),
            reported_ids=("reported@a",),
        )
    )

    assert links == ("reported@a", "parent@a", "grand@a", "root@a")


def test_links_are_bounded_and_keep_both_ends() -> None:
    links = linked_ids(message(references=tuple(f"r{number}@a" for number in range(5000))))

    assert len(links) == MAX_LINKS
    assert (links[0], links[-1]) == ("r4999@a", "r0@a")


@pytest.mark.parametrize(
    ("message_id", "references", "in_reply_to", "expected"),
    [
        ("c@a", ("a@a", "b@a"), ("b@a",), ("a@a", "b@a", "c@a")),
        ("c@a", (), ("b@a",), ("b@a", "c@a")),
        ("c@a", (), ("a@a", "b@a"), ("c@a",)),
        ("c@a", ("c@a", "b@a", "b@a"), (), ("b@a", "c@a")),
        (None, ("a@a",), (), ("a@a",)),
    ],
)
def test_references_of_an_answer(
    message_id: str | None,
    references: tuple[str, ...],
    in_reply_to: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    assert reply_references(message_id, references, in_reply_to) == expected


def test_long_chain_loses_its_middle() -> None:
    chain = reply_references("own@a", (f"r{number}@a" for number in range(5000)), ())

    assert len(chain) == MAX_REFERENCES
    assert (chain[0], chain[-2], chain[-1]) == ("r0@a", "r4999@a", "own@a")
