"""What a POP3 session's maildrop holds: numbers, unique ids, sizes, dates of arrival."""

from __future__ import annotations

import email.utils
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from postroom.api import SettingsError, Spool, TransientError, codes

from postroom_pop_imap.errors import Refused, explain_code
from postroom_pop_imap.pop_connect import PopClient

WINDOW: Final = 100
"""Commands that are under way at once where the server offers PIPELINING (RFC 2449 6.6)."""
_LARGEST_LISTING: Final = 256 << 20
_LARGEST_HEADER: Final = 1 << 20
_RECEIVED = re.compile(rb"^received:((?:[^\r\n]|\r?\n[ \t])*)", re.I | re.M)
_LONGEST_ID: Final = 500
_UNIQUE_ID = re.compile(rb"[\x21-\x7e]{1,%d}\Z" % _LONGEST_ID)


class OutOfStep(Exception):  # noqa: N818 - a state, not a fault
    """The text of a message ended before it began, and what follows cannot be told from answers.

    Dovecot (2.3.19) does not stuff a dot in the first line of a message, so that one which begins
    with a line of a single dot looks empty.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.ref)
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of this session; `number` holds until QUIT only.

    :ivar unique_id: fit for a ref; "" where the server gave none
    """

    number: int
    ref: str
    unique_id: str
    size: int | None


def list_maildrop(client: PopClient) -> list[Entry]:
    """Return what is there, in the server's order.

    Refs are the unique ids. RFC 1939 section 7 wants 1 to 70 printable characters, each id once;
    some servers take them from the message, so that whoever sent it chose what is wrong with one.
    Such a ref holds a space, which no good id does, so that it is never that of another message:
    the second and later messages with the same id get a number, odd characters are escaped, and
    a message without an id, which nothing tells from another, is called after its size.

    :raises SettingsError: SERVER_UNFIT, the server knows no UIDL
    """
    try:
        ids = _numbered(client, b"UIDL")
    except Refused as refused:
        error = client.explain(refused, "list the messages")
        if explain_code(refused, error.sentence):
            raise error from refused
        sentence = f"{client.line.where} cannot tell messages apart: it has no UIDL."
        raise SettingsError(codes.SERVER_UNFIT, sentence) from refused
    try:
        sizes = _numbered(client, b"LIST")
    except Refused as refused:
        raise client.explain(refused, "list the messages") from refused
    seen: Counter[str] = Counter()
    entries = []
    for number in sorted(ids.keys() | sizes.keys()):
        unique_id, told = _printable(ids.get(number, b"")), sizes.get(number, b"")
        size = int(told) if told.isdigit() else None
        name = unique_id or f"no id {size}"
        seen[name] += 1
        ref = name if seen[name] == 1 else f"{name} {seen[name]}"
        entries.append(Entry(number, ref, unique_id, size))
    return entries


def _printable(unique_id: bytes) -> str:
    """Return an id as it may stand in a ref: no two are the same."""
    if _UNIQUE_ID.match(unique_id):
        return unique_id.decode("ascii")
    if len(unique_id) > _LONGEST_ID:
        return f"digest sha256:{hashlib.sha256(unique_id).hexdigest()}"
    return f"escaped {quote(unique_id, safe='')}" if unique_id else ""


def _numbered(client: PopClient, command: bytes) -> dict[int, bytes]:
    """Ask for a listing: number → the next word on its line."""
    client.ask(command)
    text = client.reader.read_text(spool_above=_LARGEST_LISTING, most=0)
    if not isinstance(text, bytes):
        raise TransientError(codes.PROTOCOL, f"{client.line.where} sent a listing without end.")
    found: dict[int, bytes] = {}
    for line in text.split(b"\n"):
        number, *rest = line.split() or [b""]
        if number.isdigit():
            found[int(number)] = rest[0] if rest else b""
    return found


def received_dates(
    client: PopClient, entries: Sequence[Entry]
) -> Iterator[tuple[str, datetime | None]]:
    """Yield refs and when they arrived: the date of the topmost Received field, by TOP n 0."""
    for group in windows(client, entries):
        client.send(*(b"TOP %d 0" % entry.number for entry in group))
        for entry in group:
            try:
                client.read_reply()
            except Refused:  # it has no TOP, or the message is gone
                yield entry.ref, None
                continue
            header = client.reader.read_text(spool_above=_LARGEST_HEADER, most=_LARGEST_HEADER)
            if not header and entry.size:
                raise OutOfStep(entry)
            if isinstance(header, Spool):
                header.close()
            yield entry.ref, topmost_date(header) if isinstance(header, bytes) else None


def windows(client: PopClient, entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Part entries into groups whose commands may be sent at once."""
    size = WINDOW if "PIPELINING" in client.offered else 1
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def topmost_date(header: bytes) -> datetime | None:
    """Return the date of the first Received field, which the last server wrote, in UTC."""
    head = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0]
    match = _RECEIVED.search(head)
    if match is None:
        return None
    words = match[1].rpartition(b";")[2].decode("latin-1")
    try:
        date = email.utils.parsedate_to_datetime(" ".join(words.split()))
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
