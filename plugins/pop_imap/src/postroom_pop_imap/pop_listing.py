"""What a POP3 session's maildrop holds: numbers, unique ids, sizes, dates of arrival."""

from __future__ import annotations

import email.utils
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from postroom.api import SettingsError, Spool, TransientError, codes

from postroom_pop_imap.errors import Refused, explain_code
from postroom_pop_imap.pop_connect import PopClient

WINDOW: Final = 100
"""Commands that are under way at once where the server offers PIPELINING (RFC 2449 6.6)."""
_LARGEST_LISTING: Final = 256 << 20
_LARGEST_HEADER: Final = 1 << 20
_RECEIVED = re.compile(rb"^received:((?:[^\r\n]|\r?\n[ \t])*)", re.I | re.M)
_UNIQUE_ID = re.compile(rb"[\x21-\x7e]{1,500}\Z")


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
    """A message of this session; `number` holds until QUIT only."""

    number: int
    ref: str
    unique_id: str
    size: int | None


def list_maildrop(client: PopClient) -> list[Entry]:
    """Return what is there, in the server's order.

    Refs are the unique ids. Where several messages have the same one, against RFC 1939 section 7,
    the second and later get a number after a space, which no unique id can hold.

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
    seen: Counter[bytes] = Counter()
    entries = []
    for number, unique_id in sorted(ids.items()):
        if not _UNIQUE_ID.match(unique_id):
            sentence = f"{client.line.where} gave message {number} no usable unique id."
            raise TransientError(codes.PROTOCOL, sentence)
        seen[unique_id] += 1
        name = unique_id.decode("ascii")
        ref = name if seen[unique_id] == 1 else f"{name} {seen[unique_id]}"
        size = sizes.get(number, b"")
        entries.append(Entry(number, ref, name, int(size) if size.isdigit() else None))
    return entries


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
