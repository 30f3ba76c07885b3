"""Folders: finding them under the name an administrator knows, opening, listing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from postroom.api import Listed, SettingsError, TransientError, codes

from postroom_pop_imap.errors import Refused, explain_code
from postroom_pop_imap.imap_names import (
    decode_folder,
    encode_folder,
    make_ref,
    same_folder,
    uid_set,
)
from postroom_pop_imap.imap_wire import Answer, Wire, code_argument

LISTING_PAGE: Final = 2000
_SHOWN = 30
_LIST = re.compile(rb'LIST \(([^)]*)\) (NIL|"(?:\\.|[^"])*") (.*)\Z', re.I | re.S)
_UID = re.compile(rb"[^ ]* FETCH .*?\bUID (\d+)", re.I | re.S)
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d{1,19})\b", re.I)
_DATE = re.compile(
    rb'\bINTERNALDATE "([ \d]?\d)-([a-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-]\d{4})"', re.I
)
_MONTHS = {
    name: number
    for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)
}


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder, as SELECT or EXAMINE described it."""

    name: str
    """As the server spells it, in Unicode; INBOX in capitals."""
    validity: int
    next_uid: int | None
    exists: int
    read_only: bool
    flags: frozenset[str] | None
    """Which flags can be set for good, lower case; None if the server did not say."""

    def keeps(self, flag: str) -> bool:
        """Tell whether a flag can be set for good."""
        return self.flags is None or flag.lower() in self.flags

    def keeps_keywords(self) -> bool:
        """Tell whether keywords of our own can be set."""
        return self.flags is not None and "\\*" in self.flags

    def refs(self, uids: Iterable[int]) -> dict[int, str]:
        """Return the refs of messages in it, by UID."""
        return {uid: make_ref(self.name, self.validity, uid) for uid in uids}


def list_folders(wire: Wire) -> dict[str, str]:
    """Return the folders that can be opened, name → hierarchy delimiter ("" if flat)."""
    found: dict[str, str] = {}
    for answer in wire.must(b'LIST "" "*"', "list the folders"):
        match = _LIST.match(answer.text)
        if not match or {b"\\noselect", b"\\nonexistent"} & set(match[1].lower().split()):
            continue
        delimiter = "" if match[2].upper() == b"NIL" else _unquoted(match[2]).decode("latin-1")
        name = answer.literals[-1] if answer.literals else _unquoted(match[3])
        if isinstance(name, bytes):
            found[decode_folder(name)] = delimiter
    return found


def _unquoted(text: bytes) -> bytes:
    if text.startswith(b'"') and text.endswith(b'"') and len(text) > 1:
        return re.sub(rb"\\(.)", rb"\1", text[1:-1], flags=re.S)
    return text


def spelled_on_server(name: str, folders: dict[str, str]) -> str | None:
    """Return the folder that `name` means: exactly so, or with / for the server's delimiter."""
    for candidate, delimiter in folders.items():
        if same_folder(candidate, name):
            return candidate
        if delimiter and same_folder(candidate, name.replace("/", delimiter)):
            return candidate
    return None


def open_folder(wire: Wire, name: str, *, writable: bool = False) -> Folder:
    """Open a folder under the name an administrator gave.

    :raises SettingsError: FOLDER_MISSING, naming those that exist
    """
    try:
        return _open_exactly(wire, name, writable=writable)
    except Refused as refused:
        doing = f"open the folder {name}"
        if known := explain_code(refused, wire.explain(refused, doing).sentence):
            raise known from refused
        folders = list_folders(wire)
        spelled = spelled_on_server(name, folders)
        if spelled is not None and spelled != name:
            return open_folder(wire, spelled, writable=writable)
        if spelled is not None:  # it is there and does not open
            raise wire.explain(refused, doing) from refused
        raise missing(wire.line.where, name, folders) from refused


def reopen_folder(wire: Wire, folder: Folder, *, writable: bool = False) -> None:
    """Open a folder again, on another connection or after one that came between.

    :raises TransientError: another one has its name now
    """
    if open_folder(wire, folder.name, writable=writable).validity != folder.validity:
        sentence = f"{wire.line.where}: the folder {folder.name} was replaced meanwhile."
        raise TransientError(codes.CONNECTION_LOST, sentence)


def missing(where: str, name: str, folders: dict[str, str]) -> SettingsError:
    """Return the error for a folder that is not there."""
    shown = sorted(folders)[:_SHOWN]
    more = f" and {len(folders) - _SHOWN} more" if len(folders) > _SHOWN else ""
    return SettingsError(
        codes.FOLDER_MISSING,
        f"{where} has no folder {name}; there are: {', '.join(shown) or 'none'}{more}.",
    )


def _open_exactly(wire: Wire, name: str, *, writable: bool = False) -> Folder:
    """Open a folder under its exact name.

    To read it, EXAMINE is enough, which changes nothing. But Courier (5.0) forgets the UIDs and the
    UIDVALIDITY that it gave out there, and gives out others next time. It is known by not telling
    UIDNEXT, and keeps them after SELECT.

    :raises Refused: it does not open
    """
    if writable:
        return _open(wire, b"SELECT", name)
    folder = _open(wire, b"EXAMINE", name)
    if folder.next_uid is not None:
        return folder
    try:
        return _open(wire, b"SELECT", name)
    except Refused:
        return _open(wire, b"EXAMINE", name)


def _open(wire: Wire, verb: bytes, name: str) -> Folder:
    answers = wire.ask(verb + b" " + encode_folder(name), f"open the folder {name}")
    read_only = code_argument(wire.completion, "READ-ONLY") is not None
    return _described("INBOX" if name.upper() == "INBOX" else name, answers, read_only)


def _described(name: str, answers: list[Answer], read_only: bool) -> Folder:
    numbers = {"UIDVALIDITY": 0, "UIDNEXT": 0}
    exists, flags = 0, None
    for answer in answers:
        text = answer.text.decode("latin-1")
        if match := re.match(r"(\d+) EXISTS", text, re.I):
            exists = int(match[1])
        status, _, words = text.partition(" ")
        if status.upper() != "OK":
            continue
        for code in numbers:
            argument = code_argument(words, code)
            if argument and argument.isdecimal():
                numbers[code] = int(argument)
        if (argument := code_argument(words, "PERMANENTFLAGS")) is not None:
            flags = frozenset(argument.strip("()").lower().split())
    return Folder(
        name, numbers["UIDVALIDITY"], numbers["UIDNEXT"] or None, exists, read_only, flags
    )


def search_uids(wire: Wire, folder: Folder, first: int) -> list[int]:
    """Return the UIDs from `first` on, ascending.

    ``n:*`` always names the last message, even below n (RFC 9051 section 6.4.8): filter. Where it
    names none, the server may not know the star, as GNU imap4d (3.15): ask for all.
    """
    if not folder.exists or (folder.next_uid is not None and first >= folder.next_uid):
        return []
    found = _search(wire, folder, b"UID %d:*" % first) or _search(wire, folder, b"ALL")
    return sorted(uid for uid in found if uid >= first)


def _search(wire: Wire, folder: Folder, criteria: bytes) -> set[int]:
    return found_uids(wire.must(b"UID SEARCH " + criteria, f"list the folder {folder.name}"))


def found_uids(answers: Iterable[Answer]) -> set[int]:
    """Return the UIDs in the answers to UID SEARCH."""
    found: set[int] = set()
    for answer in answers:
        kind, _, numbers = answer.text.partition(b" ")
        if kind.upper() == b"SEARCH":
            found.update(int(number) for number in numbers.split() if number.isdigit())
    return found


def describe_messages(
    wire: Wire, folder: Folder, uids: list[int], *, with_sizes: bool = True
) -> Iterator[tuple[int, Listed]]:
    """Yield size and date of messages, ascending; one that is gone by now is not yielded."""
    doing = f"list the folder {folder.name}"
    known: dict[int, Listed] = {}
    items = b"UID RFC822.SIZE INTERNALDATE" if with_sizes else b"UID INTERNALDATE"
    command = b"UID FETCH %s (%s)" % (uid_set(uids), items)
    for answer in wire.must(command, doing):
        uid = parse_uid(answer.text)
        if uid is None:
            continue
        size = _SIZE.search(answer.text)
        if uid in known and size is None:
            continue  # somebody set a flag meanwhile (RFC 9051 section 7.5.2)
        known[uid] = Listed(
            make_ref(folder.name, folder.validity, uid),
            parse_date(answer.text),
            int(size[1]) if size else None,
        )
    return ((uid, known[uid]) for uid in uids if uid in known)


def present(wire: Wire, folder: Folder, uids: Iterable[int]) -> set[int]:
    """Return which of the messages are still there."""
    doing = f"list the folder {folder.name}"
    answers = wire.must(b"UID FETCH %s (UID)" % uid_set(uids), doing)
    return {uid for answer in answers if (uid := parse_uid(answer.text)) is not None}


def parse_uid(text: bytes) -> int | None:
    """Return the UID in the text of a FETCH answer, None in any other."""
    match = _UID.match(text)
    return int(match[1]) if match else None


def parse_date(text: bytes) -> datetime | None:
    """Return the INTERNALDATE in a FETCH answer, in UTC."""
    match = _DATE.search(text)
    if not match:
        return None
    day, month, year, hour, minute, second, zone = match.groups()
    try:
        local = datetime(
            int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), int(second),
            tzinfo=UTC,
        )  # fmt: skip
        return local - _offset(zone)
    except (KeyError, ValueError, OverflowError):
        return None


@lru_cache(maxsize=100)
def _offset(zone: bytes) -> timedelta:
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    if offset >= timedelta(days=1):
        raise ValueError("no time zone")
    return -offset if zone.startswith(b"-") else offset
