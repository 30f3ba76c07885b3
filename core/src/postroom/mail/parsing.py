"""Bytes in, `ParsedMessage` out, whatever the bytes are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from postroom.mail.body.bodies import Body, Reader
from postroom.mail.body.content import Runs
from postroom.mail.body.structure import Part, Splitter
from postroom.mail.decoding.charsets import decode
from postroom.mail.decoding.transfer import decode_body
from postroom.mail.header.addresses import MOST as MOST_ADDRESSES
from postroom.mail.header.addresses import parse_addresses
from postroom.mail.header.dates import parse_date, received_date
from postroom.mail.header.fields import Fields, read_fields
from postroom.mail.header.ids import message_id, message_ids
from postroom.mail.header.parameters import content_type
from postroom.mail.header.words import decode_words
from postroom.mail.machines import automatic
from postroom.mail.machines.recognisable import Recognisable
from postroom.mail.message import Address, ParsedMessage, make_message
from postroom.mail.quoting.quoting import strip_quotes
from postroom.mail.search import Source, is_nothing_but
from postroom.mail.text import one_line, readable

LONGEST_SUBJECT = 2_000
_LONGEST_VALUE = 8_192
_REPORT_BYTES = 65_536

_NEAR = 65_536
"""Within so many bytes the header begins."""
_SPACE = b" \t\n\r\f\v"
_BLANK_LINES = re.compile(rb"(?:[ \t]*\r*\n){1,50}")
_FIELD_NEXT = re.compile(rb">?From |[!-9;-~]{1,200}[ \t]*:")
_ENVELOPE = re.compile(rb">?From (?![ \t]*:)[^\n]*\n")
"""What separates the messages of an mbox file, left in by some tools."""
_MIME_FIELD = re.compile(rb"(?:\r?\n)*(MIME-Version|Content-Type)[ \t]*:", re.IGNORECASE)
_NOTHING_BUT_FIELDS = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)++\r?\n")
_TYPE = re.compile(r"[^\s/;]+/[^\s/;]+\s*(?:;|$)")


def parse(raw: bytes) -> ParsedMessage:
    """Return what the message says. Never raises: what cannot be read is told in `problems`."""
    return parse_all([raw])[0]


def parse_all(raws: Sequence[bytes], headers: Collection[str] | None = None) -> list[ParsedMessage]:
    """Return what each of the messages says, as `parse` does.

    Step by step for all of them: message by message takes a fifth longer, because the code of one
    step drives that of the others out of the processor's cache.

    :param headers: names in lower case; of `headers` these are needed, others may be left out
    """
    asked = None if headers is None else automatic.HEADERS.union(headers)
    return _results([_Reading(bytes(raw), asked) for raw in raws])


def parse_on_disk(raw: Source, runs: Runs) -> ParsedMessage:
    """Return what `parse` does, of a message that is a file; its large attachments have no content.

    :param runs: the runs of base 64 in it
    :raises OSError: the file cannot be read
    """
    return _results([_Reading(raw, None, runs)])[0]


def _results(readings: list[_Reading]) -> list[ParsedMessage]:
    for step in _STEPS:
        for reading in readings:
            reading.take(step)
    return [reading.result() for reading in readings]


def _begin(raw: Source) -> tuple[Source, int]:
    """Return the message with line ends that can be read, and where its header begins."""
    if raw.find(b"\n", 0, len(raw)) < 0 and raw.find(b"\r", 0, len(raw)) >= 0:
        raw = raw[:].replace(b"\r", b"\n")  # old Macintosh
    first = raw[:_NEAR]
    start = 3 if first.startswith(b"\xef\xbb\xbf") else 0
    blank = _BLANK_LINES.match(first, start)
    if blank and _FIELD_NEXT.match(first, blank.end()):
        start = blank.end()
    envelope = _ENVELOPE.match(first, start)
    return raw, envelope.end() if envelope else start


def _read_header(source: Source, start: int) -> tuple[Fields, int]:
    """Return the fields, and where the body begins.

    Some scripts put a blank line into the middle of the header. Where what tells how to read the
    body follows instead of standing there, the header goes on; but a person who pastes a line of
    one writes on below it.
    """
    fields, body_at = read_fields(source, start, len(source))
    if fields.all("content-type"):
        return fields, body_at
    found = _MIME_FIELD.match(source[body_at : min(body_at + 100, len(source))])
    if found is None:
        return fields, body_at
    begin = body_at + found.start(1)
    more, end = read_fields(source, begin, len(source))
    types = more.all("content-type")
    if not (types and _TYPE.match(types[0]) and _NOTHING_BUT_FIELDS.fullmatch(source[begin:end])):
        return fields, body_at
    header = Fields()
    header.extend((*fields, *more))
    header.left_out = fields.left_out or more.left_out
    return header, end


class _Reading:
    """A message on its way from bytes to what it says; each step finds what the next one needs."""

    __slots__ = (
        *("asked", "body", "error", "facts", "fields", "found", "hint", "problems", "raw"),
        *("reply", "root", "runs"),
    )

    fields: Fields
    root: Part
    hint: str | None
    """The character set that raw bytes in the header are likely in."""
    body: Body
    facts: Recognisable
    found: automatic.Recognition
    reply: str

    def __init__(
        self, raw: Source, asked: Collection[str] | None, runs: Runs | None = None
    ) -> None:
        self.raw = raw
        self.runs = runs or {}
        self.asked = asked
        self.problems: list[str] = []
        self.error: Exception | None = None

    def take(self, step: Callable[[_Reading], None]) -> None:
        """Take a step, unless one failed before."""
        if self.error is None:
            try:
                step(self)
            except OSError as error:
                if not isinstance(self.raw, bytes):  # its file cannot be read: no fault of its own
                    raise
                self.error = error
            except Exception as error:  # the last line of defence: mail must never stop a mailbox
                self.error = error

    def result(self) -> ParsedMessage:
        """Return what was read."""
        try:
            return self._message() if self.error is None else _unreadable(self.raw, self.error)
        except Exception as error:
            return _unreadable(self.raw, error)

    # ------------------------------------------------------------------ steps

    def split(self) -> None:
        """Find the header and the parts."""
        source, start = _begin(self.raw)
        self.fields, body_at = _read_header(source, start)
        if self.fields.left_out:
            self.problems.append("The header has too many lines; some are left out here.")
        if is_nothing_but(_SPACE, self.raw, 0, len(self.raw)):
            self.problems.append("The message is empty.")
        kind = content_type(self.fields.first("content-type"))
        self.hint = kind.get("charset") or None
        self.root = Part(source, body_at, len(source), self.fields, kind)
        if self.root.is_multipart:
            Splitter(self.problems).split(self.root)
            self.hint = self.hint or _text_charset(self.root)

    def read_body(self) -> None:
        """Read the parts."""
        self.body = Reader(self.root, self.problems, self.runs).read()

    def read_head(self) -> None:
        """Read what of the header tells who wrote it, and why."""
        subject = self.fields.first("subject")
        from_ = self._from()
        # where From names nobody, what it says instead tells bounces
        asked = self.fields if from_ is None else self._fields_asked_for()
        self.facts = Recognisable(
            headers=self._headers(asked),
            from_=from_,
            subject=one_line(decode_words(subject, self.hint), LONGEST_SUBJECT),
            text=self.body.text,
            to=self._addresses("to"),
            cc=self._addresses("cc"),
            reply_to=self._addresses("reply-to"),
            content_type=self.root.type.value,
            content_type_parameters=self.root.type.raw,
            in_reply_to=self._ids("in-reply-to"),
            references=self._ids("references"),
            return_path=self._return_path(),
            report_parts=_report_parts(self.root),
        )

    def recognise(self) -> None:
        """Recognise machines; where that fails, the message is read and no machine answers it."""
        try:
            self.found = automatic.recognise(self.facts)
        except Exception as error:
            self.problems.append(f"What kind of mail it is was not found ({_class(error)}).")
            self.found = automatic.UNKNOWN

    def strip_quotes(self) -> None:
        """Tell what is new in it from what it quotes."""
        facts = self.facts
        is_reply = bool(facts.in_reply_to or facts.references)
        try:
            self.reply = strip_quotes(facts.text, subject=facts.subject, is_reply=is_reply)
        except Exception as error:
            self.problems.append(f"Quoted text could not be told from new text ({_class(error)}).")
            self.reply = facts.text

    # ------------------------------------------------------------------ the header

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

    def _ids(self, name: str) -> tuple[str, ...]:
        """Return the ids of all headers of that name: some programs write a second References."""
        values = self.fields.all(name)
        return message_ids(values[0] if len(values) == 1 else " ".join(values)) if values else ()

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

    def _fields_asked_for(self) -> list[tuple[str, str]]:
        if (asked := self.asked) is None:
            return self.fields
        return [
            one for one in self.fields if (key := one[0].lower()) in asked or key[:5] == "list-"
        ]

    def _headers(self, fields: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        headers: list[tuple[str, str]] = []
        for name, value in fields:
            on_one_line = value if "\t\t" in value else value.replace("\t", " ")  # where it folds
            is_plain = on_one_line.isprintable() and value.isascii() and "=?" not in value
            if is_plain and len(value) < _LONGEST_VALUE:  # most are; what follows costs more
                headers.append((name, on_one_line))
            else:
                headers.append((name, self._shown(value)))
        return tuple(headers)

    def _shown(self, value: str) -> str:
        return one_line(decode_words(value[:_LONGEST_VALUE], self.hint), _LONGEST_VALUE)

    # ------------------------------------------------------------------ the result

    def _message(self) -> ParsedMessage:
        """Put header, body and what is recognised of machines together."""
        facts, body, found = self.facts, self.body, self.found
        return make_message(
            from_=facts.from_,
            to=facts.to,
            cc=facts.cc,
            reply_to=facts.reply_to,
            subject=facts.subject,
            date=parse_date(self.fields.first("date")),
            message_id=message_id(self.fields.first("message-id")),
            in_reply_to=facts.in_reply_to,
            references=facts.references,
            text=body.text,
            reply_text=self.reply,
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


_STEPS = (
    _Reading.split,
    _Reading.read_body,
    _Reading.read_head,
    _Reading.recognise,
    _Reading.strip_quotes,
)


def _class(error: Exception) -> str:
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
            decode_body(
                part.source[part.start : min(part.end, part.start + _REPORT_BYTES)], part.encoding
            ).content,
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


def _unreadable(raw: Source, error: Exception) -> ParsedMessage:
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
        problems=(f"The message could not be read ({_class(error)}); see the original.",),
    )
