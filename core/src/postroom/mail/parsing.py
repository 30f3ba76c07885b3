"""Bytes in, `ParsedMessage` out, whatever the bytes are."""

from __future__ import annotations

import re
from datetime import datetime

from postroom.mail import automatic
from postroom.mail.addresses import MOST as MOST_ADDRESSES
from postroom.mail.addresses import parse_addresses
from postroom.mail.bodies import Body, Reader
from postroom.mail.charsets import decode
from postroom.mail.dates import parse_date, received_date
from postroom.mail.fields import Fields, read_fields
from postroom.mail.ids import message_id, message_ids
from postroom.mail.message import Address, ParsedMessage
from postroom.mail.parameters import content_type
from postroom.mail.quoting import strip_quotes
from postroom.mail.recognisable import Recognisable
from postroom.mail.structure import Part, Splitter
from postroom.mail.text import one_line, readable
from postroom.mail.transfer import decode_body
from postroom.mail.words import decode_words

LONGEST_SUBJECT = 2_000
_LONGEST_VALUE = 8_192
_REPORT_BYTES = 65_536

_BLANK_LINES = re.compile(rb"(?:[ \t]*\r*\n){1,50}")
_FIELD_NEXT = re.compile(rb">?From |[!-9;-~]{1,200}[ \t]*:")
_ENVELOPE = re.compile(rb">?From (?![ \t]*:)[^\n]*\n")
"""What separates the messages of an mbox file, left in by some tools."""


def parse(raw: bytes) -> ParsedMessage:
    """Return what the message says. Never raises: what cannot be read is told in `problems`."""
    raw = bytes(raw)
    try:
        return _parse(raw)
    except Exception as error:  # the last line of defence: a message must never stop a mailbox
        return _unreadable(raw, error)


def _parse(raw: bytes) -> ParsedMessage:
    problems: list[str] = []
    source, start = _begin(raw)
    fields, body_at = read_fields(source, start, len(source))
    if fields.left_out:
        problems.append("The header has too many lines; some are left out here.")
    if not raw.strip():
        problems.append("The message is empty.")
    head = _Head(fields, problems)
    root = Part(source, body_at, len(source), fields, head.type)
    if root.is_multipart:
        Splitter(problems).split(root)
        head.hint = head.hint or _text_charset(root)
    body = Reader(root, problems).read()
    return head.message(root, body)


def _begin(raw: bytes) -> tuple[bytes, int]:
    """Return the message with line ends that can be read, and where its header begins."""
    if b"\n" not in raw and b"\r" in raw:
        raw = raw.replace(b"\r", b"\n")  # old Macintosh
    start = 3 if raw.startswith(b"\xef\xbb\xbf") else 0
    blank = _BLANK_LINES.match(raw, start)
    if blank and _FIELD_NEXT.match(raw, blank.end()):
        start = blank.end()
    envelope = _ENVELOPE.match(raw, start)
    return raw, envelope.end() if envelope else start


class _Head:
    """What the header says."""

    def __init__(self, fields: Fields, problems: list[str]) -> None:
        self.fields = fields
        self.problems = problems
        self.type = content_type(fields.first("content-type"))
        self.hint = self.type.get("charset") or None

    def _addresses(self, name: str) -> tuple[Address, ...]:
        values = self.fields.all(name)
        if not values:
            return ()
        found = parse_addresses(values[0] if len(values) == 1 else ", ".join(values), self.hint)
        if len(found) >= MOST_ADDRESSES:
            self.problems.append(f"Only the first {MOST_ADDRESSES} addresses of {name} are kept.")
        return found[:MOST_ADDRESSES]

    def _from(self) -> Address | None:
        """Return the first author; Sender only where there is no From at all."""
        value = self.fields.first("from" if self.fields.all("from") else "sender")
        found = parse_addresses(value, self.hint)
        return found[0] if found else None

    def _return_path(self) -> str | None:
        if not self.fields.all("return-path"):
            return None
        value = self.fields.first("return-path")
        if not value.strip("<> \t"):
            return ""
        found = parse_addresses(value, self.hint)
        return found[0].address if found else None

    def _received_at(self) -> datetime | None:
        value = self.fields.first("received")
        return received_date(value) if value else None

    def _headers(self) -> tuple[tuple[str, str], ...]:
        headers: list[tuple[str, str]] = []
        for field in self.fields:
            name, value = field
            if "\t" in value and "\t\t" not in value:  # most often a folded line's
                value = value.replace("\t", " ")
            is_plain = value.isascii() and value.isprintable() and len(value) < _LONGEST_VALUE
            if not is_plain or "=?" in value:  # few are; what follows costs more
                value = self._shown(field[1])
            headers.append(field if value is field[1] else (name, value))
        return tuple(headers)

    def _shown(self, value: str) -> str:
        return one_line(decode_words(value[:_LONGEST_VALUE], self.hint), _LONGEST_VALUE)

    def message(self, root: Part, body: Body) -> ParsedMessage:
        """Put header, body and what is recognised of machines together."""
        references = message_ids(self.fields.first("references"))
        in_reply_to = message_ids(self.fields.first("in-reply-to"))
        subject = self.fields.first("subject")
        subject = one_line(decode_words(subject, self.hint), LONGEST_SUBJECT)
        facts = Recognisable(
            headers=self._headers(),
            from_=self._from(),
            subject=subject,
            text=body.text,
            to=self._addresses("to"),
            cc=self._addresses("cc"),
            reply_to=self._addresses("reply-to"),
            content_type=self.type.value,
            content_type_parameters=self.type.raw,
            in_reply_to=in_reply_to,
            references=references,
            return_path=self._return_path(),
            report_parts=_report_parts(root),
        )
        found = self._recognise(facts)
        return ParsedMessage(
            from_=facts.from_,
            to=facts.to,
            cc=facts.cc,
            reply_to=facts.reply_to,
            subject=subject,
            date=parse_date(self.fields.first("date")),
            message_id=message_id(self.fields.first("message-id")),
            in_reply_to=in_reply_to,
            references=references,
            text=body.text,
            reply_text=self._reply(body.text, subject, bool(in_reply_to or references)),
            html_original=body.html,
            is_automatic=found.is_automatic,
            is_bounce=found.is_bounce,
            may_auto_reply=found.may_auto_reply,
            reported_ids=found.reported_ids,
            return_path=facts.return_path,
            received_at=self._received_at(),
            headers=facts.headers,
            attachments=tuple(body.attachments),
            problems=tuple(self.problems),
        )

    def _recognise(self, facts: Recognisable) -> automatic.Recognition:
        """Recognise machines; where that fails, the message is read and no machine answers it."""
        try:
            return automatic.recognise(facts)
        except Exception as error:
            self.problems.append(f"What kind of mail it is was not found ({_kind(error)}).")
            return automatic.UNKNOWN

    def _reply(self, text: str, subject: str, has_parent: bool) -> str:
        try:
            return strip_quotes(text, subject=subject, is_reply=has_parent)
        except Exception as error:
            self.problems.append(f"Quoted text could not be told from new text ({_kind(error)}).")
            return text


def _kind(error: Exception) -> str:
    return type(error).__name__


def _text_charset(root: Part) -> str | None:
    """Return the character set of the first text: what raw bytes in the header are likely in."""
    part = root
    while part.children:
        part = part.children[0]
    return part.type.get("charset") or None


def _report_parts(root: Part) -> tuple[tuple[str, bytes], ...]:
    """Return the machine-readable parts of a report, also where something wrapped it once more.

    What is inside an enclosed message is that message's own report, not this one's.
    """
    return tuple(
        (
            part.type.value,
            decode_body(part.source[part.start : part.end][:_REPORT_BYTES], part.encoding).content,
        )
        for part in _beside(root, 2)
        if part.type.value.startswith("message/") or part.type.value == "text/rfc822-headers"
    )


def _beside(part: Part, levels: int) -> list[Part]:
    """Return the children, and those of multiparts among them down to `levels` more."""
    found = part.children[:20]
    if levels:
        for child in part.children[:20]:
            if child.children:
                found = found + _beside(child, levels - 1)
    return found[:20]


def _unreadable(raw: bytes, error: Exception) -> ParsedMessage:
    """Return the bytes as text with the reason: the original is kept and can be parsed again."""
    return ParsedMessage(
        from_=None,
        to=(),
        cc=(),
        reply_to=(),
        subject="",
        date=None,
        message_id=None,
        in_reply_to=(),
        references=(),
        text=readable(decode(raw[:100_000])),
        reply_text="",
        html_original=None,
        is_automatic=False,
        is_bounce=False,
        may_auto_reply=False,
        reported_ids=(),
        return_path=None,
        received_at=None,
        headers=(),
        attachments=(),
        problems=(f"The message could not be read ({_kind(error)}); see the original.",),
    )
