"""The fingerprint is frozen: equal for one mail on two roads, different for two mails."""

from __future__ import annotations

import base64
import hashlib
import quopri
import tracemalloc

import pytest
from postroom.api.transport import Spool
from postroom.mail import identity
from postroom.mail.identity import dated, digest_of, fingerprint, weak_key
from postroom.mail.large import Pages

PDF = b"%PDF-1.4 " + bytes(range(256)) * 3
TEXT = "Die Bremse quietscht – schöne Grüße,\r\nAnn 42\r\n"
HEAD = (
    b"From: Ann Reed <ann@customer.example>\r\nTo: help@desk.example\r\n"
    b"Subject: =?utf-8?Q?Bremse_quietscht_=E2=80=93_sch=C3=B6n?=\r\n"
    b"Date: Tue, 03 Mar 2026 09:15:00 +0100\r\nMessage-ID: <m1@customer.example>\r\n"
)


def plain(head: bytes = HEAD, text: str = TEXT) -> bytes:
    return head + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode()


def mixed(
    *,
    head: bytes = HEAD,
    boundary: bytes = b"b1",
    file: bytes = PDF,
    text: str = TEXT,
    width: int = 57,
) -> bytes:
    encoded = b"\r\n".join(
        base64.b64encode(file[at : at + width]) for at in range(0, len(file), width)
    )
    return (
        head
        + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%s"\r\n\r\n' % boundary
        + b"--%s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n"
        % (boundary, text.encode())
        + b"--%s\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
        % boundary
        + b'Content-Disposition: attachment; filename="quote.pdf"\r\n\r\n%s\r\n' % encoded
        + b"--%s--\r\n" % boundary
    )


def test_results_of_version_2_stay_the_same_for_ever() -> None:
    assert (fingerprint(plain()), weak_key(plain())) == (
        "v2:0069a69884:97bdfe029baadd33c055ad7f22a4d100ea89e1026b4d438fe9bd63ca61ed71cc",
        "v1:22c11ee9b1c0f94eeebc5ccb624580cc2922bcdc54555df71610fca7817176f0",
    )
    assert (
        fingerprint(mixed())
        == "v2:0069a69884:5042cb8bac89f0cc3cc812abccac8b6e93a85ed72f767bb957db01ea9f2db080"
    )
    assert (
        fingerprint(b"")
        == "v2:0000000000:fabc833872435cea3f0863489221d2c8681ee3205369a021ae97d0e5b841cfb3"
    )
    assert fingerprint(HEAD + b"\r\n" + b"caf\xe9 \x1b$B!") == (
        "v2:0069a69884:3f6d02fc747d2efc25c70131f717918fbca8fd8a2328eb2e71d46651038c7fe9"
    )


@pytest.mark.parametrize(
    ("date", "second"),
    [
        (b"Tue, 03 Mar 2026 09:15:00 +0100", "0069a69884"),
        (b"31 Dec 1969 23:59:59 +0000", "0000000000"),
        (b"1 Jan 1970 00:00:01 +0000", "0000000001"),
        (b"31 Dec 9999 23:59:59 +0000", "3afff4417f"),
        (b"29 Feb 2023 00:00:00 +0000", "0000000000"),
        (b"yesterday", "0000000000"),
        (b"", "0000000000"),
        (b"9" * 5000, "0000000000"),
    ],
)
def test_a_fingerprint_begins_with_the_second_of_the_date(date: bytes, second: str) -> None:
    raw = HEAD.replace(b"Tue, 03 Mar 2026 09:15:00 +0100", date) + b"\r\nIt squeals."

    found = fingerprint(raw)

    assert found == f"v2:{second}:{digest_of(found)}"
    assert dated(digest_of(found), raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\nIt") == found


def test_a_message_that_cannot_be_taken_apart_has_the_date_of_its_header_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "_MOST_PARTS", 1)
    twice = mixed().replace(b"--b1--\r\n", b"")

    assert fingerprint(twice).startswith("v2:0069a69884:")
    assert digest_of(fingerprint(twice)) != digest_of(fingerprint(mixed()))


@pytest.mark.parametrize(
    ("date", "key"),
    [
        (b"Tue, 03 Mar 2026 09:15:00 +0100", b"1772525700"),
        (b"3 mar 26 09:15 GMT", b"1772529300"),
        (b"Tue, 03 Mar 2026 09:15:60 EST", b"1772547359"),
        (b"31 Dec 1969 23:59:59 +0000", b"-1"),
        (b"29 Feb 2024 00:00:00 +9999", b"1708802460"),
        (b"29 Feb 2023 00:00:00 +0000", b"29feb202300:00:00+0000"),
        (b"1 Jan 2026 24:00:00 +0000", b"1jan202624:00:00+0000"),
        (b"1 Jan 2026 00:60:00 +0000", b"1jan202600:60:00+0000"),
        (b"1 Jan 0000 00:00:00 -9999", b"1jan000000:00:00-9999"),
        (b"1 Jan 0001 00:00:00 +0000", b"-62135596800"),
        (b"1 Jan 0001 00:00:00 +0001", b"1jan000100:00:00+0001"),
        (b"31 Dec 9999 23:59:59 +0000", b"253402300799"),
        (b"31 Dec 9999 23:59:59 -0001", b"31dec999923:59:59-0001"),
    ],
)
def test_what_a_date_comes_to_stays_the_same_for_ever(date: bytes, key: bytes) -> None:
    told = b"\n".join((b"weak", b"m1@customer.example", key, b"ann@customer.example", b"Brakes"))
    raw = (
        b"From: Ann <ann@customer.example>\r\nSubject: Brakes\r\nDate: %b\r\n"
        b"Message-ID: <m1@customer.example>\r\n\r\n" % date
    )

    assert weak_key(raw) == "v1:" + hashlib.sha256(told).hexdigest()


SAME = {
    "transport headers": plain(
        b"Return-Path: <ann@customer.example>\r\nDelivered-To: sales@desk.example\r\n"
        b"Received: from a by b;\r\n\tTue, 03 Mar 2026 09:20:00 +0100\r\n" + HEAD
    ),
    "line ends": plain().replace(b"\r\n", b"\n"),
    "old Macintosh line ends": plain().replace(b"\r\n", b"\r"),
    "order of the header": plain(b"\r\n".join(reversed(HEAD.split(b"\r\n")[:-1])) + b"\r\n"),
    "case of names": plain(HEAD.replace(b"Message-ID", b"message-id").replace(b"From", b"FROM")),
    "name of the sender": plain(HEAD.replace(b"Ann Reed ", b'"Reed, Ann" ')),
    "folding": plain(HEAD.replace(b"09:15", b"\r\n 09:15").replace(b": <m1", b":\r\n <m1")),
    "zone of the date": plain(HEAD.replace(b"09:15:00 +0100", b"08:15:00 +0000 (UTC)")),
    "encoding of the subject": plain(
        HEAD.replace(
            b"=?utf-8?Q?Bremse_quietscht_=E2=80=93_sch=C3=B6n?=",
            "Bremse quietscht – schön".encode(),
        )
    ),
    "words of the subject": plain(
        HEAD.replace(
            b"=?utf-8?Q?Bremse_quietscht_=E2=80=93_sch=C3=B6n?=",
            b"=?utf-8?B?QnJlbXNlIHF1aWV0c2NodCDi?=\r\n =?utf-8?B?gJMgc2Now7Zu?=",
        )
    ),
    "transfer encoding of the text": HEAD
    + b"Content-Transfer-Encoding: base64\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    + base64.encodebytes(TEXT.encode()),
    "character set of the text": HEAD
    + b"Content-Transfer-Encoding: quoted-printable\r\n"
    + b'Content-Type: text/plain; charset="Windows-1252"\r\n\r\n'
    + quopri.encodestring(TEXT.encode("cp1252")),
    "wrapping of the text": plain(text=TEXT.replace("quietscht – ", "quietscht –\r\n\r\n")),
}


@pytest.mark.parametrize("what", SAME)
def test_the_same_mail_has_one_fingerprint_whatever_its_road(what: str) -> None:
    assert fingerprint(SAME[what]) == fingerprint(plain())
    assert weak_key(SAME[what]) == weak_key(plain())


def test_rebuilt_parts_do_not_count() -> None:
    expected = fingerprint(mixed())

    assert fingerprint(mixed(boundary=b"other")) == expected
    assert fingerprint(mixed(width=54)) == expected
    assert fingerprint(mixed().replace(b"\r\n", b"\n")) == expected
    wrapped = mixed().replace(
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n",
        b"Content-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n",
    )
    wrapped = wrapped.replace(
        b"\r\n--b1\r\nContent-Type: app", b"\r\n--in--\r\n--b1\r\nContent-Type: app"
    )
    assert fingerprint(wrapped) == expected


def with_part(kind: bytes, encoding: bytes, content: bytes) -> bytes:
    return (
        HEAD
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nText\r\n--b\r\n"
        + b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: "
        + encoding + b"\r\n\r\n" + content + b"\r\n--b--\r\n"
    )  # fmt: skip


def test_a_text_file_is_the_same_in_any_transfer_encoding() -> None:
    def with_file(encoding: bytes, content: bytes) -> bytes:
        return with_part(b"text/csv; name=a.csv", encoding, content)

    content = b"a;b=c\r\n1;2\r\n"

    keys = {
        fingerprint(with_file(b"7bit", content)),
        fingerprint(with_file(b"7bit", content).replace(b"\r\n", b"\n")),
        fingerprint(with_file(b"base64", base64.encodebytes(content))),
        fingerprint(with_file(b"quoted-printable", content.replace(b"=", b"=3D"))),
    }

    assert len(keys) == 1


def with_base64(lines: bytes, encoding: bytes = b"base64") -> bytes:
    return with_part(b"application/pdf", encoding, lines)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 1_200_000, 1_200_001, 3_000_002])
def test_a_file_is_the_same_in_any_transfer_encoding(size: int) -> None:
    content = (bytes(range(32, 256)) * (size // 224 + 1))[:size]
    one_line = base64.b64encode(content)

    keys = {
        fingerprint(with_base64(content, b"binary")),
        fingerprint(with_base64(one_line)),
        fingerprint(with_base64(base64.encodebytes(content))),
        fingerprint(with_base64(b"\r\n \t".join([one_line[:2], one_line[2:], b"\n" * 2_000_000]))),
    }

    assert len(keys) == 1
    assert fingerprint(with_base64(base64.b64encode(content + b"!"))) not in keys


DAMAGED = (b"QUJDREVG=", b"QUJD=REVG", b"QUJDREV", b"QUJDRE==QUJD", b"QUJD*REVG", b"====", b"=")


@pytest.mark.parametrize("before", [b"", b"QUJD" * 300_000], ids=["short", "long"])
def test_damaged_base64_counts_as_it_stands(before: bytes) -> None:
    keys = [
        fingerprint(with_base64(before + damage + after))
        for damage in (*DAMAGED, b"QUJDREVG", b"QUJDREV*")
        for after in (b"", b"QUJD")
        if damage != b"QUJDREVG" or not after
    ]

    assert len(set(keys)) == len(keys)
    for damage in DAMAGED:
        spaced = b"\r\n".join((before, damage[:2], damage[2:], b""))
        assert fingerprint(with_base64(spaced)) == fingerprint(with_base64(before + damage))


OTHER = {
    "text": plain(text=TEXT.replace("42", "43")),
    "subject": plain(HEAD.replace(b"Bremse_", b"Lampe_")),
    "sender": plain(HEAD.replace(b"ann@", b"bob@")),
    "date": plain(HEAD.replace(b"09:15:00", b"09:15:01")),
    "id": plain(HEAD.replace(b"<m1@", b"<m2@")),
    "file": mixed(),
    "another file": mixed(file=PDF + b"!"),
    "another text before a file": mixed(text="Other.\r\n"),
    "HTML": HEAD + b"Content-Type: text/html\r\n\r\n<p>One</p>",
    "another HTML": HEAD + b"Content-Type: text/html\r\n\r\n<p>Two</p>",
    "no empty line": HEAD + b"This is the text.\r\n",
    "no empty line, another text": HEAD + b"This is another text.\r\n",
    "boundary missing": HEAD + b"Content-Type: multipart/mixed\r\n\r\none",
    "boundary missing, another text": HEAD + b"Content-Type: multipart/mixed\r\n\r\ntwo",
    "no header": b"One line.\r\n\r\nThe end.\r\n",
    "no header, another text": b"Another line.\r\n\r\nThe end.\r\n",
}


def test_other_content_with_the_same_id_has_another_fingerprint() -> None:
    keys = {fingerprint(raw) for raw in [plain(), *OTHER.values()]}

    assert len(keys) == 1 + len(OTHER)


LONG = TEXT.replace("\r\n", "=\n\n").encode() * 60_000  # 3 MB


def long_text(encoding: bytes, coded: bytes, *, kind: bytes = b"text/plain") -> bytes:
    return (
        HEAD
        + b"Content-Type: "
        + kind + b"; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + coded
    )  # fmt: skip


@pytest.mark.parametrize("kind", [b"text/plain", b"text/html", b"text/csv"])
def test_a_long_text_is_the_same_in_any_transfer_encoding(kind: bytes) -> None:
    quoted = quopri.encodestring(LONG)
    on_the_wire = LONG.replace(b"\n", b"\r\n")

    keys = {
        fingerprint(long_text(b"8bit", LONG, kind=kind)),
        fingerprint(long_text(b"8bit", on_the_wire + b"\r\n" * 2_000_000, kind=kind)),
        fingerprint(long_text(b"quoted-printable", quoted, kind=kind)),
        fingerprint(long_text(b"quoted-printable", quoted.replace(b"=\n", b""), kind=kind)),
        fingerprint(long_text(b"base64", base64.encodebytes(LONG), kind=kind)),
        fingerprint(long_text(b"base64", base64.b64encode(on_the_wire), kind=kind)),
    }

    assert len(keys) == 1
    assert fingerprint(long_text(b"8bit", LONG + b"!", kind=kind)) not in keys


def test_a_text_counts_by_its_letters_up_to_2_mib_as_it_came() -> None:
    letters = b"a b" * (identity._LONGEST_TEXT // 3)
    space = identity._LONGEST_TEXT - len(letters)

    at_most = fingerprint(long_text(b"8bit", letters + b" " * space))

    assert at_most == fingerprint(long_text(b"8bit", letters.replace(b"a b", b"ab")))
    assert at_most != fingerprint(long_text(b"8bit", letters + b" " * (space + 1)))


LARGE = {
    "plain": long_text(b"8bit", LONG * 4),
    "quoted": long_text(b"quoted-printable", quopri.encodestring(LONG).replace(b"=\n", b"") * 4),
    "base64": long_text(b"base64", base64.b64encode(LONG * 4)),
    "page": long_text(b"8bit", LONG * 4, kind=b"text/html"),
    "blank lines": long_text(b"8bit", b"\n" * 12_000_000 + b"x"),
    "one line without a line end": b"x" * 12_000_000,
    "too many parts": HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\n\r\nx\r\n" * 3_000
    + LONG * 4,
}


@pytest.mark.parametrize("raw", LARGE.values(), ids=LARGE)
def test_a_large_message_is_not_held_whole(raw: bytes) -> None:
    spool = Spool()
    spool.write(raw)

    tracemalloc.start()
    try:
        key = fingerprint(Pages(spool))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        spool.close()

    assert key == fingerprint(raw)
    assert peak < 9_000_000


def test_too_many_parts_fall_back_to_the_bytes() -> None:
    head = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    one = head + b"--b\r\n\r\nx\r\n" * 5_000
    two = head + b"--b\r\n\r\nx\r\n" * 5_001

    assert fingerprint(one) == fingerprint(one.replace(b"\r\n", b"\n"))
    assert fingerprint(one) != fingerprint(two)


def test_parts_without_end_are_not_all_listed_first() -> None:
    raw = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\n" * 250_000

    tracemalloc.start()
    try:
        fingerprint(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5 * len(raw)


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"\x00", b"\r", b":", b"From:\n\n", b"--", b"\xff" * 9]
)
def test_never_raises(raw: bytes) -> None:
    assert len(fingerprint(raw)) == 3 + 11 + 64
    assert len(weak_key(raw)) == 3 + 64
