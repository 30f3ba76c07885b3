"""Whatever the bytes are: `parse` returns, soon, and only what a database takes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postroom.mail import ParsedMessage, identity, parse

_HERE = Path(__file__).resolve()
_NAMESPACE: dict[str, object] = {"__name__": "corpus"}
exec(  # our own script, which is no module of a package
    compile((_HERE.parents[3] / "tests/corpus/make_corpus.py").read_text(), "make_corpus", "exec"),
    _NAMESPACE,
)
_RAW_OF = _NAMESPACE["raw_of"]
SEEDS: list[bytes] = [
    raw
    for name in sorted(_NAMESPACE["MESSAGES"])  # type: ignore[call-overload]
    if name != "a50-over-50-mb" and len(raw := _RAW_OF(name)) < 20_000  # type: ignore[operator]
]
SCRAPS = (
    b"\r\n", b"\n", b"\r", b"\x00", b"--=_edge\r\n", b"--=_edge--\r\n", b"=?utf-8?B?", b"?=",
    b"Content-Type: multipart/mixed; boundary==_edge\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: x-uuencode\r\n", b"begin 644 a\n", b"\nend\n", b"=ybegin name=a\n",
    b"Content-Type: message/rfc822\r\n\r\n", b"Content-Type: text/html\r\n\r\n<p", b"<", b'"', b"(",
    b"\xff\xfe",
    b"\xed\xa0\xbd", b"\x1b$B", b"+2D0-", b"charset=utf-7", b"charset=utf-16", b"&#xD800;",
    b"Date: 31 Feb 0000 99:99 +9999\r\n", b"\x78\x9f\x3e\x22", b"format=flowed; delsp=yes",
    b"Content-Type: text/plain; charset=unicode_escape\r\n", b"\\ud800", b"filename*0*=utf-8''%00",
)  # fmt: skip


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from strings(item)
    elif dataclasses.is_dataclass(value):
        for one in dataclasses.fields(value):
            yield from strings(getattr(value, one.name))


def assert_sound(message: ParsedMessage) -> None:
    for text in [*strings(message), message.html or ""]:
        assert "\x00" not in text
        text.encode("utf-8")  # no lone surrogate
    for date in (message.date, message.received_at):
        assert date is None or (isinstance(date, datetime) and date.utcoffset() is not None)
    assert "\n" not in message.subject
    for attachment in message.attachments:
        assert attachment.filename
        assert len(attachment.filename.encode()) <= 255
        assert not set("/\\\r\n\x00") & set(attachment.filename)
        assert attachment.size == len(attachment.content)
    assert not [problem for problem in message.problems if "could not be read" in problem]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A message of the corpus: cut, flipped, spliced with another, with scraps put in."""
    raw = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        kind = draw(st.sampled_from(["cut", "flip", "splice", "scrap", "drop", "repeat"]))
        if kind == "cut":
            raw = raw[:at]
        elif kind == "flip" and raw:
            raw = raw[: at - 1] + bytes([draw(st.integers(0, 255))]) + raw[at:]
        elif kind == "splice":
            other = draw(st.sampled_from(SEEDS))
            raw = raw[:at] + other[draw(st.integers(0, len(other))) :]
        elif kind == "scrap":
            raw = raw[:at] + draw(st.sampled_from(SCRAPS)) + raw[at:]
        elif kind == "drop":
            raw = raw[:at] + raw[at + draw(st.integers(1, 200)) :]
        else:
            raw = raw[:at] + raw[at : at + 200] * draw(st.integers(2, 5)) + raw[at:]
    return raw


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutations())
def test_damaged_messages_give_sound_values(raw: bytes) -> None:
    assert_sound(parse(raw))

    assert identity.fingerprint(raw).startswith("v2:")
    assert identity.weak_key(raw).startswith("v1:")


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=400))
def test_any_bytes_give_sound_values(raw: bytes) -> None:
    assert_sound(parse(raw))
    identity.fingerprint(raw)


HEAD = b"From: a@b.example\r\nSubject: s\r\nMIME-Version: 1.0\r\n"
HTML = HEAD + b"Content-Type: text/html\r\n\r\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
SLOW = {
    "words without end": HEAD[:-20] + b"\r\nX: " + b"=?utf-8?q?a" * 60_000 + b"\r\n\r\nx",
    "quotes in an address": b"From: " + b'\\"' * 200_000 + b"\r\n\r\nx",
    "angles in an address": b"From: " + b"<a@b" * 100_000 + b"\r\n\r\nx",
    "words in a name": b"From: " + b"=?a?q?" * 100_000 + b" <a@b.example>\r\n\r\nx",
    "groups": b"To: " + b"a:" * 200_000 + b"\r\n\r\nx",
    "colons": HEAD + b"References: " + b"<" * 500_000 + b"\r\n\r\nx",
    "a word without brackets": HEAD + b"References: " + b"a" * 95_000 + b"\r\n\r\nx",
    "parameters": HEAD + b"Content-Type: text/plain;" + b' a="' * 200_000 + b"\r\n\r\nx",
    "delimiters": MIXED + b"--b\r\n" * 400_000,
    "delimiters that are none": MIXED + b"--b x\r\n" * 400_000,
    "dashes": MIXED + b"--b\r\n\r\n" + b"\n--" * 700_000,
    "parts without a blank line": MIXED + b"--b\r\n" * 900 + b"X: a\r\n" * 400_000,
    "uuencode begun": HEAD + b"\r\n" + b"begin 644 a\n" * 100_000,
    "uuencode begun, and an end": HEAD + b"\r\n" + b"begin 644 a\n" * 100_000 + b"end\n",
    "uuencode damaged": HEAD + b"\r\n" + b"begin 644 \xff\n~~~~~\n" * 60_000 + b"end\n",
    "uuencode prose": HEAD + b"\r\n" + b"begin 644 a\nxx yy\nend\n" * 50_000,
    "yEnc begun": HEAD + b"\r\n" + b"=ybegin name=a\n" * 100_000,
    "base64 padding": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QQ==" * 500_000,
    "base64 dirt": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=!" * 900_000,
    "HTML comments": HTML + b"<!--" * 400_000,
    "HTML quotes": HTML + b'<a "' * 400_000,
    "HTML quotes closed": HTML + b"<a \"'>" * 300_000,
    "HTML styles": HTML + b"<style>" * 250_000,
    "HTML entities": HTML + b"&#" + b"9" * 900_000,
    "HTML ampersands": HTML + b"&a" * 700_000,
    "HTML bold": HTML + b"<b>" * 60_000,
    "HTML tables": HTML + b"<table><tr><td>" * 20_000,
    "HTML quotes nested": HTML + b"<blockquote type=cite>x" * 60_000,
    "quoted-printable": HEAD
    + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 1_000_000,
    "flowed": HEAD + b"Content-Type: text/plain; format=flowed\r\n\r\n" + b"a \n" * 300_000,
    "flowed quotes": HEAD
    + b"Content-Type: text/plain; format=flowed\r\n\r\n" + b"> a \n" * 200_000,
    "folds": b"Subject: a\r\n" + b" b\r\n" * 200_000 + b"\r\nx",
    "stray lines": b"From: a@b.example\r\n" + b"no field\r\nA: b\r\n" * 100_000 + b"\r\nx",
    "escapes": HEAD + b"\r\n" + b"\x1b]" * 400_000,
    "UTF-7": HEAD + b"Content-Type: text/plain; charset=utf-7\r\n\r\n" + b"+AAA" * 300_000,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SLOW))
def test_hostile_messages_take_linear_time(name: str) -> None:
    started = time.process_time()

    message = parse(SLOW[name])
    seconds = time.process_time() - started
    assert_sound(message)
    identity.fingerprint(SLOW[name])

    assert seconds < 4, seconds
    assert time.process_time() - started < 10
