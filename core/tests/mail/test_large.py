"""A large message comes to the same whether it is read from its file or whole."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from postroom.api.transport import Spool
from postroom.mail import large, runs
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
CUT = {
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
    "as many foreign characters as lines": with_file(
        lines(octets(57 * 500), end=b"\n") + b"!" * 501 + b"AAAA\n"
    ),
    "glued after padding": with_file(lines(octets(50_000)) + lines(octets(100)) + lines(b"x" * 10)),
}
WHOLE = {
    "a text in base64": HEAD + CODED + b"\r\n" + lines(b"Plans and more plans.\n" * 3_000),
    "a text that looks like base64": HEAD + mixed(TEXT, b"\r\n" + lines(octets(50_000))),
    "a text file": with_file(
        lines(octets(50_000)), kind=b"Content-Type: text/csv\r\nContent-Disposition: inline\r\n"
    ),
    "a winmail.dat": with_file(
        lines(octets(50_000)), kind=b'Content-Type: application/ms-tnef; name="winmail.dat"\r\n'
    ),
    "a signed mail inside its signature": HEAD
    + b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
    + CODED
    + b"\r\n"
    + lines(signed(INNER)),
    "a multipart without parts": HEAD
    + b"Content-Type: multipart/mixed; boundary=missing\r\n\r\n"
    + lines(octets(50_000)),
    "binary": with_file(octets(50_000)).replace(CODED, b""),
    "odd lines": with_file(lines(octets(50_000), width=75)),
    "old Macintosh line ends": with_file(lines(octets(50_000))).replace(b"\r\n", b"\r"),
    "no header": lines(octets(50_000)),
    "only a header": b"Subject: " + b"x" * 50_000,
    "blank lines": HEAD + b"\r\n" * 30_000,
}


@pytest.fixture(autouse=True)
def _low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "CUT_ABOVE", 4_000)
    monkeypatch.setattr(large, "_KEPT", 2_000)
    monkeypatch.setattr(large, "_PIECE", 1_000)
    monkeypatch.setattr(runs, "PIECE", 1_000)
    monkeypatch.setattr(runs, "NEAR", 3_000)


def _real_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()


@pytest.fixture
def read_whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of what the reader was given."""
    sizes: list[int] = []

    def noting(raw: bytes) -> ParsedMessage:
        sizes.append(len(raw))
        return parse(raw)

    monkeypatch.setattr(large.parsing, "parse", noting)
    return sizes


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


@pytest.mark.parametrize("raw", [*CUT.values(), *WHOLE.values()], ids=[*CUT, *WHOLE])
def test_large_message_comes_to_the_same_as_its_bytes(raw: bytes) -> None:
    parsed, key = understood(raw)

    assert without_content(parsed) == without_content(parse(raw))
    assert key == fingerprint(raw)


@pytest.mark.parametrize("raw", CUT.values(), ids=CUT)
def test_reader_does_not_get_what_is_cut(raw: bytes, read_whole: list[int]) -> None:
    understood(raw)

    assert len(read_whole) == 1
    assert read_whole[0] < len(raw) / 2


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
    spool.close()


class Counting(large.Pages):
    """Counts the bytes that are read."""

    def __init__(self, file: Spool) -> None:
        super().__init__(file)
        self.read = 0

    def __getitem__(self, key: slice, /) -> bytes:
        piece = super().__getitem__(key)
        self.read += len(piece)
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


def test_generated_messages_come_to_the_same() -> None:
    for seed in range(150):
        raw = generated(random.Random(seed))

        parsed, key = understood(raw)

        assert without_content(parsed) == without_content(parse(raw)), seed
        assert key == fingerprint(raw), seed


def generated(rng: random.Random) -> bytes:
    """A message of files and texts, with something broken in it."""
    parts = [TEXT]
    for number in range(rng.randint(1, 3)):
        coding = lines(
            octets(rng.randint(10, 30_000), number),
            width=rng.choice((60, 64, 72, 75, 76, 76, 76)),
            end=rng.choice((b"\r\n", b"\r\n", b"\n")),
        )
        kind = rng.choice((FILE, FORWARDED, b"Content-Type: image/png\r\n", b""))
        parts.append(kind + rng.choice((CODED, CODED, b"")) + b"\r\n" + coding)
    raw = bytearray(HEAD + mixed(*parts))
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(raw))
        raw[place : place + rng.randint(0, 40)] = rng.choice(
            (b"", b"\n", b"\r\n\r\n", b"--", b"\r\n--=_large\r\n", b"=", b"!", b" ", b"\x00\xff")
        )
    return bytes(raw)


@pytest.mark.parametrize("line", [b"--\n", b"--=_largest\n", b"a-b\n"])
def test_many_hyphens_do_not_make_it_read_the_file_over_and_over(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _real_limits(monkeypatch)
    raw = HEAD + mixed(TEXT, b"\r\n" + line * (2_000_000 // len(line)))
    spool = spooled(raw)
    pages = Counting(spool)
    try:
        list(large._cuts(pages))
        assert pages.read < 3 * len(raw)
        assert large.fingerprint(pages) == fingerprint(raw)
        assert pages.read < 2_000 * raw.count(b"\n")  # not a megabyte for each line
    finally:
        spool.close()


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


def test_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    _real_limits(monkeypatch)
    spool = spooled(with_file(lines(octets(12_000_000))))

    tracemalloc.start()
    try:
        large.parse(spool)
        large.fingerprint(spool)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        spool.close()

    assert peak < 8_000_000
