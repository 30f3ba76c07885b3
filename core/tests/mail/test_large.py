"""A large message comes to the same whether it is read from its file or whole."""

from __future__ import annotations

import base64
import errno
import hashlib
import quopri
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest
from postroom.api.transport import Spool
from postroom.mail import identity, large, ondisk, search
from postroom.mail.body import bodies, content
from postroom.mail.decoding import runs
from postroom.mail.identity import fingerprint
from postroom.mail.message import ParsedMessage
from postroom.mail.parsing import parse
from postroom_test_servers.attached import lines, octets

HEAD = (
    b"From: ann@customer.example\r\nTo: info@desk.example\r\nSubject: Plans\r\n"
    b"Date: Tue, 03 Mar 2026 09:15:00 +0100\r\nMessage-ID: <large@customer.example>\r\n"
    b"MIME-Version: 1.0\r\n"
)
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n\r\nHere are the plans.\r\n-- \r\nAnn"
FILE = b'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="a.pdf"\r\n'
CODED = b"Content-Transfer-Encoding: base64\r\n"
QUOTED = b"Content-Transfer-Encoding: quoted-printable\r\n"


def mixed(*parts: bytes, boundary: bytes = b"=_large") -> bytes:
    head = b'Content-Type: multipart/mixed; boundary="%s"\r\n\r\n' % boundary
    inner = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return head + inner + b"--" + boundary + b"--\r\n"


def with_file(coding: bytes, *, kind: bytes = FILE) -> bytes:
    return HEAD + mixed(TEXT, kind + CODED + b"\r\n" + coding)


def signed(content: bytes) -> bytes:
    """CMS signed data (RFC 5652) with the content inside, as far as it is read."""
    algorithms, data = b"\x02\x01\x01\x31\x00", element(0x04, content)
    inner = element(0x30, bytes.fromhex("06092a864886f70d010701") + element(0xA0, data))
    outer = element(0xA0, element(0x30, algorithms + inner))
    return element(0x30, bytes.fromhex("06092a864886f70d010702") + outer)


def element(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x83]) + len(content).to_bytes(3, "big") + content


FORWARDED = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n"
INNER = with_file(lines(octets(40_000, 3))).replace(b"=_large", b"=_inner")
IN_PIECES = {
    "base64": with_file(lines(octets(50_000))),
    "short last line": with_file(lines(octets(50_001))),
    "short lines": with_file(lines(octets(50_000), width=60)),
    "Unix line ends": with_file(lines(octets(50_000), end=b"\n")).replace(b"\r\n", b"\n"),
    "two files": HEAD
    + mixed(
        TEXT,
        FILE + CODED + b"\r\n" + lines(octets(50_000)),
        FILE + CODED + b"\r\n" + lines(octets(70_000, 2)),
    ),
    "the same file twice": HEAD
    + mixed(TEXT, *[FILE + CODED + b"\r\n" + lines(octets(50_000))] * 2),
    "nothing but a file": HEAD + FILE + CODED + b"\r\n" + lines(octets(50_000)),
    "a forwarded message": HEAD + mixed(TEXT, FORWARDED + b"\r\n" + INNER),
    "a forwarded message, quoted-printable": HEAD
    + mixed(
        TEXT,
        FORWARDED
        + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        + INNER.replace(b"=", b"=3D"),
    ),
    "labelled as no encoding": with_file(lines(octets(50_000))).replace(CODED, b""),
    "foreign characters at the end": with_file(lines(octets(50_000)) + b"!!** AAAA\r\n"),
    "foot of a list": with_file(
        lines(octets(50_000)) + b"____________\r\nLamps mailing list\r\nlamps@lists.example\r\n"
    ),
    "foot in words": with_file(lines(octets(50_000)) + b"\r\nScanned by Lamp and Bell\r\n"),
    "as many foreign characters as lines": with_file(
        lines(octets(57 * 500), end=b"\n") + b"!" * 501 + b"AAAA\n"
    ),
    "glued after padding": with_file(lines(octets(50_000)) + lines(octets(100)) + lines(b"x" * 10)),
    "odd lines": with_file(lines(octets(50_000), width=75)),
    "one line": with_file(base64.b64encode(octets(50_000))),
    "one line without padding": with_file(base64.b64encode(octets(50_000)).rstrip(b"=")),
    "padding without end": with_file(lines(octets(20_000)) + b"=" * 110_000 + lines(octets(9_000))),
    "foreign characters at the beginning": with_file(b"!*" + lines(octets(50_000))),
    "blanks between the lines": with_file(lines(octets(50_000)).replace(b"\r", b" \r")),
    "no base64": with_file(b"This is a long text, and no base 64.\r\n" * 1_000),
    "a delimiter that lost its end": with_file(
        lines(octets(30_000)) + b"--=_lar\r\n" + lines(octets(9_000))
    ),
    "an unknown encoding": with_file(octets(50_000)).replace(CODED, CODED.replace(b"64", b"65")),
    "quoted-printable": with_file(quopri.encodestring(octets(20_000))).replace(CODED, QUOTED),
    "quoted-printable in one line": with_file(
        quopri.encodestring(octets(20_000)).replace(b"=\n", b"")
    ).replace(CODED, QUOTED),
    "quoted-printable with doubled returns": with_file(
        b"Plans; more=3B\r\r\nplans =\r\r\n" * 1_000
    ).replace(CODED, QUOTED),
    "binary": with_file(octets(50_000)).replace(CODED, b""),
    "a text file": with_file(
        lines(octets(50_000)), kind=b"Content-Type: text/csv\r\nContent-Disposition: inline\r\n"
    ),
    "encrypted": HEAD
    + b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n'
    + CODED
    + b"\r\n"
    + lines(octets(50_000)),
    "a multipart without parts": HEAD
    + b"Content-Type: multipart/mixed; boundary=missing\r\n\r\n"
    + lines(octets(1_200_000)),
    "a multipart with another boundary": (
        HEAD + mixed(TEXT, FILE + b"\r\n" + octets(30_000))
    ).replace(b"boundary=", b"boundary=other"),
    "blank lines in a multipart": HEAD
    + b"Content-Type: multipart/mixed; boundary=missing\r\n\r\n"
    + b"--\r\n" * 30_000,
}
LOOKED_INTO = {
    "a text in base64": HEAD + CODED + b"\r\n" + lines(b"Plans and more plans.\n" * 3_000),
    "a text that looks like base64": HEAD + mixed(TEXT, b"\r\n" + lines(octets(50_000))),
    "a winmail.dat": with_file(
        lines(octets(50_000)), kind=b'Content-Type: application/ms-tnef; name="winmail.dat"\r\n'
    ),
    "a signed mail inside its signature": HEAD
    + b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
    + CODED
    + b"\r\n"
    + lines(signed(INNER)),
    "old Macintosh line ends": with_file(lines(octets(50_000))).replace(b"\r\n", b"\r"),
    "no header": lines(octets(50_000)),
    "only a header": b"Subject: " + b"x" * 50_000,
}
TEXTS = {
    f"{kind} {name}": HEAD + b"Content-Type: text/%s; charset=utf-8\r\n" % kind.encode() + coded
    for kind, text in {
        "plain": "Größere Pläne, and more of them.\r\n" * 1_500,
        "html": "<p>Größere Pläne</p>\r\n" * 2_000 + "<img src='data:image/png;base64,"
        + "QUJD" * 9_000 + "'>" + "<p>More</p>\r\n" * 500,
    }.items()
    for name, coded in {
        "as it is": b"\r\n" + text.encode(),
        "in one line": b"\r\n" + text.replace("\r\n", "").replace(" ", "").encode(),
        "quoted-printable": QUOTED + b"\r\n" + quopri.encodestring(text.encode()),
        "base64": CODED + b"\r\n" + base64.encodebytes(text.encode()),
        "base64 in one line": CODED + b"\r\n" + base64.b64encode(text.encode()),
        "base64 with dirt": CODED + b"\r\n" + b"!" + base64.encodebytes(text.encode()),
        "labelled as base64": CODED + b"\r\n" + text.encode(),
    }.items()
}  # fmt: skip
TEXTS["blank lines"] = HEAD + b"\r\n" * 30_000
TEXTS["many texts"] = HEAD + mixed(*[TEXT + b" and more plans" * 100] * 30)
TEXTS["text files"] = HEAD + mixed(TEXT, *[TEXT.replace(b"plain", b"csv") + b" plans" * 600] * 9)
TEXTS["a file inside the text"] = (
    HEAD
    + b"\r\n"
    + b"Plans. \r\n" * 3_000
    + b"begin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\n"
    + b"!\r\n" * 9_000
)
TEXTS["the only text is a file"] = (
    with_file(
        b"Plans;plans\r\n" * 4_000,
        kind=b"Content-Type: text/csv\r\nContent-Disposition: inline\r\n",
    )
    .replace(CODED, b"")
    .replace(TEXT, b"\r\n")
)


EVERYTHING = {**IN_PIECES, **LOOKED_INTO, **TEXTS}


@pytest.fixture(autouse=True)
def _low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "WHOLE", 4_000)
    monkeypatch.setattr(content, "HELD", 2_000)
    monkeypatch.setattr(bodies, "_HELD_IN_ALL", 4_000)
    monkeypatch.setattr(large.parsing, "_NEAR", 1_000)
    monkeypatch.setattr(large.parsing, "_REPORT_BYTES", 1_000)
    monkeypatch.setattr(ondisk, "_WINDOW", 1_500)
    monkeypatch.setattr(ondisk, "_FIRST_PIECE", 300)
    monkeypatch.setattr(ondisk, "_PIECE", 4_000)
    monkeypatch.setattr(search, "_PIECE", 1_000)
    monkeypatch.setattr(search, "_FIRST_PIECE", 100)
    monkeypatch.setattr(identity, "_CHUNK", 1_000)
    monkeypatch.setattr(runs, "PIECE", 1_000)
    monkeypatch.setattr(runs, "NEAR", 3_000)


def _real_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()


def spooled(raw: bytes) -> Spool:
    spool = Spool()
    spool.write(raw)
    return spool


def understood(raw: bytes) -> tuple[ParsedMessage, str]:
    spool = spooled(raw)
    try:
        return large.parse(spool), large.fingerprint(spool)
    finally:
        spool.close()


def without_content(message: ParsedMessage) -> ParsedMessage:
    return replace(
        message, attachments=tuple(replace(one, content=b"") for one in message.attachments)
    )


@pytest.mark.parametrize("raw", EVERYTHING.values(), ids=EVERYTHING)
def test_large_message_comes_to_the_same_as_its_bytes(raw: bytes) -> None:
    parsed, key = understood(raw)

    assert without_content(parsed) == without_content(parse(raw))
    assert key == fingerprint(raw)


@pytest.mark.parametrize("raw", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.parametrize("longest", [0, 1_000, 5_003])
def test_text_is_cut_at_the_same_place(
    raw: bytes, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LONGEST_TEXT", longest)
    monkeypatch.setattr(identity, "_LONGEST_TEXT", longest)

    parsed, key = understood(raw)

    assert without_content(parsed) == without_content(parse(raw))
    assert key == fingerprint(raw)
    assert len(parsed.text) <= longest


@pytest.mark.parametrize("raw", IN_PIECES.values(), ids=IN_PIECES)
def test_no_large_part_is_read_whole(raw: bytes) -> None:
    spool = spooled(raw)
    pages = Counting(spool)
    large.parse(pages)
    spool.close()

    assert pages.largest < 5_000


def test_digest_and_size_are_those_of_the_file() -> None:
    data = octets(123_457)

    parsed, _ = understood(with_file(lines(data)))

    (found,) = parsed.attachments
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_digest_of_the_message_is_that_of_its_bytes_in_whatever_order_they_are_read() -> None:
    rng = random.Random(7)
    raw = octets(20_000)
    spool = spooled(raw)
    for _ in range(100):
        pages = large.Pages(spool)
        for _ in range(rng.randint(0, 30)):
            start = rng.randrange(len(raw))
            length = rng.choice((0, 1, 500, 9_000))
            assert pages[start : start + length] == raw[start : start + length]
            assert pages[: start // 40] == raw[: start // 40]
        assert pages.sha256 == hashlib.sha256(raw).hexdigest()
    pages = large.Pages(spool)
    assert (pages[-10:], pages[:-9]) == (raw[-10:], raw[:-9])  # the end is not read again
    assert pages.sha256 == hashlib.sha256(raw).hexdigest()
    spool.close()


class Counting(large.Pages):
    """Counts the bytes that are read."""

    def __init__(self, file: Spool) -> None:
        super().__init__(file)
        self.read = 0
        self.largest = 0

    def _load(self, start: int, stop: int) -> bytes:
        piece = super()._load(start, stop)
        self.read += len(piece)
        self.largest = max(self.largest, len(piece))
        return piece


def test_digest_of_the_message_is_made_of_what_is_read_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _real_limits(monkeypatch)
    spool = spooled(with_file(lines(octets(3_000_000))))
    pages = Counting(spool)
    large.parse(pages)
    before = pages.read

    assert pages.sha256 == spool.sha256
    assert pages.read - before <= runs.NEAR
    spool.close()


@pytest.mark.parametrize("longest", [1_000, 20_000])
def test_generated_messages_come_to_the_same(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LONGEST_TEXT", longest)
    monkeypatch.setattr(identity, "_LONGEST_TEXT", longest)
    for seed in range(150):
        raw = generated(random.Random(seed))

        parsed, key = understood(raw)

        assert without_content(parsed) == without_content(parse(raw)), seed
        assert key == fingerprint(raw), seed


def generated(rng: random.Random) -> bytes:
    """A message of files and texts, with something broken in it."""
    parts = [TEXT]
    for number in range(rng.randint(1, 3)):
        parts.append(rng.choice((_file, _file, _text))(rng, number))
    raw = bytearray(HEAD + mixed(*parts))
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(raw))
        raw[place : place + rng.randint(0, 40)] = rng.choice(
            (b"", b"\n", b"\r\n\r\n", b"--", b"\r\n--=_large\r\n", b"=", b"!", b" ", b"\x00\xff")
        )
    return bytes(raw)


def _file(rng: random.Random, number: int) -> bytes:
    coding = lines(
        octets(rng.randint(10, 30_000), number),
        width=rng.choice((60, 64, 72, 75, 76, 76, 76, 40_000)),
        end=rng.choice((b"\r\n", b"\r\n", b"\n")),
    )
    kind = rng.choice((FILE, FORWARDED, b"Content-Type: image/png\r\n", b""))
    return kind + rng.choice((CODED, CODED, b"")) + b"\r\n" + coding


def _text(rng: random.Random, _number: int) -> bytes:
    words = (
        "Größere",
        "Pläne",
        "=",
        "\r\n",
        "\n",
        "<br>",
        "<p>",
        "x" * 500,
        "--",
        "計画\U0001f600",
    )
    text = " ".join(rng.choices(words, k=rng.randint(10, 5_000))).encode()
    kind = b"Content-Type: text/%s; charset=utf-8\r\n" % rng.choice((b"plain", b"html", b"csv"))
    named = rng.choice((b"", b"", b"Content-Disposition: attachment; filename=a.txt\r\n"))
    coding, coded = rng.choice(
        (
            (b"", text),
            (CODED, base64.b64encode(text)),
            (CODED, base64.encodebytes(text)),
            (QUOTED, quopri.encodestring(text)),
            (QUOTED, text),
        )
    )
    return kind + named + coding + b"\r\n" + coded


@pytest.mark.parametrize("line", [b"--\n", b"--=_largest\n", b"a-b\n"])
def test_many_hyphens_do_not_make_it_read_the_file_over_and_over(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _real_limits(monkeypatch)
    raw = HEAD + mixed(TEXT, b"\r\n" + line * (2_000_000 // len(line)))
    spool = spooled(raw)
    pages = Counting(spool)
    try:
        large.parse(pages)
        assert pages.read < 8 * len(raw)
        assert large.fingerprint(pages) == fingerprint(raw)
        assert pages.read < 2_000 * raw.count(b"\n")  # not a megabyte for each line
    finally:
        spool.close()


class Broken(large.Pages):
    """Cannot be read any more after some time."""

    left = 0

    def _load(self, start: int, stop: int) -> bytes:
        if not self.left:
            raise OSError(errno.EIO, "the disk is broken")
        self.left -= 1
        return super()._load(start, stop)


@pytest.mark.parametrize("read", [large.parse, large.fingerprint, identity.weak_key])
@pytest.mark.parametrize("name", ["base64", "a text file", "plain as it is", "html base64"])
def test_a_file_that_cannot_be_read_is_no_fault_of_the_message(
    name: str, read: Callable[[large.Pages], object]
) -> None:
    spool = spooled(EVERYTHING[name])
    expected = read(large.Pages(spool))
    tries = 0
    while True:
        pages = Broken(spool)
        pages.left = tries
        try:
            found = read(pages)
        except OSError:
            tries += 1
        else:
            break
    spool.close()

    assert tries > 0
    assert found == expected


def test_find_in_a_file_finds_what_bytes_find_finds() -> None:
    rng = random.Random(5)
    raw = bytes(rng.choices(b"ab-\n", k=30_000))
    spool = spooled(raw)
    try:
        pages = large.Pages(spool)
        for _ in range(3_000):
            start, end = rng.randrange(len(raw)), rng.randrange(len(raw))
            sub = raw[start : start + rng.randint(1, 12)]
            for begin in (0, start, end):
                assert pages.find(sub, begin, end) == raw.find(sub, begin, end)
    finally:
        spool.close()


LONG = "Größere Pläne, and more of them.\r\n".encode() * 400_000  # 14 MB
PAGE = b"<p>%s and more</p>\r\n" % LONG[:600] * 20_000
HUGE = {
    "file": lambda: with_file(lines(octets(12_000_000))),
    "file in one line": lambda: with_file(base64.b64encode(octets(12_000_000))),
    "file with dirt": lambda: with_file(b"!" + base64.encodebytes(octets(12_000_000))),
    "file as it is": lambda: with_file(
        LONG, kind=b"Content-Type: text/csv; name=a.csv\r\n"
    ).replace(CODED, b""),
    "quoted-printable file": lambda: with_file(
        quopri.encodestring(LONG), kind=b"Content-Type: text/csv; name=a.csv\r\n"
    ).replace(CODED, QUOTED),
    "forwarded message": lambda: HEAD + mixed(TEXT, FORWARDED + b"\r\n" + HEAD + b"\r\n" + LONG),
    "encrypted": lambda: (
        HEAD
        + b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n'
        + CODED
        + b"\r\n"
        + lines(octets(12_000_000))
    ),
    "text": lambda: HEAD + b"\r\n" + LONG,
    "text in base64": lambda: HEAD + CODED + b"\r\n" + base64.encodebytes(LONG),
    "text in one line of base64": lambda: HEAD + CODED + b"\r\n" + base64.b64encode(LONG),
    "quoted-printable text": lambda: HEAD + QUOTED + b"\r\n" + quopri.encodestring(LONG),
    "one line": lambda: HEAD + b"\r\n" + b"x" * 12_000_000,
    "many texts": lambda: HEAD + mixed(*[TEXT + LONG[:1_000_000]] * 12),
    "page": lambda: HEAD + b"Content-Type: text/html; charset=utf-8\r\n\r\n" + PAGE,
    "header": lambda: HEAD + b"X-Long: " + b"x" * 12_000_000 + b"\r\n\r\nHere are the plans.",
    "blank lines first": lambda: b"\r\n" * 6_000_000 + HEAD + b"\r\nHere are the plans.",
    "header of many lines": lambda: (
        HEAD + b"X-Many: x\r\n" * 1_200_000 + b"\r\nHere are the plans."
    ),
    "parts not marked as declared": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=missing\r\n\r\n" + LONG
    ),
}


@pytest.mark.parametrize("kind", HUGE)
def test_memory_stays_flat(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _real_limits(monkeypatch)
    raw = HUGE[kind]()
    spool = spooled(raw)

    tracemalloc.start()
    try:
        parsed, key = large.parse(spool), large.fingerprint(spool)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        spool.close()

    assert peak < 14_000_000
    assert without_content(parsed) == without_content(parse(raw))
    assert key == fingerprint(raw)


@pytest.mark.parametrize(
    ("raw", "begins"),
    [
        (HEAD + b"\r\n" + LONG, "Größere Pläne, and more of them.\nGrößere"),
        (
            HEAD + b"Content-Type: text/html; charset=utf-8\r\n\r\n" + PAGE,
            "Größere Pläne, and more of them. Größere",
        ),
    ],
    ids=["text", "page"],
)
def test_a_text_that_is_cut_says_so(raw: bytes, begins: str) -> None:
    message = parse(raw)

    assert message.problems == (bodies._TOO_LONG,)
    assert message.text.startswith(begins)
    assert message.text.rstrip().endswith(("of them.", "and more"))
    assert 100_000 < len(message.text) <= bodies.LONGEST_TEXT


def test_text_behind_a_large_picture_is_read() -> None:
    picture = b"<img src='data:image/png;base64," + base64.b64encode(octets(3_000_000)) + b"'>"
    kind = b"Content-Type: text/html\r\n\r\n"

    message = parse(HEAD + kind + b"<p>Before</p>" + picture + b"<p>After</p>")

    assert message.text == "Before\n\nAfter"
    assert message.problems == (bodies._NO_PICTURES,)
    assert message.html_original == "<p>Before</p><img src='data:image/png;base64,'><p>After</p>"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "shift_jis", "gb18030"])
@pytest.mark.parametrize("space", ["", "\n"])
def test_a_text_is_not_cut_within_a_character(
    encoding: str, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"計画を送ります。{space}" * 200
    head = HEAD + b"Content-Type: text/plain; charset=%s\r\n" % encoding.encode()
    raw = head + CODED + b"\r\n" + base64.b64encode(text.encode(encoding))

    for size in range(1_000, 1_010):
        monkeypatch.setattr(bodies, "LONGEST_TEXT", size)
        assert text.startswith(parse(raw).text)
