"""Words, addresses, dates, ids and parameters of headers, as they come."""

from __future__ import annotations

from base64 import b64encode

import pytest
from postroom.mail.body.filenames import safe_name
from postroom.mail.decoding.charsets import codec_for, decode
from postroom.mail.header.addresses import parse_addresses
from postroom.mail.header.dates import parse_date
from postroom.mail.header.ids import LONGEST, message_id, message_ids
from postroom.mail.header.parameters import content_type, disposition
from postroom.mail.header.words import decode_words

WORDS = {
    "=?utf-8?B?4pyIIEhvbGE=?= =?utf-8?Q?_x?= \t=?ISO-8859-1?Q?_y=E9?= end": "✈ Hola x yé end",
    "=?windows-1252?Q?a=96b?= =?gb2312?B?1tDOxA==?=": "a–b中文",
    "=?utf-8?B?U2Now7Z?= =?utf-8?B?uZQ==?=": "Schöne",
    "=?utf-8?Q?What's_this=3F_really??=": "What's this? really?",
    "=?utf-8?q??=": "",
    "=?utf-8?B??=": "",
    "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= =?iso-8859-1?q?p=F4stal?=": "日本pôstal",
    "=?hz-gb-2312?Q?~{VPND~}?=": "中文",
    "=?utf-8?Q?a=?=": "a",
    "=?base64?Q?abc?=": "abc",
    "=??Q?Re=3A_abc?=": "Re: abc",
    "=?no such?Q?abc?=": "=?no such?Q?abc?=",
    "=? =? ?= ?=": "=? =? ?= ?=",
    "\x1b$BF|K\\\x1b(B": "日本",
    "Gr\xc3\xbc\xc3\x9fe": "Grüße",
    "Gr\xfc\xdfe": "Grüße",
}


@pytest.mark.parametrize(("raw", "text"), WORDS.items())
def test_encoded_words_are_decoded_once(raw: str, text: str) -> None:
    assert decode_words(raw) == text


def test_utf8_with_some_bytes_of_windows_in_it_is_utf8() -> None:
    text = "Glühbirne für die Küche: ".encode() + "“hell” – „rot”".encode("cp1252")

    assert decode(text, "utf-8") == "Glühbirne für die Küche: �hell� � �rot�"
    assert decode("¡Sí!".encode() + b" \xa1No!", "utf-8") == "¡Sí! �No!"
    assert decode("Grüße aus Köln, „Gruß“".encode("cp1252"), "utf-8") == "Grüße aus Köln, „Gruß“"


def test_raw_bytes_in_a_header_may_be_in_the_charset_of_the_body() -> None:
    assert decode_words("Привет".encode("koi8-r").decode("latin-1"), "koi8-r") == "Привет"


ADDRESSES = {
    "ann@x.example": [("", "ann@x.example")],
    "Ann Reed <ann@x.example>": [("Ann Reed", "ann@x.example")],
    '"Reed, Ann" <ann@x.example>': [("Reed, Ann", "ann@x.example")],
    "Reed, Ann <ann@x.example>": [("Reed, Ann", "ann@x.example")],
    "ann@x.example (Ann (the cyclist))": [("Ann (the cyclist)", "ann@x.example")],
    "Pete(A nice \\) chap) <pete(his account)@x.example(his host)>": [("Pete", "pete@x.example")],
    "A Group:Ed <c@a.example>,joe@b.example,J <j@c.example>;": [
        ("Ed", "c@a.example"),
        ("", "joe@b.example"),
        ("J", "j@c.example"),
    ],
    "undisclosed-recipients:;": [],
    "Mary <@node.test,@b.test:mary@x.example>, , jdoe@test  . example": [
        ("Mary", "mary@x.example"),
        ("", "jdoe@test.example"),
    ],
    '"Giant; \\"Big\\" Box" <box@x.example>': [('Giant; "Big" Box', "box@x.example")],
    "JJV @ BBN": [("", "JJV@BBN")],
    "Ann <ann@x.example": [("Ann", "ann@x.example")],
    "Ann <ann@x.example, Bob <bob@x.example>": [("Ann", "ann@x.example"), ("Bob", "bob@x.example")],
    "mailto:ann@x.example, <mailto:bob@x.example>": [("", "ann@x.example"), ("", "bob@x.example")],
    "ann@x.example; bob@x.example": [("", "ann@x.example"), ("", "bob@x.example")],
    "ann@x.example bob@y.example": [("", "ann@x.example"), ("", "bob@y.example")],
    "=?utf-8?Q?Ann_=3Cann=40x.example=3E?=": [("Ann", "ann@x.example")],
    "=?utf-8?Q?M=C3=BCller, Jo?= <jo@x.example>": [("Müller, Jo", "jo@x.example")],
    "=?utf-8?Q?=22=2C_evil=40e.example?= <jo@x.example>": [('", evil@e.example', "jo@x.example")],
    "<<ann@x.example>>": [("", "ann@x.example")],
    "ann@[192.0.2.1]": [("", "ann@[192.0.2.1]")],
    '"ann reed"@x.example': [("", '"ann reed"@x.example')],
    'Ann <"ann \\"a\\" reed"@x.example>': [("Ann", '"ann \\"a\\" reed"@x.example')],
    "Ann <ann@x.example.>": [("Ann", "ann@x.example")],
    "(((( Ann <ann@x.example>": [("Ann", "ann@x.example")],
    "ann at customer.example (Ann Reed)": [("Ann Reed", "ann@customer.example")],
    "Ann at work": [],
    "Ann Reed": [],
    "root": [],
    "MAILER-DAEMON <>": [],
    "ann@@x.example": [],
    "": [],
}


@pytest.mark.parametrize(("raw", "found"), ADDRESSES.items())
def test_addresses_are_found(raw: str, found: list[tuple[str, str]]) -> None:
    assert [(one.name, one.address) for one in parse_addresses(raw)] == found


DATES = {
    "Tue, 03 Mar 2026 09:15:00 +0100": "2026-03-03T08:15:00",
    "3 Mar 26 09:15 EST": "2026-03-03T14:15:00",
    "21 Nov 97 09:55:06 GMT": "1997-11-21T09:55:06",
    "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600": "1997-11-21T15:55:06",
    "Thu,      13        Feb          1969      23:32               -0330 (Newfoundland)": (
        "1969-02-14T03:02:00"
    ),
    "2026-03-03T09:15:00Z": "2026-03-03T09:15:00",
    "Tue Mar  3 09:15:00 2026": "2026-03-03T09:15:00",
    "Tue Mar  3 09:15:00 CET 2026": "2026-03-03T08:15:00",
    "Tue, 3 Mar 2026 09:15:00 GMT+0100": "2026-03-03T08:15:00",
    "3-Mar-2026 09:15:00 PST": "2026-03-03T17:15:00",
    "Tue,3 Mar 2026 09:15:00+0000": "2026-03-03T09:15:00",
    "Tuesday, March 03, 2026 9:15 PM": "2026-03-03T21:15:00",
    "Di, 03 Mär 2026 09:15:00 +0100": "2026-03-03T08:15:00",
    "Fri, 09 Sep 2005 11:49:27 -700": "2005-09-09T18:49:27",
    "Tue, 03 Mar 126 09:15:00 +0000": "2026-03-03T09:15:00",
    "Sat, 31 Dec 2016 23:59:60 +0000": "2016-12-31T23:59:59",
    "Mon, 01 Jan 1900 00:00:00 +0000": "1900-01-01T00:00:00",
    "Fri, 31 Dec 9999 23:59:59 -1200": None,
    "Sat, 01 Jan 0000 00:00:00 +0000": None,
    "Tue, 31 Feb 2026 10:00:00 +0000": None,
    "yesterday, about noon": None,
    "": None,
}


@pytest.mark.parametrize(("raw", "moment"), DATES.items())
def test_dates_are_read_in_utc(raw: str, moment: str | None) -> None:
    date = parse_date(raw)

    assert (date and date.replace(tzinfo=None).isoformat()) == moment


def test_ids_lose_brackets_and_space_and_are_bounded() -> None:
    assert message_id("<a@b> (added by x)") == "a@b"
    assert message_id("bare@b") == "bare@b"
    assert message_id("<odd id @b>") == "oddid@b"
    assert message_id("<>") is None
    assert message_id("") is None
    assert message_id("=?us-ascii?Q?=3Ca=40b=3E?=") == "a@b"
    assert message_ids("words <a@b> <c@d>\t<a@b>") == ("a@b", "c@d")
    assert message_ids("a@b c@d") == ("a@b", "c@d")
    long = message_id(f"<{'a' * 10_000}@b>")
    assert long is not None
    assert len(long) <= LONGEST
    assert long != message_id(f"<{'a' * 10_000}@c>")
    many = message_ids(" ".join(f"<{number}@b>" for number in range(5_000)))
    assert (many[0], many[-1], len(many)) == ("0@b", "4999@b", 200)


PARAMETERS = {
    "attachment; filename=a.txt": "a.txt",
    'attachment; filename="a;b.txt"': "a;b.txt",
    "attachment; filename=a b.txt": "a b.txt",
    'attachment; filename="a\\"b.txt"': 'a"b.txt',
    'attachment; filename="C:\\Temp\\a.txt"': "C:\\Temp\\a.txt",
    "attachment; filename*=utf-8''%e2%82%ac.txt": "€.txt",
    "attachment; filename=plain.txt; filename*=utf-8''%e2%82%ac.txt": "€.txt",
    "attachment; filename*0*=iso-8859-15''costs%A4; filename*1=\" 5%.txt\"": "costs€ 5%.txt",
    'attachment; filename*1="b.txt"; filename*0="a "': "a b.txt",
    'attachment; filename="=?utf-8?Q?a=C3=A4?= =?utf-8?Q?b.txt?="': "aäb.txt",
    "attachment; filename*=%e2%82%ac.txt": "€.txt",
    'attachment; filename="open': "open",
    "attachment; FILENAME = a.txt": "a.txt",
    "attachment": "",
}


@pytest.mark.parametrize(("raw", "name"), PARAMETERS.items())
def test_parameters_are_decoded(raw: str, name: str) -> None:
    assert disposition(raw).value == "attachment"
    assert disposition(raw).text("filename") == name


def test_what_is_no_content_type_is_text() -> None:
    assert content_type("text").value == "text/plain"
    assert content_type("").value == "text/plain"
    assert content_type("TEXT/HTML (a page); Charset=UTF-8").value == "text/html"
    assert content_type('text/plain; charset="utf-8').get("charset") == "utf-8"


NAMES = {
    "../../etc/passwd": "passwd",
    "C:\\Windows\\win.ini": "win.ini",
    "CON.txt": "_CON.txt",
    "..": "part-7.pdf",
    "  ": "part-7.pdf",
    "a\x00b\r\n.pdf": "ab .pdf",
    "quote\u202efdp.exe": "quotefdp.exe",
    "Angebot für Ann.pdf": "Angebot für Ann.pdf",
    ".bashrc": "bashrc",
}


@pytest.mark.parametrize(("raw", "name"), NAMES.items())
def test_names_are_made_safe(raw: str, name: str) -> None:
    assert safe_name(raw, "application/pdf", 7) == name


def test_long_names_keep_their_extension() -> None:
    name = safe_name("ä" * 1_000 + ".pdf", "application/pdf", 1)

    assert len(name.encode()) <= 255
    assert name.endswith("ä.pdf")


CHARSETS = {
    "iso-8859-1": ("“ü”".encode("cp1252"), "“ü”"),
    "ISO_8859-15": ("€".encode("iso8859_15"), "€"),
    "windows-1251": ("Привет".encode("cp1251"), "Привет"),
    "koi8-r": ("Привет".encode("koi8-r"), "Привет"),
    "koi8-u": ("Привіт".encode("koi8-u"), "Привіт"),
    "iso-8859-2": ("źdźbło".encode("iso8859_2"), "źdźbło"),
    "windows-1250": ("źdźbło".encode("cp1250"), "źdźbło"),
    "iso-8859-9": ("ğış".encode("iso8859_9"), "ğış"),
    "TIS-620": ("สวัสดี".encode("cp874"), "สวัสดี"),
    "x-mac-roman": ("é“".encode("mac_roman"), "é“"),
    "x-mac-cyrillic": ("Привет".encode("mac_cyrillic"), "Привет"),
    "hz-gb-2312": ("中文".encode("hz"), "中文"),
    "euc-kr": ("한글 똠".encode("cp949"), "한글 똠"),
    "euc-jp": ("日本".encode("euc_jp"), "日本"),
    "iso-2022-kr": ("한글".encode("iso2022_kr"), "한글"),
    "x-sjis": ("日本①".encode("cp932"), "日本①"),
    "utf-16le": ("hä".encode("utf-16-le"), "hä"),
    "utf-16": ("hello".encode("utf-16-be"), "hello"),
    "utf-32": ("hä".encode("utf-32"), "hä"),
    "cesu-8": (b"\xed\xa0\xbd\xed\xba\xb2", "\U0001f6b2"),
    "base64": ("hä".encode(), "hä"),
    "unicode_escape": (b"\\ud800", "\\ud800"),
    "us-ascii": ("hä".encode("cp1252"), "hä"),
    "utf-8": ("hä".encode("cp1252"), "hä"),
}


@pytest.mark.parametrize("label", CHARSETS)
def test_character_sets_are_decoded(label: str) -> None:
    data, text = CHARSETS[label]

    assert decode(data, label) == text


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Это сообщение имеет неправильную кодировку.", "cp1251"),
        ("Привет, тест", "koi8-r"),
        ("Де моє замовлення?", "koi8-u"),
        ("您好，我想咨询一下订单的情况，谢谢。", "gb18030"),
        ("您好，我想請問訂單的狀況，謝謝。", "big5"),
        ("안녕하세요 주문 문의드립니다", "euc-kr"),
        ("こんにちは、注文について", "euc-jp"),
        ("こんにちは、注文について質問があります", "cp932"),
        ("Schöne Grüße aus Köln: ÄÖÜ!", "cp1252"),
        ("SANTÉ, ÉÉN CRÈME BRÛLÉE", "cp1252"),
        ("“Où êtes-vous?” … – naïveté", "cp1252"),
        ("ÀÉÈ", "cp1252"),
    ],
)
def test_letters_without_a_label_are_those_that_they_look_like(text: str, codec: str) -> None:
    assert decode(text.encode(codec)) == text
    assert decode_words(text.encode(codec).decode("latin-1")) == text


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1252", "Latin1"])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Schöne Grüße, 5 €".encode(), "Schöne Grüße, 5 €"),
        ("Привет".encode(), "Привет"),
        ("naïveté".encode("cp1252"), "naïveté"),
        ("Grüße".encode() + "ü".encode("cp1252"), "GrÃ¼ÃŸeü"),
        ("One ü alone".encode(), "One Ã¼ alone"),
    ],
    ids=["utf-8", "cyrillic", "as labelled", "mixed", "one alone"],
)
def test_latin1_that_is_utf8_throughout_is_utf8(label: str, data: bytes, text: str) -> None:
    assert decode(data, label) == text


@pytest.mark.parametrize(
    "label", ["iso-8859-2", "iso-8859-15", "windows-1251", "koi8-r", "macintosh", "cp850", "cp1256"]
)
def test_any_charset_of_single_bytes_that_is_utf8_throughout_is_utf8(label: str) -> None:
    assert decode("Größe, Übergröße".encode(), label) == "Größe, Übergröße"
    for text in ("Příliš žluťoučký", "Привет, как дела", "Größe", "مرحبا"):
        raw = text.encode(codec_for(label) or "", "ignore")
        assert decode(raw, label) == raw.decode(codec_for(label) or "")


@pytest.mark.parametrize("label", ["big5", "gb2312", "shift_jis", "euc-kr", "utf-16", "cp874"])
def test_charset_of_several_bytes_needs_more_to_be_utf8(label: str) -> None:
    assert decode("您好！你今天好吗？".encode(), label) == "您好！你今天好吗？"
    for text in ("您好", "日本語", "안녕", "สวัสดี"):
        raw = text.encode(codec_for(label) or "", "ignore")
        assert decode(raw, label) == raw.decode(codec_for(label) or "")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b$B-!\x1b(B \x1b$B4]?t;z\x1b(B", "① 丸数字"),
        (b"\x1b$B-j\x1b(B Desk", "㈱ Desk"),
        (b"\x1b$B|bEg\x1b(B", "髙島"),
        (b"\x1b$B-!F|K", "①日K"),
        (b"\x1b$B-!\nF|\x1b(B\nDesk", "①\n日\nDesk"),
        (b"\x1b$B-!F|K\r\nOrder 4711, please\r\n", "①日K\r\nOrder 4711, please\r\n"),
        (b"\x1b$BF|K\\\nHello Desk\nF|K\\-!\n", "日本\nHello Desk\n日本①\n"),
        (b"\x1b(I1234\x1b(B, \x1b$B-!\x1b(B", "ｱｲｳｴ, ①"),
        (b"\x1b$(D0!\x1b(B \x1b$B-!\x1b(B", "丂 ①"),
    ],
    ids=["nec", "company", "ibm", "cut off", "line", "lost", "read on", "katakana", "supplement"],
)
def test_japanese_with_characters_of_windows_is_read(data: bytes, text: str) -> None:
    assert decode(data, "iso-2022-jp") == text
    assert decode(data) == text
    assert decode_words(f"=?iso-2022-jp?B?{b64encode(data).decode()}?=") == text


def test_last_half_of_a_character_is_no_character() -> None:
    assert decode("hi".encode("utf-16") + b"\n", "utf-16") == "hi"
    assert decode("hi".encode("utf-16-le") + b"\n", "utf-16") == "hi"


def test_unknown_labels_have_no_codec() -> None:
    assert codec_for("x-nobody") is None
    assert codec_for("zlib") is None
    assert codec_for('""') == "utf-8"


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (
            "Bob D <bob@a.example> Bobby D <bobby@a.example>",
            [("Bob D", "bob@a.example"), ("Bobby D", "bobby@a.example")],
        ),
        ("Ann <Reed> <ann@a.example>", [("Ann Reed", "ann@a.example")]),
        ("Ann <<ann@a.example>>", [("Ann", "ann@a.example")]),
        ("bo@b.example <ann@a.example>", [("bo@b.example", "ann@a.example")]),
    ],
)
def test_second_angle_is_another_mailbox_or_the_only_one(
    raw: str, found: list[tuple[str, str]]
) -> None:
    assert [(one.name, one.address) for one in parse_addresses(raw)] == found
