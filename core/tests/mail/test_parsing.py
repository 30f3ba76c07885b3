"""What is the text of a message, what is an attachment; nothing is lost."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from postroom.mail import parse

HEAD = b"From: a@b.example\r\nSubject: s\r\nMIME-Version: 1.0\r\n"
TEXT = b"Content-Type: text/plain\r\n\r\nhello\r\n"
PAGE = b'Content-Type: text/html\r\n\r\n<p>hi <img src="cid:c1"></p>\r\n'
IMAGE = (
    b"Content-Type: image/png\r\nContent-ID: <c1>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.b64encode(b"png" * 10)
    + b"\r\n"
)


def multi(kind: str, *parts: bytes, boundary: str = "b") -> bytes:
    edge = b"--" + boundary.encode()
    return (
        f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
        + b"".join(edge + b"\r\n" + part + b"\r\n" for part in parts)
        + edge
        + b"--\r\n"
    )


def test_alternatives_within_related_within_mixed() -> None:
    pdf = b"Content-Type: application/pdf; name=x.pdf\r\n\r\nPDF"
    alternatives = multi("alternative", TEXT, PAGE, boundary="in")
    related = multi("related", alternatives, IMAGE, boundary="out")

    message = parse(HEAD + multi("mixed", related, pdf))

    assert message.text.strip() == "hello"
    assert message.html is not None
    assert "cid:c1" in message.html
    image, file = message.attachments
    assert (image.content_id, image.inline, image.filename) == ("c1", True, "part-1.png")
    assert (file.filename, file.inline, file.content) == ("x.pdf", False, b"PDF")
    assert file.sha256 == hashlib.sha256(b"PDF").hexdigest()


def test_blank_plain_text_gives_way_to_the_page() -> None:
    blank = b"Content-Type: text/plain\r\n\r\n \r\n"

    assert parse(HEAD + multi("alternative", blank, PAGE)).text == "hi"


@pytest.mark.parametrize(
    "text",
    [
        b"To view the message, please use an HTML compatible email viewer!",
        b"Your e-mail client does not support HTML.",
        b"This message is in HTML format; use another program.",
        b"Ihr Programm kann kein HTML anzeigen. Dies ist eine HTML-E-Mail.",
    ],
)
def test_excuse_for_plain_text_gives_way_to_the_page(text: bytes) -> None:
    excuse = b"Content-Type: text/plain\r\n\r\n" + text + b"\r\n"
    nothing = b"Content-Type: text/html\r\n\r\n<p></p>\r\n"

    assert parse(HEAD + multi("alternative", excuse, PAGE)).text == "hi"
    assert parse(HEAD + multi("alternative", excuse, nothing)).text == text.decode()
    assert parse(HEAD + multi("mixed", excuse)).text.strip() == text.decode()


def test_text_on_both_sides_of_a_file_is_joined() -> None:
    message = parse(HEAD + multi("mixed", TEXT, IMAGE, TEXT.replace(b"hello", b"more")))

    assert message.text.split() == ["hello", "more"]


def test_plain_text_beside_a_page_is_in_both_views() -> None:
    message = parse(HEAD + multi("mixed", TEXT.replace(b"hello", b"<hello>"), PAGE))

    assert message.text.split() == ["<hello>", "hi"]
    assert message.html is not None
    assert "&lt;hello&gt;" in message.html


def test_enclosed_message_is_kept_to_the_byte() -> None:
    inner = b"From: x@y.example\r\nSubject: inner\r\n" + multi("mixed", TEXT, boundary="inner")
    message = parse(HEAD + multi("mixed", TEXT, b"Content-Type: message/rfc822\r\n\r\n" + inner))

    assert message.attachments[0].content == inner
    assert message.subject == "s"
    assert message.text.strip() == "hello"


def test_parts_of_a_digest_are_messages() -> None:
    message = parse(HEAD + multi("digest", b"\r\nSubject: one\r\n\r\nbody one"))

    assert message.attachments[0].content_type == "message/rfc822"
    assert message.attachments[0].content == b"Subject: one\r\n\r\nbody one"


NAMED = b"Content-Type: text/plain; name=log.txt\r\nContent-Disposition: inline\r\n\r\nlog"


def test_named_text_is_a_file_beside_a_text_and_the_text_alone() -> None:
    assert [a.filename for a in parse(HEAD + multi("mixed", TEXT, NAMED)).attachments] == [
        "log.txt"
    ]
    assert parse(HEAD + multi("mixed", NAMED)).text == "log"
    two = parse(HEAD + multi("mixed", NAMED, NAMED.replace(b"log.txt", b"b.txt")))
    assert (two.text, [a.filename for a in two.attachments]) == ("log", ["b.txt"])


def test_report_without_a_text_shows_its_status() -> None:
    status = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n"

    message = parse(HEAD + multi("report", status))

    assert "Reporting-MTA" in message.text
    assert len(message.attachments) == 1


def test_files_within_the_text_become_attachments() -> None:
    uu = b"begin 644 a.txt\r\n#86)C\r\n`\r\nend\r\n"
    yenc = b"=ybegin line=128 size=3 name=t.bin\r\n\x8b\x8c\x8d\r\n=yend size=3\r\n"

    message = parse(HEAD + b"\r\nBefore\r\n" + uu + b"between\r\n" + yenc + b"after\r\n")

    assert message.text.split() == ["Before", "between", "after"]
    assert [(a.filename, a.content) for a in message.attachments] == [
        ("a.txt", b"abc"),
        ("t.bin", b"abc"),
    ]


def files_in(text: bytes) -> tuple[str, dict[str, bytes]]:
    message = parse(HEAD + b"\r\n" + text)
    assert message.from_ is not None
    return message.text, {one.filename: one.content for one in message.attachments}


def test_base64_in_a_text_ends_with_its_own_line() -> None:
    block = b"begin-base64 644 a.txt\nQUJD\n====\n"

    text, files = files_in(block + b"Please help me.\nbegin 644 b.txt\n#0V%T\n`\nend\n")

    assert (text.strip(), files) == ("Please help me.", {"a.txt": b"ABC", "b.txt": b"Cat"})


def test_base64_in_a_text_that_is_none_stays() -> None:
    text, files = files_in(b"Hello\nbegin-base64 644 a.txt\nQ\nend\n")

    assert (text, files) == ("Hello\nbegin-base64 644 a.txt\nQ\nend\n", {})


def test_what_stands_before_a_file_in_a_text_stays_although_it_begins_alike() -> None:
    text, files = files_in(
        b"begin 644 a\n" + b"#0V%T\n" * 10 + b"Please help.\nbegin 644 b\n#0V%T\n`\nend\n"
    )

    assert text.startswith("begin 644 a\n")
    assert text.endswith("Please help.\n")
    assert files == {"b": b"Cat"}


def test_prose_that_begins_like_uuencode_stays() -> None:
    text = b"begin 100 things now\r\nand then some\r\nend\r\n"

    assert parse(HEAD + b"\r\n" + text).text.splitlines() == text.decode().splitlines()


def test_winmail_dat_is_kept_and_opened() -> None:
    def attribute(level: int, identifier: int, value: bytes) -> bytes:
        return struct.pack("<BII", level, identifier, len(value)) + value + b"\0\0"

    name = "Bericht ä.txt".encode("utf-16-le") + b"\0\0"
    properties = struct.pack("<IHHII", 1, 0x1F, 0x3707, 1, len(name)) + name
    tnef = (
        struct.pack("<IH", 0x223E9F78, 1)
        + attribute(1, 0x0002800C, b"Body inside\0")
        + attribute(2, 0x00069002, bytes(14))
        + attribute(2, 0x00018010, b"BERICH~1.TXT\0")
        + attribute(2, 0x0006800F, b"content")
        + attribute(2, 0x00069005, properties)
    )
    part = b"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n"

    message = parse(HEAD + part[:-2] + b"\r\n" + base64.b64encode(tnef))

    assert message.attachments[0].content == tnef
    assert message.attachments[1].filename == "Bericht ä.txt"
    assert message.attachments[1].content == b"content"
    assert message.text == "Body inside"
    for end in range(len(tnef)):
        parse(HEAD + part + base64.b64encode(tnef[:end]))


@pytest.mark.parametrize(
    "body",
    [
        b'Content-Type: multipart/mixed; boundary="ABC"\r\n\r\n--abc\r\nContent-Type: text/plain'
        b"\r\n\r\nhello\r\n--abc--\r\n",
        b'Content-Type: multipart/mixed; boundary="ABC"\r\n\r\nhello\r\n--ABC--\r\n',
        b"Content-Type: multipart/mixed; boundary=ABC\r\n\r\n--ABC\r\nhello\r\n--ABC--\r\n",
        b"Content-Type: multipart/mixed; boundary=ABC\r\n\r\n--ABC\r\n\r\nhello\r\n",
        b"Content-Type: multipart/mixed; boundary*0=A;\r\n boundary*1=BC\r\n\r\n--ABC\r\n\r\nhello",
        b"Content-Type: multipart/mixed; boundary=ABC\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.b64encode(b"--ABC\r\n\r\nhello\r\n--ABC--\r\n"),
        b"Content-Type: multipart/mixed; boundary=ABC\r\nSubject:\r\n \r\n--ABC\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--ABC--\r\n",
        b"\r\nhello",
        b"hello",
    ],
)
def test_text_is_found_in_broken_structures(body: bytes) -> None:
    assert "hello" in parse(HEAD + body).text


def test_transfer_encodings_with_faults() -> None:
    def body(encoding: bytes, content: bytes) -> str:
        return parse(HEAD + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + content).text

    assert body(b"Quoted-Printable;", b"h=C3=A4 =ZZ =\r\nx=3") == "hä =ZZ x=3"
    assert body(b"base64", b"aGVs bG8\r\n") == "hello"
    assert body(b"base64", b"aGVsbG8gaGVs!bG8gaGVsbG8gaGVsbG8=") == "hello hello hello hello"
    assert body(b"base64", b"aGU=\r\nbGxv") == "hello"
    assert body(b"base64", b"aGVsbG8=\r\n\r\n--ABC-\r\n") == "hello"
    assert body(b"base64", b"This is no base64.") == "This is no base64."
    assert body(b"base64", b"No base64.\r\n-- \r\nAnn") == "No base64.\n-- \nAnn"
    assert body(b'"8bit"', b"hello") == "hello"


@pytest.mark.parametrize(
    "foot",
    [
        b"_______________________________________________\nLamps mailing list\nl@lists.example\n",
        b"\nThis mail was checked for worms.\n",
        b"\nhttps://lists.example/lamps\n",
        b"XX--bound--\n",
    ],
)
def test_plain_text_below_base64_is_no_part_of_what_it_says(foot: bytes) -> None:
    text = "Die Lampe für die Brücke ist kaputt, und die Glocke hört man nicht.\n" * 2
    head = HEAD + b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"

    message = parse(head + base64.encodebytes(text.encode()) + foot)

    assert message.text == text
    assert message.problems


@pytest.mark.parametrize("damage", [b"@", b":", b"--", b"!"])
@pytest.mark.parametrize("place", [1, 10, 76, 78, 100, 115, 152])
def test_base64_goes_on_behind_a_damaged_character(damage: bytes, place: int) -> None:
    text = "Die Lampe für die Brücke ist kaputt, und die Glocke hört man nicht.\n" * 4
    head = HEAD + b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
    body = base64.encodebytes(text.encode())

    assert parse(head + body[:place] + damage + body[place:]).text == text


def test_text_that_is_labelled_as_a_page_keeps_its_lines() -> None:
    page = b"It is broken.\r\n\r\nAnn &amp; Bo\r\n"

    message = parse(HEAD + b"Content-Type: text/html\r\n\r\n" + page)

    assert message.text == "It is broken.\n\nAnn & Bo"


def test_large_base64_with_foreign_characters_is_decoded_as_far_as_it_goes() -> None:
    content = bytes(range(256)) * 100
    clean = base64.encodebytes(content)
    dirty = clean[:5_000] + b"!*" + clean[5_000:]
    head = HEAD + b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"

    assert parse(head + clean).attachments[0].content == content
    assert parse(head + clean).problems == ()
    assert parse(head + dirty).attachments[0].content == content
    assert parse(head + dirty).problems != ()


def test_flowed_lines_are_joined_within_their_quote() -> None:
    head = HEAD + b"Content-Type: text/plain; format=flowed\r\n\r\n"

    text = parse(head + b"> one \r\n> two\r\nthree \r\nfour\r\n-- \r\nAnn\r\n").text

    assert text == "> one two\nthree four\n-- \nAnn\n"


def test_important_fields_are_found_behind_a_thousand_others() -> None:
    head = b"X-Many: value\r\n" * 20_000 + b"X-Long: " + b"x" * 1_000_000 + b"\r\n"

    message = parse(head + b"From: a@b.example\r\nMessage-ID: <m@b>\r\n\r\nhello")

    assert message.from_ is not None
    assert message.message_id == "m@b"
    assert message.text == "hello"
    assert len(message.headers) < 2_000
    assert message.problems


def test_trace_of_the_delivering_server_is_read() -> None:
    message = parse(
        b"Return-Path: <>\r\nReceived: from a by b; Tue, 03 Mar 2026 09:20:00 +0100\r\n"
        b"Received: from c by a; Tue, 03 Mar 2026 09:00:00 +0100\r\n\r\n"
    )

    assert message.return_path == ""
    assert message.received_at is not None
    assert message.received_at.isoformat() == "2026-03-03T08:20:00+00:00"
    assert parse(b"Return-Path: <a@b.example>\r\n\r\n").return_path == "a@b.example"
    assert parse(b"Subject: x\r\n\r\n").return_path is None


def test_page_as_text() -> None:
    page = (
        b"Content-Type: text/html; charset=utf-8\r\n\r\n<title>T</title><p>One&nbsp;<b>two</b></p>"
        b"<ul><li>three<li>four</ul>line<br>break<pre>a\n  b</pre>"
        b"<blockquote type=cite>quoted<br>text</blockquote><style>x{}</style>&#99999999;"
    )

    assert parse(HEAD + page).text.splitlines() == [
        "One two", "", "- three", "- four", "", "line", "break", "", "a", "  b", "",
        "> quoted", "> text", "", "\ufffd",
    ]  # fmt: skip


def test_page_without_a_label_may_name_its_charset() -> None:
    page = b"Content-Type: text/html\r\n\r\n<meta charset='koi8-r'><p>" + "Привет".encode("koi8-r")

    assert parse(HEAD + page).text == "Привет"


REPORT = multi(
    "report; report-type=delivery-status",
    b"Content-Type: text/plain\r\n\r\nNot delivered.\r\n",
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; m.example\r\n\r\n"
    b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
    b"Content-Type: message/rfc822\r\n\r\nMessage-ID: <ours@desk.example>\r\n\r\nAnswer\r\n",
    boundary="inner",
)
DAEMON = b"From: MAILER-DAEMON@m.example\r\nSubject: Returned mail\r\nReturn-Path: <>\r\n"


def test_report_in_a_wrapper_is_about_the_same_mail() -> None:
    message = parse(DAEMON + multi("mixed", REPORT, TEXT))

    assert message.is_bounce
    assert message.reported_ids == ("ours@desk.example",)


def test_report_inside_an_enclosed_message_is_not_of_the_mail_around_it() -> None:
    enclosed = b"Content-Type: message/rfc822\r\n\r\n" + DAEMON + REPORT

    message = parse(HEAD + multi("mixed", TEXT, enclosed))

    assert (message.is_bounce, message.is_automatic, message.reported_ids) == (False, False, ())


def test_raw_header_bytes_may_be_in_the_charset_of_the_first_text() -> None:
    text = b"Content-Type: text/plain; charset=gb2312\r\n\r\n" + "你好".encode("gb2312")

    message = parse(b"Subject: " + "邮件".encode("gb2312") + b"\r\n" + multi("mixed", text))

    assert message.subject == "邮件"


def test_what_cannot_be_recognised_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("postroom.mail.parsing.automatic.recognise", fail)
    monkeypatch.setattr("postroom.mail.parsing.strip_quotes", fail)

    message = parse(HEAD + TEXT)

    assert (message.subject, message.text.strip()) == ("s", "hello")
    assert message.reply_text == message.text
    assert not message.may_auto_reply
    assert not message.is_automatic
    assert len(message.problems) == 2


@pytest.mark.parametrize(
    "page",
    [
        '<div>Friday.</div><div id="yahoo_quoted_1" class="yahoo_quoted"><div><div>'
        "Il martedì 3 marzo 2026, Desk ha scritto:</div><br><div>When?</div></div></div>",
        '<div>Friday.</div><div name="quote" style="border-left: 2px solid"><div><b>Gesendet:</b>'
        " 3. März 2026 09:15<br><b>Von:</b> Desk<br><b>An:</b> Ann<br><b>Betreff:</b> x</div>"
        "<div>When?</div></div>",
        '<div>Friday.</div><div style="border:none;border-top:solid #E1E1E1 1pt"><b>From:</b> Desk'
        "<br><b>Sent:</b> 3 March 2026 09:15<br><b>To:</b> Ann<br><b>Subject:</b> x</div>When?",
        '<div>Friday.</div><div id="divRplyFwdMsg"><b>From:</b> Desk<br><b>Sent:</b> 3 March 2026'
        "<br><b>To:</b> Ann<br><b>Subject:</b> x</div><div>When?</div>",
        '<div>Friday.</div><span id="OLK_SRC_BODY_SECTION"><div><b>From: </b>Desk<br><b>Sent: </b>'
        "3 March 2026<br><b>Subject: </b>x</div>When?</span>",
        "<div>Friday.</div><br><div>3 Mar 2026, 09:15 by h@desk.example:</div>"
        '<blockquote class="tutanota_quote">When?</blockquote>',
        '<div>Friday.</div><div id="ms-outlook-mobile-signature">Get <a href="https://x.example">'
        'Outlook for iOS</a></div><hr><div id="divRplyFwdMsg"><b>From:</b> Desk<br><b>Sent:</b> 3 '
        "March 2026<br><b>To:</b> Ann<br><b>Subject:</b> x</div><div>When?</div>",
        "<div>Friday.</div><br>On March 3, 2026, Desk &lt;h@desk.example&gt; wrote:"
        "<br><blockquote>When?</blockquote>",
        "<div>Friday.</div><div>----------------</div><div>Кому: a@x.example;</div><div>Тема: x;"
        '</div><div>03.03.2026, 09:15, "Desk" &lt;h@d.example&gt;:</div><blockquote>When?'
        "</blockquote>",
    ],
    ids=[
        *("yahoo", "gmx", "outlook", "outlook-web", "outlook-mac", "tuta", "outlook-ios"),
        *("hey", "yandex"),
    ],
)
def test_quote_in_a_page_is_told_from_the_answer(page: str) -> None:
    message = parse(HEAD + b"Content-Type: text/html; charset=utf-8\r\n\r\n" + page.encode())

    assert message.reply_text == "Friday."


def test_quote_of_lark_in_a_page_is_told_from_the_answer() -> None:
    page = (
        '<div>Friday.</div><div class="history-quote-wrapper"><div>From: "Desk"&lt;h@d.example&gt;'
        "</div><div>Date: Tue, Mar 3, 2026, 09:15</div><div>Subject: x</div><div>To: Ann</div>When?"
        "</div>"
    )
    head = HEAD + b"In-Reply-To: <a@b>\r\nContent-Type: text/html\r\n\r\n"

    assert parse(head + page.encode()).reply_text == "Friday."


@pytest.mark.parametrize("style", ["", " style='border-left:1px solid #0857A6'"])
def test_answers_between_quotes_of_a_page_are_kept(style: str) -> None:
    quote = f"<blockquote{style}>%s</blockquote>"
    page = (
        "<div>Thanks for your quick answer.</div><div>On Tue, 3 Mar 2026 at 09:15, Desk "
        f"&lt;h@d.example&gt; wrote:</div>{quote % 'When?'}<div>Friday suits me.</div>"
        f"{quote % 'Which lamp?'}<div>The red one.</div>"
    )

    reply = parse(HEAD + b"Content-Type: text/html\r\n\r\n" + page.encode()).reply_text

    assert reply.startswith("Thanks for your quick answer.\n")
    assert reply.endswith("> When?\n\nFriday suits me.\n\n> Which lamp?\n\nThe red one.")


def test_header_of_a_part_that_is_encoded_as_a_whole_is_read() -> None:
    name = "=22Proze=C3=9F=2Epdf=22?="
    raw = (
        HEAD
        + (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
            "Content-Type: =?unknown-8bit?q?application/pdf=3B_?=\r\n"
            f" =?unknown-8bit?q?_name=3D{name}\r\n"
            "Content-Disposition: =?unknown-8bit?q?attachment=3B_?=\r\n"
            f" =?unknown-8bit?q?_filename=3D{name}\r\n\r\n%PDF\r\n--b--\r\n"
        ).encode()
    )

    message = parse(raw)

    assert message.text == "hello"
    assert [(one.filename, one.content_type) for one in message.attachments] == [
        ("Prozeß.pdf", "application/pdf")
    ]


def test_passage_that_a_person_sets_apart_in_a_page_is_no_quote() -> None:
    page = b"<div>Your page says:</div><blockquote>On Friday.</blockquote><div>Nobody came.</div>"

    message = parse(HEAD + b"Content-Type: text/html\r\n\r\n" + page)

    assert message.text == "Your page says:\n\nOn Friday.\n\nNobody came."


BROKEN_HEADERS = {
    "recipients": b"From: Ann <a@x.example>\nTo: b@x.example,\nc@x.example,\nd@x.example\n"
    b"Subject: Lamp\n\nIt is broken.\n",
    "signature": b"Received: from x\nDKIM-Signature: v=1;\nb=abcdef\n==\n ;\n"
    b"From: Ann <a@x.example>\nSubject: Lamp\n\nIt is broken.\n",
}


@pytest.mark.parametrize("raw", BROKEN_HEADERS.values(), ids=BROKEN_HEADERS)
def test_field_broken_over_lines_does_not_end_the_header(raw: bytes) -> None:
    message = parse(raw)

    assert message.from_ is not None
    assert (message.from_.address, message.subject) == ("a@x.example", "Lamp")
    assert message.text == "It is broken.\n"


def test_header_goes_on_behind_a_blank_line_where_it_has_not_said_how_to_read_the_body() -> None:
    raw = (
        b"From: a@x.example\nSubject: Lamp\n\nMIME-Version: 1.0\nContent-Type: multipart/mixed;\n"
        b" boundary=b\n\n--b\n\nIt is broken.\n--b\nContent-Type: image/png; name=lamp.png\n\npng\n"
        b"--b--\n"
    )

    message = parse(raw)

    assert (message.subject, message.text) == ("Lamp", "It is broken.")
    assert [one.filename for one in message.attachments] == ["lamp.png"]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Content-Type: text/plain", "Content-Type: what is that?\n\nAnn\n"),
        ("Subject: Mail", "Content-Type: what is that?\n\nAnn\n"),
        ("Subject: Mail", "Content-Type: text/html is what I see\n\nAnn\n"),
        ("Subject: Mail", "Content-Type: text/html\nYour server refuses this.\nX: y\n\nAnn\n"),
        ("Subject: Mail", "MIME-Version: 1.0\nis above all your mail.\n\nAnn\n"),
    ],
)
def test_text_that_begins_like_a_header_is_kept(header: str, text: str) -> None:
    assert parse(f"From: a@x.example\n{header}\n\n{text}".encode()).text == text


def test_text_below_a_header_without_a_blank_line_is_kept() -> None:
    raw = b"From: a@x.example\nSubject: Lamp\nHello Desk,\nthe lamp is broken.\nDate: 3 March\n"

    assert parse(raw).text == "Hello Desk,\nthe lamp is broken.\nDate: 3 March\n"


def test_indented_text_is_no_quote_though_gmail_says_so() -> None:
    page = (
        b'<div>I tried</div><blockquote class="gmail_quote" style="margin:0 0 0 40px;border:none;'
        b'padding:0px"><div>a new lamp.</div></blockquote>'
    )

    message = parse(HEAD + b"In-Reply-To: <a@b>\r\nContent-Type: text/html\r\n\r\n" + page)

    assert message.reply_text == "I tried\n\na new lamp."


def test_quote_of_spark_has_nothing_above_it() -> None:
    page = (
        b'<div name="messageBodySection">Friday.</div><div name="messageReplySection">When?</div>'
    )

    message = parse(HEAD + b"In-Reply-To: <a@b>\r\nContent-Type: text/html\r\n\r\n" + page)

    assert (message.text, message.reply_text) == ("Friday.\n\n> When?", "Friday.")


@pytest.mark.parametrize("kind", [b"text/x-amp-html", b"text/watch-html"])
def test_page_for_one_program_alone_is_no_attachment(kind: bytes) -> None:
    pages = b"--b\r\n\r\nPlain\r\n--b\r\nContent-Type: %s\r\n\r\n<p>Special</p>\r\n--b\r\n" % kind
    head = HEAD + b"Content-Type: multipart/alternative; boundary=b\r\n\r\n"

    message = parse(head + pages + b"Content-Type: text/html\r\n\r\n<p>Page</p>\r\n--b--\r\n")

    assert (message.text.strip(), message.attachments) == ("Plain", ())


def test_mail_that_is_one_attachment_without_a_name_is_its_text() -> None:
    head = HEAD + b"Content-Disposition: attachment"

    assert parse(head + b"\r\n\r\nhello\r\n").text == "hello\n"
    assert parse(head + b"; filename=a.txt\r\n\r\nhello\r\n").attachments[0].filename == "a.txt"


def test_text_after_a_quoting_block_is_the_writers_again() -> None:
    page = '<div class="yahoo_quoted"><div>When?</div></div><div>Friday.</div>'

    message = parse(HEAD + b"Content-Type: text/html\r\n\r\n" + page.encode())

    assert message.text == "> When?\nFriday."


SIGNED = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
P7M = (
    b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\n"
)


def element(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content


def open_element(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80]) + content + b"\0\0"


SIGNED_MAIL = multi("mixed", TEXT, b"Content-Type: application/pdf; name=x.pdf\r\n\r\nPDF")
CMS = {
    "der": element(0x30, SIGNED + element(0xA0, DATA + element(0xA0, element(4, SIGNED_MAIL)))),
    "ber": open_element(
        0x30,
        SIGNED
        + open_element(
            0xA0,
            DATA
            + open_element(
                0xA0,
                open_element(0x24, element(4, SIGNED_MAIL[:50]) + element(4, SIGNED_MAIL[50:])),
            ),
        ),
    ),
}


@pytest.mark.parametrize("blob", CMS.values(), ids=CMS)
def test_mail_inside_its_signature_is_read(blob: bytes) -> None:
    message = parse(HEAD + P7M + base64.b64encode(blob))

    assert message.text.strip() == "hello"
    assert [one.filename for one in message.attachments] == ["smime.p7m", "x.pdf"]
    assert message.attachments[0].content == blob
    for end in range(len(blob)):
        assert parse(HEAD + P7M + base64.b64encode(blob[:end])).attachments


def test_signatures_within_signatures_end() -> None:
    mail = TEXT
    for _ in range(12):
        cms = element(0x30, SIGNED + element(0xA0, DATA + element(0xA0, element(4, mail))))
        mail = P7M + base64.b64encode(cms)

    assert len(parse(HEAD + mail).attachments) == 6


def test_page_of_a_winmail_dat_is_the_text_where_there_is_no_other() -> None:
    page = b"<html><body><p>Body inside</p></body></html>"
    properties = struct.pack("<IHHII", 1, 0x102, 0x1013, 1, len(page)) + page
    tnef = struct.pack("<IHBII", 0x223E9F78, 1, 1, 0x00069003, len(properties)) + properties
    part = b"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n"

    assert parse(HEAD + part + base64.b64encode(tnef + b"\0\0")).text == "Body inside"


def test_more_delimiters_than_any_mail_has_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroom.mail.body.structure.MOST_DELIMITERS", 3)
    part = b"--outer\r\n\r\nhello\r\n"

    message = parse(HEAD + b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n" + part * 5)

    assert message.text.count("hello") == 5


def test_more_padding_than_any_file_has_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroom.mail.decoding.transfer._MOST_PIECES", 3)
    body = b"Content-Transfer-Encoding: base64\r\n\r\naGVs==bG8g=aGVs=bG8="

    assert parse(HEAD + body).text == "hello hello"


def test_ids_of_a_second_header_of_that_name_count_as_well() -> None:
    message = parse(
        HEAD + b"References: <a@x.example>\r\nReferences: <b@x.example>,\r\n <c@x.example>\r\n"
        b"In-Reply-To: <c@x.example>\r\nIn-Reply-To: <d@x.example>\r\n\r\nhello"
    )

    assert message.references == ("a@x.example", "b@x.example", "c@x.example")
    assert message.in_reply_to == ("c@x.example", "d@x.example")
