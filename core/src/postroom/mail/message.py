"""What a mail says, as values: `ParsedMessage` and its parts.

Every string in here can be stored by PostgreSQL (no NUL, no lone surrogate) and every message id
is without its angle brackets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox of a header: `address` is `local@domain`, `name` may be empty."""

    address: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is a file, or that cannot be shown as the text.

    `filename` is safe to show and to store: no path, control or direction-override character,
    at most 255 bytes of UTF-8; made up where the sender gave none. `size` in bytes and `sha256`
    (hex) are those of `content`, the decoded bytes. `content_id` is without brackets.
    """

    filename: str
    content_type: str
    size: int
    sha256: str
    content_id: str | None
    inline: bool
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class ParsedMessage:
    """A message as `parse` understands it. `None` and empty mean: it does not say."""

    from_: Address | None
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    date: datetime | None
    """The Date header in UTC, aware; None where it is missing or impossible."""
    message_id: str | None
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    text: str
    """The plain text for a person to read; made from the HTML where there is no text part."""
    reply_text: str
    """`text` without quoted text and signature; all of `text` where nothing else is left."""
    html_original: str | None
    """The HTML as it came, decoded. For people use `html`."""
    is_automatic: bool
    is_bounce: bool
    may_auto_reply: bool
    reported_ids: tuple[str, ...]
    """Message ids that a report (bounce, receipt) is about."""
    return_path: str | None
    """The envelope sender as the delivering server noted it: `""` for `<>`, None if not noted."""
    received_at: datetime | None
    """The date of the topmost Received line, in UTC."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Every header line, name and decoded value, in order; bounded in number and length."""
    attachments: tuple[Attachment, ...]
    problems: tuple[str, ...]
    """What was wrong with the message, in words for an agent."""

    @cached_property
    def html(self) -> str | None:
        """The HTML cleaned for showing: no script, no form, nothing fetched from elsewhere."""
        if self.html_original is None:
            return None
        from postroom.mail.html import clean

        return clean(self.html_original)

    def header(self, name: str) -> str | None:
        """Return the first header of that name (case ignored), or None."""
        values = self._header_values.get(name.lower())
        return values[0] if values else None

    def all_headers(self, name: str) -> list[str]:
        """Return every header of that name (case ignored), in order."""
        return list(self._header_values.get(name.lower(), ()))

    @cached_property
    def _header_values(self) -> dict[str, list[str]]:
        values: dict[str, list[str]] = {}
        for name, value in self.headers:
            values.setdefault(name.lower(), []).append(value)
        return values


def make_message(**values: object) -> ParsedMessage:
    """Return a message with these values, which must be all that it has: its constructor takes five
    times as long, as that of any frozen class does."""
    message = object.__new__(ParsedMessage)
    vars(message).update(values)
    return message
