"""MIME as Exchange serves it: not what arrived, but rebuilt from the properties it was taken apart
into. Boundaries, header order, encodings and time zones are Exchange's own; what is said stays.

Signed and encrypted mail survives as it came. HTML alone gets a text beside it. The headers that
delivery added, and what Exchange does not know of the structure, are gone.
"""

from __future__ import annotations

import base64
import email
import email.utils
import hashlib
import html
import quopri
import re
from collections.abc import Iterator
from datetime import UTC
from email.header import decode_header, make_header
from email.message import Message
from typing import Any, Final

_KEPT_WHOLE: Final = frozenset(
    ("multipart/signed", "multipart/encrypted", "multipart/report",
     "application/pkcs7-mime", "application/x-pkcs7-mime", "application/ms-tnef")
)  # fmt: skip
_FIRST: Final = ("from", "sender", "to", "cc", "bcc", "subject")
_MIDDLE: Final = ("date", "message-id", "references", "in-reply-to", "reply-to")
_OF_THE_BODY: Final = re.compile(r"content-|mime-version$", re.I)
_ADDRESSES: Final = frozenset(("from", "sender", "to", "cc", "bcc", "reply-to"))
_TAG: Final = re.compile(r"<(?:style|script)\b.*?</(?:style|script)>|<[^>]*>", re.I | re.S)
_WIDTH: Final = 76


def rebuild(raw: bytes, *, salt: str = "") -> bytes:
    """Return a message as Exchange would serve it; always the same for the same bytes.

    :param salt: another one makes other boundaries, as another server does
    """
    try:
        return _rebuilt(raw, salt)
    except (RecursionError, ValueError, LookupError, AttributeError):
        return raw  # hostile beyond what Python's parser takes: served as it came


def _rebuilt(raw: bytes, salt: str) -> bytes:
    message = email.message_from_bytes(raw)
    label = hashlib.sha256(salt.encode() + raw).hexdigest()[:32].upper()
    whole = message.get_content_type() in _KEPT_WHOLE
    body = [_original_body(raw)] if whole else _Rebuilt(message, label).lines()
    return b"\r\n".join([*_header(message, raw, is_whole=whole), *body])


def _header(message: Message, raw: bytes, *, is_whole: bool) -> Iterator[bytes]:
    given = [(name, _in_unicode(value)) for name, value in message.raw_items()]
    fields = [(name, value) for name, value in given if not _OF_THE_BODY.match(name)]
    ordered = [one for one in fields if one[0].lower() == "received"]
    for known in _FIRST:
        ordered += [one for one in fields if one[0].lower() == known]
    subject = next((value for name, value in fields if name.lower() == "subject"), "")
    index = base64.b64encode(hashlib.sha256(raw).digest()[:22]).decode()
    ordered += [("Thread-Topic", subject), ("Thread-Index", index)]
    for known in _MIDDLE:
        ordered += [one for one in fields if one[0].lower() == known]
    ordered += [("Content-Language", "en-US"), ("X-MS-Has-Attach", "")]
    taken = {name.lower() for name, _ in ordered}
    ordered += [one for one in fields if one[0].lower() not in taken]
    for name, value in ordered:
        yield _field(name, value)
    if is_whole:
        for name, value in given:
            if name.lower().startswith("content-"):
                yield _as_bytes(f"{name}: {value}")
    yield b"MIME-Version: 1.0"


def _field(name: str, value: str) -> bytes:
    unfolded = " ".join(str(value).split())
    if name.lower() == "date":
        unfolded = _in_utc(unfolded)
    decoded = _decoded(unfolded)
    if name.lower() in _ADDRESSES:
        return _as_bytes(f"{name}: {_addresses(unfolded)}")
    if name.lower() in ("subject", "thread-topic") and not decoded.isascii():
        return f"{name}: {_encoded(decoded)}".encode()
    return _as_bytes(f"{name}: {unfolded}" if name.lower() != "subject" else f"{name}: {decoded}")


def _addresses(value: str) -> str:
    parsed = email.utils.getaddresses([value])
    if not parsed or any("@" not in address or not address.isascii() for _, address in parsed):
        return value
    return ",\r\n\t".join(_address(_decoded(name), address) for name, address in parsed)


def _address(name: str, address: str) -> str:
    if not name:
        return f'"{address}" <{address}>'
    shown = f'"{email.utils.quote(name)}"' if name.isascii() else _encoded(name)
    return f"{shown} <{address}>"


def _encoded(text: str) -> str:
    pieces = [text[i : i + 12] for i in range(0, len(text), 12)]
    words = [base64.b64encode(piece.encode("utf-8", "replace")).decode() for piece in pieces]
    return "\r\n\t".join(f"=?utf-8?B?{word}?=" for word in words)


def _decoded(value: str) -> str:
    try:
        return " ".join(str(make_header(decode_header(value))).split())
    except (ValueError, LookupError):
        return value


def _in_utc(value: str) -> str:
    try:
        found = email.utils.parsedate_to_datetime(value)
        return email.utils.format_datetime(found.astimezone(UTC))
    except (ValueError, OverflowError, TypeError):
        return value


def _in_unicode(value: object) -> str:
    octets = str(value).encode("utf-8", "surrogateescape")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _original_body(raw: bytes) -> bytes:
    match = re.search(rb"\r?\n\r?\n", raw)
    return b"\r\n" + (raw[match.end() :] if match else b"")


class _Rebuilt:
    """The body: what there is to read first, what belongs to it, then what is attached."""

    def __init__(self, message: Message, label: str) -> None:
        self._label, self._count = label, 0
        self.text: Message | None = None
        self.html: Message | None = None
        self.related: list[Message] = []
        self.attached: list[Message] = []
        self._sort(message)

    def _sort(self, part: Message) -> None:
        kind = part.get_content_type()
        attached = part.get_content_disposition() == "attachment" or part.get_filename()
        if part.is_multipart() and kind not in ("message/rfc822", *_KEPT_WHOLE):
            for child in part.get_payload():
                if isinstance(child, Message):
                    self._sort(child)
        elif kind == "text/plain" and not attached and self.text is None and self.html is None:
            self.text = part
        elif kind == "text/html" and not attached and self.html is None:
            self.html = part
        elif part.get("content-id") and self.html is not None:
            self.related.append(part)
        else:
            self.attached.append(part)

    def lines(self) -> Iterator[bytes]:
        """Yield the header fields of the body, an empty line and the body."""
        readable = list(self._readable())
        if self.related:
            readable = self._multipart("related", readable, self.related)
        if self.attached:
            readable = self._multipart("mixed", readable, self.attached)
        yield from readable

    def _readable(self) -> Iterator[bytes]:
        text = _text_of(self.text) if self.text is not None else None
        if self.html is None:
            yield from _text_part("plain", text or "")
            return
        markup = _text_of(self.html)
        if text is None:
            text = html.unescape(_TAG.sub("", markup)).strip() + "\n"
        yield from self._join(
            "alternative", [list(_text_part("plain", text)), list(_text_part("html", markup))]
        )

    def _multipart(self, kind: str, first: list[bytes], parts: list[Message]) -> list[bytes]:
        return list(self._join(kind, [first, *(list(_attachment(part)) for part in parts)]))

    def _join(self, kind: str, entities: list[list[bytes]]) -> Iterator[bytes]:
        boundary = f"_{self._count:03}_{self._label}_".encode()
        self._count += 1
        yield b'Content-Type: multipart/%s;\r\n\tboundary="%s"' % (kind.encode(), boundary)
        yield b""
        for entity in entities:
            yield b"--" + boundary
            yield from entity
        yield b"--" + boundary + b"--"
        yield b""


def _payload(part: Message) -> bytes:
    found: Any = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _text_of(part: Message) -> str:
    charset = part.get_content_charset() or "ascii"
    try:
        return _payload(part).decode(charset, "replace")
    except LookupError:
        return _payload(part).decode("latin-1")


def _text_part(kind: str, text: str) -> Iterator[bytes]:
    text = "\r\n".join(text.splitlines()) + "\r\n"
    charset, encoding = ("us-ascii", "quoted-printable") if text.isascii() else ("utf-8", "base64")
    yield f'Content-Type: text/{kind}; charset="{charset}"'.encode()
    yield f"Content-Transfer-Encoding: {encoding}".encode()
    yield b""
    encoded = text.encode("utf-8", "replace")
    if encoding == "base64":
        yield _base64(encoded)
    else:
        yield quopri.encodestring(encoded).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _base64(content: bytes) -> bytes:
    encoded = base64.b64encode(content)
    return b"\r\n".join(encoded[i : i + _WIDTH] for i in range(0, len(encoded), _WIDTH)) + b"\r\n"


def _attachment(part: Message) -> Iterator[bytes]:
    kind = part.get_content_type()
    if kind == "message/rfc822" or kind in _KEPT_WHOLE:
        yield from part.as_bytes().replace(b"\r\n", b"\n").split(b"\n")
        return
    content = _payload(part)
    name = _decoded(part.get_filename() or "")
    shown = _encoded(name) if not name.isascii() else name.replace('"', "'")
    yield f'Content-Type: {kind}; name="{shown}"'.encode()
    yield f"Content-Description: {shown}".encode()
    disposition = "inline" if part.get("content-id") else "attachment"
    yield f'Content-Disposition: {disposition}; filename="{shown}"; size={len(content)}'.encode()
    if identifier := part.get("content-id"):
        yield _as_bytes(f"Content-ID: {identifier}")
    yield b"Content-Transfer-Encoding: base64"
    yield b""
    yield _base64(content)
