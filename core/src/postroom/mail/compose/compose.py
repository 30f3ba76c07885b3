"""Outgoing mail as bytes, whatever the strings in it hold.

Written out here and not by Python's `email`: that has let line breaks through more than once
(CVE-2024-6923, CVE-2026-1299), and what we need is small. The result is 7-bit, has only CRLF, no
line above 998 octets (RFC 5322 section 2.1.1) and no Bcc. One exception: an address with a local
part beyond ASCII can only be written in UTF-8 (RFC 6532), over SMTPUTF8.

The same draft gives the same bytes, so that an attempt to send again sends the same mail.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from postroom.mail.compose import lines
from postroom.mail.compose.mime import Part, attachment, multipart, text_part
from postroom.mail.domains import to_ascii
from postroom.mail.message import Address


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """A file to attach; `filename` and `content_type` may be anything and are made safe."""

    filename: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A mail to compose. `message_id` and `references` are without brackets, `date` is aware.

    `automatic`: what RFC 3834 section 5 calls it, for mail that no person wrote.
    `headers`: further lines, such as `X-…`; those that have a field here are refused.
    """

    from_: Address
    to: tuple[Address, ...]
    subject: str
    text: str
    message_id: str
    date: datetime
    cc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    html: str | None = None
    attachments: tuple[OutgoingFile, ...] = ()
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    automatic: str | None = None
    """`"auto-replied"`, `"auto-generated"`, or None for a person's mail."""
    headers: tuple[tuple[str, str], ...] = ()


_OWN_HEADERS = frozenset(
    (
        *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id"),
        *("in-reply-to", "references", "auto-submitted", "precedence", "x-loop"),
        *("x-auto-response-suppress", "mime-version", "return-path", "received"),
        *("resent-from", "resent-to", "resent-cc", "resent-bcc"),
    )
)
AUTOMATIC_KINDS = frozenset(("auto-replied", "auto-generated", "auto-notified"))


def compose(draft: Draft) -> bytes:
    """Return the mail as it goes over the wire.

    :raises ValueError: a header or an address cannot be written: a recipient that is none, a
        naive date, a further header with a name of its own meaning
    """
    body = _body(draft)
    head = b"".join((*_headers(draft), b"MIME-Version: 1.0\r\n", *body.headers))
    return head + b"\r\n" + body.content


def new_message_id(domain: str) -> str:
    """Return a new message id in that domain, without brackets; 128 random bits."""
    return f"{secrets.token_hex(16)}@{to_ascii(domain)}"


def quote(text: str, date: datetime, name: str) -> str:
    """Return a mail's text as quoted in an answer, below a line that says whose it is."""
    when = date.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    quoted = "\n".join(f"> {line}" if line else ">" for line in text.rstrip().split("\n"))
    return f"On {when}, {lines.clean(name)} wrote:\n{quoted}\n"


def _headers(draft: Draft) -> list[bytes]:
    if draft.date.tzinfo is None:
        raise ValueError("the date of a mail needs a time zone")
    message_id = lines.message_id(draft.message_id)
    if message_id is None:
        raise ValueError("the message id of a mail cannot be written")
    made = [lines.addresses("From", (draft.from_,))]
    for name, group in (("To", draft.to), ("Cc", draft.cc), ("Reply-To", draft.reply_to)):
        if group:
            made.append(lines.addresses(name, group))
    made.append(lines.unstructured("Subject", draft.subject))
    made.append(lines.folded("Date", [format_datetime(draft.date)]))
    made.append(lines.folded("Message-ID", [message_id]))
    made += _links(draft)
    made += _automatic_headers(draft)
    made += [_further(name, value) for name, value in draft.headers]
    return made


def _links(draft: Draft) -> list[bytes]:
    """In-Reply-To and References; an id that cannot be written as it is, is left out."""
    made = []
    parent = lines.message_id(draft.in_reply_to or "")
    if parent is not None:
        made.append(lines.folded("In-Reply-To", [parent]))
    chain = [one for one in map(lines.message_id, draft.references) if one is not None]
    if chain:
        made.append(lines.folded("References", chain))
    return made


def _automatic_headers(draft: Draft) -> list[bytes]:
    """RFC 3834 section 5, and what older responders and Exchange look at.

    Not `X-Auto-Response-Suppress: All`: that would suppress the bounces too.
    """
    if draft.automatic is None:
        return []
    if draft.automatic not in AUTOMATIC_KINDS:
        raise ValueError(f"unknown kind of automatic mail: {draft.automatic!r}")
    return [
        lines.folded("Auto-Submitted", [draft.automatic]),
        lines.folded("Precedence", ["bulk"]),
        lines.folded("X-Auto-Response-Suppress", ["OOF,", "AutoReply,", "RN,", "NRN"]),
        lines.folded("X-Loop", [lines.address(draft.from_.address)]),
    ]


def _further(name: str, value: str) -> bytes:
    lower = name.lower()
    if lower in _OWN_HEADERS or lower.startswith("content-"):
        raise ValueError(f"{name} cannot be given as a further header")
    return lines.unstructured(name, value)


def _body(draft: Draft) -> Part:
    seed = hashlib.sha256(draft.message_id.encode("utf-8", "replace"))
    body = text_part(draft.text, "plain")
    if draft.html is not None:
        body = multipart("alternative", (body, text_part(draft.html, "html")), seed)
    if draft.attachments:
        files: Sequence[Part] = [
            attachment(one.filename, one.content_type, one.content) for one in draft.attachments
        ]
        body = multipart("mixed", (body, *files), seed)
    return body
