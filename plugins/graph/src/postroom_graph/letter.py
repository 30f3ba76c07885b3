"""An outgoing message as Graph takes it: whole as MIME, or taken apart into properties and files.

Taken apart it loses some of its form: only ``X-`` headers go as headers, the rest of what matters
goes as MAPI properties (MS-OXPROPS), of text and HTML only one is kept.
"""

from __future__ import annotations

import base64
import email
import email.policy
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Final

from postroom.api import Outgoing

from postroom_graph.lifting import Lifted

_IN_REPLY_TO: Final = "String 0x1042"
"""PidTagInReplyToId."""
_REFERENCES: Final = "String 0x1039"
"""PidTagInternetReferences."""
_HEADER: Final = "String {00020386-0000-0000-C000-000000000046} Name "
"""PS_INTERNET_HEADERS: a property with a header's name becomes that header."""
_MARK_HEADER: Final = "X-Postroom-Answer"
MARK: Final = _HEADER + _MARK_HEADER
"""Tells which message of ours a draft was made of, whatever Message-ID Exchange gave it."""
_AS_PROPERTIES: Final = ("Auto-Submitted", "Precedence")
_POLICY: Final = email.policy.default


def mark_of(message_id: str) -> str:
    """Return the mark of a draft, which says nothing to others."""
    return hashlib.sha256(message_id.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Person:
    """A name and an address in a header."""

    name: str
    address: str

    def as_recipient(self) -> dict[str, Any]:
        """Return it as Graph has it."""
        named = {"name": self.name} if self.name else {}
        return {"emailAddress": {"address": self.address, **named}}


@dataclass(frozen=True, slots=True)
class File:
    """An attachment. `read` returns its content, which is held only while it is needed."""

    name: str
    content_type: str
    read: Callable[[], bytes] = field(repr=False)
    content_id: str = ""

    @property
    def content(self) -> bytes:
        """The content, decoded at each call."""
        return self.read()

    def described(self) -> dict[str, Any]:
        """Return what Graph wants to know of it."""
        inline = {"isInline": True, "contentId": self.content_id} if self.content_id else {}
        return {"name": self.name, "contentType": self.content_type, **inline}

    def as_attachment(self, content: bytes) -> dict[str, Any]:
        """Return it as a fileAttachment."""
        encoded = base64.b64encode(content).decode()
        kind = "#microsoft.graph.fileAttachment"
        return {"@odata.type": kind, **self.described(), "contentBytes": encoded}


class Letter:
    """A message to send."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        end = outgoing.raw.find(b"\r\n\r\n")
        self._head = _parsed(outgoing.raw[: end if end >= 0 else None] + b"\r\n\r\n")
        wanted = {address.casefold() for address in outgoing.recipients}
        named = {one.address.casefold() for one in (*self._people("To"), *self._people("Cc"))}
        self._unnamed = [one for one in outgoing.recipients if one.casefold() not in named]
        self._wanted = wanted
        self.is_for_all = named <= wanted
        """Whether it goes to everybody whom its headers name: Graph knows no envelope."""

    @property
    def sender(self) -> Person:
        """Who it is from."""
        found = self._people("From")
        return found[0] if found else Person("", self._outgoing.from_address)

    def as_mime(self) -> bytes:
        """Return the message in base64, with its mark; who is not named in it becomes a Bcc."""
        more = f"{_MARK_HEADER}: {self._mark}\r\n"
        if self._unnamed:
            more += f"Bcc: {', '.join(self._unnamed)}\r\n"
        return base64.b64encode(more.encode() + self._outgoing.raw)

    def as_properties(self) -> tuple[dict[str, Any], list[File]]:
        """Return the message as a JSON draft, and its attachments."""
        lifted = Lifted(self._outgoing.raw)
        whole = _parsed(lifted.rest)
        body = whole.get_body(("html", "plain"))
        properties: dict[str, Any] = {
            "subject": str(self._head.get("Subject", "")),
            "body": _body(body),
            "from": self.sender.as_recipient(),
            "toRecipients": self._recipients("To"),
            "ccRecipients": self._recipients("Cc"),
            "bccRecipients": [Person("", one).as_recipient() for one in self._unnamed],
            "replyTo": [one.as_recipient() for one in self._people("Reply-To")],
            "internetMessageId": f"<{self._outgoing.message_id}>",
        }
        if own := self._own_headers():
            properties["internetMessageHeaders"] = own
        properties["singleValueExtendedProperties"] = list(self._extended())
        return properties, list(_files(whole, body, lifted))

    @property
    def _mark(self) -> str:
        return mark_of(self._outgoing.message_id)

    def _people(self, header: str) -> list[Person]:
        found = self._head.get(header)
        addresses = getattr(found, "addresses", ())
        return [Person(one.display_name, one.addr_spec) for one in addresses]

    def _recipients(self, header: str) -> list[dict[str, Any]]:
        people = self._people(header)
        return [one.as_recipient() for one in people if one.address.casefold() in self._wanted]

    def _own_headers(self) -> list[dict[str, str]]:
        return [
            {"name": name, "value": _line(value)}
            for name, value in self._head.items()
            if name.lower().startswith("x-")
        ]

    def _extended(self) -> Iterator[dict[str, str]]:
        yield {"id": MARK, "value": self._mark}
        for identifier, header in (
            (_IN_REPLY_TO, "In-Reply-To"),
            (_REFERENCES, "References"),
            *((_HEADER + name, name) for name in _AS_PROPERTIES),
        ):
            if value := _line(self._head.get(header, "")):
                yield {"id": identifier, "value": value}


def _parsed(raw: bytes) -> EmailMessage:
    found = email.message_from_bytes(raw, policy=_POLICY)
    assert isinstance(found, EmailMessage)  # noqa: S101 - what this policy makes
    return found


def _line(value: object) -> str:
    return " ".join(str(value).split())


def _body(part: Any) -> dict[str, str]:
    if part is None:
        return {"contentType": "text", "content": ""}
    kind = "html" if part.get_content_subtype() == "html" else "text"
    return {"contentType": kind, "content": str(part.get_content())}


def _files(whole: EmailMessage, body: Any, lifted: Lifted) -> Iterator[File]:
    """Yield every leaf that is not shown as text; a message within stays whole."""
    for part in _leaves(whole):
        is_shown = part.get_content_maintype() == "text" and not part.is_attachment()
        if part is body or (is_shown and not part.get_filename()):
            continue
        content_id = str(part.get("Content-ID", "")).strip().strip("<>")
        is_inline = bool(content_id) and not part.is_attachment()
        yield File(
            part.get_filename() or _NAMES.get(part.get_content_type(), "attachment"),
            part.get_content_type(),
            functools.partial(_content, part, lifted),
            content_id if is_inline else "",
        )


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    if part.get_content_maintype() != "multipart":
        yield part
        return
    for one in part.iter_parts():
        if isinstance(one, EmailMessage):
            yield from _leaves(one)


def _content(part: EmailMessage, lifted: Lifted) -> bytes:
    if part.get_content_maintype() == "message":
        inner: Sequence[Any] = part.get_payload() if part.is_multipart() else ()  # type: ignore[assignment]
        return lifted.restored(b"".join(bytes(one) for one in inner))
    found = part.get_payload(decode=True)
    return lifted.decoded(found) if isinstance(found, bytes) else b""


_NAMES: Final = {"message/rfc822": "message.eml"}
