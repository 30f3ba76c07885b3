"""Mail to measure with: the same bytes for the same number, on every machine.

`small`: text mails of 3 KB. `mix`: 70 % small, 20 % multipart/alternative of 10-40 KB, 8 % with
100-500 KB and 2 % with 2-5 MB of attachment. Every tenth mail of either answers an earlier one.
"""

from __future__ import annotations

import base64
import quopri
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

SUPPORT = "info@desk.example"
_BEGIN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
_SMALL_BYTES = 3_000
_MAILS_A_PERSON = 4
_GIVEN = "Ann Ben Chloé Dörte Emil Fatima Greta Hiro Ines Jörg Kim Lena Mia Noor Ole Pia".split()
_FAMILY = "Reed Sørensen Müller Okafor Tanaka Novák Rossi García Young Dubois Kaya Lind".split()
_WORDS = (
    "the order arrived brake squeals since Monday could you repair it soon my invoice shows other "
    "amount than we agreed please send a new one when will delivery come thank you for the help "
    "wheel is bent but the frame looks fine customer number below photo attached for your workshop "
    "I would like to return this helmet because size does not fit what shall we do about warranty"
).split()
_FOREIGN = "Rückgabe Größe déjà façade señal über Straße naïve Kühlschrank Lieferung".split()


def make(kind: str, count: int, *, first: int = 0) -> Iterator[bytes]:
    """Yield the mails number `first` and on, of the kind `small` or `mix`."""
    for number in range(first, first + count):
        yield small(number) if kind == "small" else _mixed(number)


def small(number: int) -> bytes:
    """Return a text mail of 3 KB."""
    rng = random.Random(number)
    head = _head(number, rng)
    wanted = max(600, _SMALL_BYTES - len(head) - 120)
    encoding = rng.choices(("7bit", "8bit", "quoted-printable"), (60, 25, 15))[0]
    text = _quoting(number, _prose(rng, wanted, foreign=encoding != "7bit"))
    return head + b"MIME-Version: 1.0\r\n" + _text_part(text, "plain", encoding)


def large(size: int) -> dict[str, bytes]:
    """Return mails of so many bytes: with an attachment, of text, of HTML."""
    rng = random.Random(1)
    line = _prose(rng, 20_000, foreign=True) + "\n"
    page = f'<p style="margin:0">{line}</p>\n'
    return {
        "attachment": _with_file(1, rng, size),
        "text": _head(2, rng) + _text_part(line * (size // len(line.encode())), "plain", "8bit"),
        "HTML": _head(3, rng) + _text_part(page * (size // len(page.encode())), "html", "8bit"),
    }


def _mixed(number: int) -> bytes:
    rng = random.Random(-1 - number)
    place = (number * 13) % 50  # 35, 10, 4 and 1 of 50, well stirred
    if place < 35:
        return small(number)
    if place < 45:
        return _alternative(number, rng, rng.randint(10_000, 40_000))
    bounds = (100_000, 500_000) if place < 49 else (2_000_000, 5_000_000)
    return _with_file(number, rng, rng.randint(*bounds))


def _alternative(number: int, rng: random.Random, size: int) -> bytes:
    text = _quoting(number, _prose(rng, size // 3, foreign=True))
    paragraphs = "".join(
        f'<p style="margin:0;font-family:Calibri,sans-serif">{line}</p>\n'
        for line in text.replace("<", "&lt;").replace(">", "&gt;").split("\n")
    )
    page = f"<html><head><title>Mail</title></head><body>\n{paragraphs}</body></html>\n"
    parts = [_text_part(text, "plain", "quoted-printable"), _text_part(page, "html", "8bit")]
    return _head(number, rng) + _multipart("alternative", number, parts)


def _with_file(number: int, rng: random.Random, size: int) -> bytes:
    text = _quoting(number, _prose(rng, 1_200, foreign=True))
    encoded = base64.encodebytes(rng.randbytes(size * 57 // 78)).replace(b"\n", b"\r\n")
    part = (
        b'Content-Type: application/pdf; name="invoice-%d.pdf"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="invoice-%d.pdf"\r\n\r\n'
    ) % (number, number) + encoded
    parts = [_text_part(text, "plain", "8bit"), part]
    return _head(number, rng) + _multipart("mixed", number, parts)


def _head(number: int, rng: random.Random) -> bytes:
    """Return the header as a customer's provider and two hops on the way leave it."""
    person = number // _MAILS_A_PERSON
    given, family = _GIVEN[person % len(_GIVEN)], _FAMILY[person // 7 % len(_FAMILY)]
    address = f"customer{person}@mail{person % 97}.example"
    when = _BEGIN + timedelta(seconds=37 * number)
    date = format_datetime(when)
    token = base64.b64encode(rng.randbytes(128)).decode()
    lines = [
        f"Return-Path: <{address}>",
        f"Received: from mx{number % 3}.desk.example (mx.desk.example [192.0.2.7])",
        f"\tby store.desk.example with LMTP id {number:012x}; {date}",
        f"Received: from out{person % 9}.mail{person % 97}.example ([198.51.100.{person % 250}])",
        f"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) by mx.desk.example; {date}",
        f"DKIM-Signature: v=1; a=rsa-sha256; d=mail{person % 97}.example; s=s1; bh={token[:44]};",
        f"\th=from:to:subject:date:message-id; b={token[:70]}\r\n\t{token[70:140]}",
        f"From: {_word(f'{given} {family}')} <{address}>",
        f"To: Example Support <{SUPPORT}>",
        f"Subject: {_subject(number)}",
        f"Date: {date}",
        f"Message-ID: {_id(number)}",
        "User-Agent: Mozilla Thunderbird",
        *_parents(number),
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def _parent(number: int) -> int | None:
    return number - 7 if number % 10 == 9 else None


def _parents(number: int) -> list[str]:
    parent = _parent(number)
    if parent is None:
        return []
    return [f"In-Reply-To: {_id(parent)}", f"References: {_id(parent)}"]


def _id(number: int) -> str:
    return f"<{number:08x}.{number * 2_654_435_761 % 2**32:08x}@mail.example>"


def _subject(number: int) -> str:
    parent = _parent(number)
    if parent is not None:
        return f"Re: {_subject(parent)}"
    words = random.Random(number).sample(_WORDS, 4)
    if number % 5 == 0:
        words.append(_FOREIGN[number // 5 % len(_FOREIGN)])
    return _word(" ".join(words)) + f" {number}"


def _word(text: str) -> str:
    if text.isascii():
        return text
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="


def _prose(rng: random.Random, size: int, *, foreign: bool) -> str:
    """Return paragraphs of about so many characters, in lines that a mail program would break."""
    words = [*_WORDS, *_FOREIGN] if foreign else _WORDS
    lines: list[str] = []
    length = 0
    while length < size:
        line = " ".join(rng.choices(words, k=12))
        lines.append(line if rng.random() < 0.8 else line + ".\n")
        length += len(lines[-1]) + 1
    return "Hello,\n\n" + "\n".join(lines) + "\n\nKind regards\n"


def _quoting(number: int, text: str) -> str:
    """Let a reply quote what it answers below its own text."""
    parent = _parent(number)
    if parent is None:
        return text
    own, quoted = text[: len(text) // 2], text[len(text) // 2 :]
    below = "\n".join(f"> {line}" for line in quoted.splitlines())
    return f"{own}\n\nOn Mon, 2 Mar 2026 at 09:00, Example Support <{SUPPORT}> wrote:\n{below}\n"


def _text_part(text: str, subtype: str, encoding: str) -> bytes:
    raw = text.encode()
    if encoding == "quoted-printable":
        raw = quopri.encodestring(raw)
    head = (
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    )
    return head.encode() + b"\r\n" + raw.replace(b"\n", b"\r\n")


def _multipart(subtype: str, number: int, parts: list[bytes]) -> bytes:
    boundary = b"----=_Part_%d" % number
    head = b'MIME-Version: 1.0\r\nContent-Type: multipart/%s;\r\n\tboundary="%s"\r\n\r\n'
    inner = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return head % (subtype.encode(), boundary) + inner + b"--" + boundary + b"--\r\n"
