"""Whatever the strings hold, the mail has the header lines and recipients that were asked for."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postroom.mail import parse
from postroom.mail.compose.compose import (
    Draft,
    OutgoingFile,
    compose,
    new_message_id,
    quote,
)
from postroom.mail.domains import address_key, is_own, to_ascii
from postroom.mail.machines.automatic import recognise
from postroom.mail.machines.recognisable import Recognisable
from postroom.mail.message import Address

DRAFT = Draft(
    from_=Address("help@desk.example", "Example Support"),
    to=(Address("ann@customer.example", "Ann Reed"),),
    subject="Re: Gears slip [#1-k7f3q2x9vd]",
    text="Friday at nine.\n",
    message_id="out1@desk.example",
    date=datetime(2026, 3, 3, 9, 15, tzinfo=UTC),
)
FIXED = ["From", "To", "Subject", "Date", "Message-ID"]
BODY = ["MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
HOSTILE = [
    "x\r\nBcc: evil@evil.example",
    "x\nBcc: evil@evil.example",
    "x\rBcc: evil@evil.example",
    "x\r\n\r\n<script>",
    "x\x00\x0b\x0cBcc: evil@evil.example",
    "x\u2028Bcc: evil@evil.example\u2029y\x85z",
    '">, evil@evil.example, "',
    "=?utf-8?Q?x=0D=0ABcc:_evil@evil.example?=",
    "ü\r\n Bcc: evil@evil.example",
    "\ud800 lone \udfff",
    "\u202egnp.exe",
    "(" * 500,
    '"' * 501,
    "\\" * 501,
    "w" * 5_000,
    "ü" * 5_000,
    "a b " * 2_000,
    "",
    " ",
    ',;:<>@[]\\"()',
]


def draft(**changes: Any) -> Draft:
    return dataclasses.replace(DRAFT, **changes)


def read(raw: bytes) -> EmailMessage:
    """Read with the standard library, after checking what every server wants of the bytes."""
    assert raw.isascii()
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", raw) is None
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\x00" not in raw
    return email.message_from_bytes(raw, policy=email.policy.default)


def recipients(message: EmailMessage) -> list[str]:
    return [
        address.addr_spec
        for name in ("To", "Cc", "Bcc")
        for header in message.get_all(name, [])
        for address in header.addresses
    ]


def test_plain_answer_reads_as_it_was_written() -> None:
    raw = compose(
        draft(cc=(Address("bo@customer.example"),), in_reply_to="q@a", references=("q@a",))
    )

    assert raw.decode() == (
        "From: Example Support <help@desk.example>\r\n"
        "To: Ann Reed <ann@customer.example>\r\n"
        "Cc: bo@customer.example\r\n"
        "Subject: Re: Gears slip [#1-k7f3q2x9vd]\r\n"
        "Date: Tue, 03 Mar 2026 09:15:00 +0000\r\n"
        "Message-ID: <out1@desk.example>\r\n"
        "In-Reply-To: <q@a>\r\n"
        "References: <q@a>\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
        "\r\n"
        "Friday at nine.\r\n"
    )


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
@pytest.mark.parametrize("place", ["subject", "from", "to", "cc", "reply_to", "header", "text"])
def test_no_string_adds_a_header_or_a_recipient(place: str, text: str) -> None:
    people = {"from": "from_", "to": "to", "cc": "cc", "reply_to": "reply_to"}
    expected = list(FIXED)
    changes: dict[str, Any] = {}
    if place in people:
        person = Address("someone@customer.example", text)
        changes[people[place]] = person if place == "from" else (person,)
        if place in ("cc", "reply_to"):
            expected.insert(2, {"cc": "Cc", "reply_to": "Reply-To"}[place])
    elif place == "header":
        changes["headers"] = (("X-Postroom-Note", text),)
        expected.append("X-Postroom-Note")
    else:
        changes[place] = text
    wanted = draft(**changes)

    raw = compose(wanted)

    message, own = read(raw), parse(raw)
    assert message.keys() == [*expected, *BODY]
    assert [name for name, _ in own.headers] == [*expected, *BODY]
    to = [one.address for one in (*wanted.to, *wanted.cc)]
    assert recipients(message) == to
    assert [one.address for one in (*own.to, *own.cc)] == to
    assert own.from_ is not None
    assert own.from_.address == wanted.from_.address


@pytest.mark.parametrize(
    "name",
    ["Ann Reed", 'Ann "the cyclist" Reed', "Reed, Ann", "Jürgen Müller", "山田 太郎", "🚲 Ann"],
)
def test_name_is_read_as_it_was_written(name: str) -> None:
    raw = compose(draft(to=(Address("ann@customer.example", name),)))

    assert read(raw)["To"].addresses[0].display_name == name
    assert parse(raw).to == (Address("ann@customer.example", name),)


@pytest.mark.parametrize(
    "subject",
    ["Brake", "Bremse für Jürgen", "ブレーキ" * 60, "word " * 80 + "end", "=?x?= odd", "🚲" * 100],
    ids=lambda subject: subject[:12],
)
def test_subject_is_read_as_it_was_written(subject: str) -> None:
    raw = compose(draft(subject=subject))

    assert read(raw)["Subject"] == subject
    assert parse(raw).subject == subject


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "@customer.example",
        "ann@",
        "ann@b@customer.example",
        "ann reed@customer.example",
        "ann@customer.example, evil@evil.example",
        "ann@customer.example\r\nBcc: evil@evil.example",
        "ann\r\n@customer.example",
        "<ann@customer.example>",
        "ann@customer..example",
        "ann@customer example",
        "a" * 400 + "@customer.example",
        "ann@" + "a" * 64 + ".example",
        "ann@evil.example>,<x@customer.example",
        'ann"@customer.example',
        "ann\u2028@customer.example",
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", ["from_", "to", "cc", "reply_to"])
def test_what_is_no_address_is_refused(place: str, address: str) -> None:
    person = Address(address)

    with pytest.raises(ValueError, match=r"address|domain"):
        compose(draft(**{place: person if place == "from_" else (person,)}))


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@straße.example", "ann@xn--strae-oqa.example"),
        ("ann@例え.example", "ann@xn--r8jz45g.example"),
        ("ann.o'neil+tag@customer.example", "ann.o'neil+tag@customer.example"),
        ('"ann reed"@customer.example', '"ann reed"@customer.example'),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
    ],
)
def test_address_is_written_in_ascii(address: str, written: str) -> None:
    raw = compose(draft(to=(Address(address),)))

    assert f"\r\nTo: {written}\r\n".encode() in raw


def test_local_part_beyond_ascii_goes_as_utf8() -> None:
    raw = compose(draft(to=(Address("jürgen@bücher.example", "Jürgen"),)))

    assert "<jürgen@xn--bcher-kva.example>\r\n".encode() in raw


@pytest.mark.parametrize("message_id", ["", "a b@c", "ü@c", "a@c>\r\nBcc: e@e.example", "a" * 1000])
def test_id_that_cannot_be_written_is_left_out_of_links_and_refused_as_own(message_id: str) -> None:
    message = read(compose(draft(in_reply_to=message_id, references=("root@a", message_id))))

    assert "In-Reply-To" not in message
    assert message["References"] == "<root@a>"
    with pytest.raises(ValueError, match="message id"):
        compose(draft(message_id=message_id))


def test_references_are_folded_between_ids() -> None:
    references = tuple(f"{'r' * 60}{number}@customer.example" for number in range(30))

    raw = compose(draft(references=references))

    read(raw)
    assert parse(raw).references == references


@pytest.mark.parametrize(
    "name", ["Bcc", "To", "X-A\r\nBcc", "Content-Type", "X A", "X-A:", "", "é"]
)
def test_further_header_with_a_meaning_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="header"):
        compose(draft(headers=((name, "evil@evil.example"),)))


def test_naive_date_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        compose(draft(date=datetime(2026, 3, 3)))  # noqa: DTZ001 - the very thing


def test_automatic_mail_says_so_and_is_recognised() -> None:
    message = read(compose(draft(automatic="auto-replied")))

    found = recognise(
        Recognisable(headers=tuple(message.items()), from_=DRAFT.from_, subject="", text=DRAFT.text)
    )
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["X-Loop"] == "help@desk.example"
    assert "All" not in message["X-Auto-Response-Suppress"]
    assert (found.is_automatic, found.may_auto_reply) == (True, False)
    with pytest.raises(ValueError, match="automatic"):
        compose(draft(automatic="x\r\nBcc: e@e.example"))


TEXTS = [
    "",
    "\n",
    "ascii\n",
    "no end",
    "umlauts äöü\n" * 10,
    "日本語の文章です。\n" * 30,
    "x" * 5_000,
    "trailing \t\n space \n",
    "From here\n>From there\n.\n..\n-- \nAnn",
    "=20 literal = signs\n" * 5,
    "a\u2028b\x85c\r\nd\re",
    "bell\x07 and\x00 nul",
    "🚲" * 3_000,
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:12]))
def test_text_and_html_arrive_as_they_were_written(text: str) -> None:
    raw = compose(draft(text=text, html=f"<p>{text}</p>"))

    message = read(raw)
    plain, html = message.iter_parts()
    lines = text.replace("\x07", "").replace("\x00", "").splitlines()
    shown = "\n".join(lines).rstrip("\n")
    assert message.get_content_type() == "multipart/alternative"
    assert "\n".join(plain.get_content().splitlines()).rstrip("\n") == shown
    assert "\n".join(html.get_content().splitlines()).startswith(f"<p>{shown}")


@given(st.text(max_size=300))
def test_any_text_goes_over_any_wire(text: str) -> None:
    message = read(compose(draft(text=text, subject=text)))

    assert message.keys() == [*FIXED, *BODY]


@pytest.mark.parametrize(
    ("filename", "arrives"),
    [
        ("report.pdf", "report.pdf"),
        ("Rechnung März 2026.pdf", "Rechnung März 2026.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        ('a"b; name=c.pdf', 'a"b; name=c.pdf'),
        ("a\r\nBcc: evil@evil.example.pdf", "a Bcc: evil@evil.example.pdf"),
        ("\u202efdp.exe", "fdp.exe"),
        ("", "attachment"),
        ("...", "attachment"),
        ("日" * 300 + ".pdf", "日" * 146 + ".pdf"),
        ("x" * 300, "x" * 150),
    ],
    ids=lambda text: repr(text[:16]),
)
def test_attachment_keeps_its_bytes_and_a_safe_name(filename: str, arrives: str) -> None:
    content = bytes(range(256)) * 10

    raw = compose(draft(attachments=(OutgoingFile(filename, "application/pdf", content),)))

    message = read(raw)
    [part] = message.iter_attachments()
    [own] = parse(raw).attachments
    assert message.keys() == [*FIXED, *BODY[:2]]
    assert (part.get_filename(), part.get_content()) == (arrives, content)
    assert own.content == content
    assert own.content_type == part.get_content_type() == "application/pdf"


@pytest.mark.parametrize(
    "content_type",
    ["", "pdf", "a/b\r\nBcc: e@e.example", "message/rfc822", "multipart/mixed", "a/b; c"],
)
def test_content_type_that_cannot_be_is_octets(content_type: str) -> None:
    message = read(compose(draft(attachments=(OutgoingFile("a.bin", content_type, b"x\r\n"),))))

    [part] = message.iter_attachments()
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_content() == b"x\r\n"


def test_same_draft_gives_the_same_bytes() -> None:
    wanted = draft(html="<p>x</p>", attachments=(OutgoingFile("a", "text/plain", b"x"),))

    assert compose(wanted) == compose(dataclasses.replace(wanted))


def test_message_ids_are_new_and_in_our_domain() -> None:
    one, other = new_message_id("Desk.Example"), new_message_id("bücher.example")

    assert re.fullmatch(r"[0-9a-f]{32}@desk\.example", one)
    assert other.endswith("@xn--bcher-kva.example")
    assert one != new_message_id("desk.example")


def test_quoted_text_is_marked_and_named() -> None:
    date = datetime(2026, 3, 3, 9, 15, tzinfo=UTC)

    assert quote("One.\n\nTwo.\n", date, "Ann\nReed") == (
        "On 2026-03-03 09:15 UTC, Ann Reed wrote:\n> One.\n>\n> Two.\n"
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Help@Desk.Example", "help@desk.example", True),
        ("help@bücher.example", "help@XN--BCHER-KVA.example", True),
        ("help@desk.example.", "help@desk.example", True),
        ("ju\u0308rgen@a.example", "jürgen@a.example", True),
        ("help@straße.example", "help@strasse.example", False),
        ("help@desk.example", "help2@desk.example", False),
        ("help@desk", "help", False),
        ("", "", True),
    ],
)
def test_spellings_of_an_address(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same
    assert is_own([None, Address(one)], {address_key(other)}) is same


@pytest.mark.parametrize(
    "domain", ["", ".", "a..b", "a b", "ü" * 64, "a" * 64, "a." * 200 + "b", "a\n"]
)
def test_what_is_no_domain_is_refused(domain: str) -> None:
    if domain == "a\n":
        assert to_ascii(domain) == "a"
        return
    with pytest.raises(ValueError, match="domain"):
        to_ascii(domain)
