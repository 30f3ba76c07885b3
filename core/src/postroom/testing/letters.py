"""The mails that the kit puts and sends."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_numbers = itertools.count(1)


def letter(*, size: int = 0, name: str = "") -> bytes:
    """Return a new mail of a person, with a Message-ID of its own, at least `size` bytes long."""
    number = next(_numbers)
    token = f"kit-{number}-{uuid.uuid4().hex[:10]}"
    head = (
        f"From: Ann Reed <ann{number}@customer.example>\r\n"
        "To: support@example.org\r\n"
        f"Subject: {name or 'Question'} {token}\r\n"
        f"Date: Tue, 03 Mar 2026 09:{number % 60:02}:00 +0000\r\n"
        f"Message-ID: <{token}@customer.example>\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "\r\n"
        f"How much is {token}?\r\n"
    ).encode()
    line = b"0123456789" * 7 + b"\r\n"
    return head + line * max(0, -(-(size - len(head)) // len(line)))


def inquiry(sender: str, *, cc: str | None = None) -> bytes:
    """Return a new mail of a person at this address, to be answered."""
    head, _, body = letter().partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"From:")]
    lines += [b"From: <%s>" % sender.encode()] + ([b"Cc: <%s>" % cc.encode()] if cc else [])
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def confidential(word: str) -> bytes:
    """Return a new mail of a person, with a word that stands in its body only."""
    return letter() + f"Between you and me: {word}\r\n".encode()


def message_id(raw: bytes) -> str:
    """Return the Message-ID of a mail made here, without brackets."""
    return raw.partition(b"\r\nMessage-ID: <")[2].partition(b">")[0].decode()


def _with_body(body: bytes, *, head: bytes = b"") -> bytes:
    return letter().partition(b"\r\n\r\n")[0] + head + b"\r\n\r\n" + body


ODD_KINDS: Final = (
    "empty",
    "one-byte",
    "header-only",
    "no-line-end",
    "long-line",
    "eight-bit",
    "nul",
    "dots",
    "bare-line-feeds",
    "bare-carriage-returns",
    "blank-first-line",
    "ends-with-blank-lines",
)
"""Messages that servers hold, though no standard allows some of them."""


def odd(kind: str) -> bytes:
    """Return a message of one of `ODD_KINDS`."""
    kinds: Mapping[str, Callable[[], bytes]] = {
        "empty": lambda: b"",
        "one-byte": lambda: b"x",
        "header-only": lambda: letter().partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
        "no-line-end": lambda: _with_body(b"no end"),
        "long-line": lambda: _with_body(b"long " * 20_000 + b"\r\n"),
        "eight-bit": lambda: _with_body(
            bytes(range(128, 256)) + b"\r\n", head=b"\r\nX-A: \xff\xe4"
        ),
        "nul": lambda: _with_body(b"a\0b\0\0\r\n"),
        "dots": lambda: _with_body(b".\r\n..\r\n.a\r\n\r\n.\r\nafter the dot\r\n"),
        "bare-line-feeds": lambda: _with_body(b"a\nb\n\nc\n"),
        "bare-carriage-returns": lambda: _with_body(b"a\rb\r\rc\r\n"),
        "blank-first-line": lambda: b"\r\nno header at all\r\n",
        "ends-with-blank-lines": lambda: _with_body(b"end\r\n\r\n\r\n"),
    }
    return kinds[kind]()


SENT_TEXT: Final = "It is 12 euros."
"""The body of a plain message that is sent."""
SENT_KINDS: Final = (
    "plain",
    "dots",
    "long-lines",
    "eight-bit",
    "blank-body",
    "ends-with-blank-lines",
    "attachment",
    "large",
)
"""Messages that the core may send: CRLF, lines of at most 998 bytes."""


def to_send(kind: str, *, sender: str, to: Sequence[str]) -> bytes:
    """Return a new message of one of `SENT_KINDS`, with a Message-ID of its own."""
    text = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit"
    kinds: Mapping[str, tuple[str, bytes]] = {
        "plain": (text, f"{SENT_TEXT}\r\n".encode()),
        "dots": (text, b".\r\n..\r\n.a\r\n\r\n.\r\nafter the dot\r\n"),
        "long-lines": (text, (b"x" * 998 + b"\r\n") * 3),
        "eight-bit": (text, "Grüße, 你好\r\n".encode()),
        "blank-body": (text, b""),
        "ends-with-blank-lines": (text, b"end\r\n\r\n\r\n"),
        "attachment": ('Content-Type: multipart/mixed; boundary="kit"', _MULTIPART),
        "large": (text, (b"0123456789" * 7 + b"\r\n") * (2 << 14)),
    }
    fields, body = kinds[kind]
    token = f"kit-{next(_numbers)}-{uuid.uuid4().hex[:10]}"
    head = (
        f"From: Support <{sender}>\r\n"
        f"To: {_FOLD.join(to)}\r\n"
        f"Subject: Re: Question {token}\r\n"
        "Date: Tue, 03 Mar 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{token}@desk.example.org>\r\n"
        "MIME-Version: 1.0\r\n"
        f"{fields}\r\n"
    )
    return head.encode() + b"\r\n" + body


_FOLD: Final = ",\r\n "  # lines of at most 998 bytes
_MULTIPART: Final = (
    b"--kit\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n"
    b'--kit\r\nContent-Type: application/octet-stream; name="price.bin"\r\n'
    b'Content-Disposition: attachment; filename="price.bin"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nAAECAwQFBgcICQ==\r\n--kit--\r\n"
)
