"""Names on the wire and in the ledger: folders, refs, the cursor, sets of UIDs."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from imapclient import imap_utf7  # type: ignore[import-untyped]  # it has no types

_UNSAFE = re.compile(r"[%;\x00-\x20\x7f-\x9f]")
_REF = re.compile(r"([^;]+);(\d{1,10});(\d{1,10})\Z")
_LONGEST_CURSOR: Final = 60_000


class Place(NamedTuple):
    """Where a message is: UIDs hold within one UIDVALIDITY of a folder (RFC 9051 2.3.1.1)."""

    folder: str
    validity: int
    uid: int


def make_ref(folder: str, validity: int, uid: int) -> str:
    """Return the ref of a message: ``folder;uidvalidity;uid``."""
    return f"{escape_folder(folder)};{validity};{uid}"


@lru_cache(maxsize=100)
def escape_folder(folder: str) -> str:
    """Percent-encode what would be ambiguous or unprintable in a ref."""
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), folder)


def parse_ref(ref: str) -> Place | None:
    """Return what a ref names; None if it is none of ours."""
    match = _REF.match(ref)
    return Place(unquote(match[1]), int(match[2]), int(match[3])) if match else None


def same_folder(one: str, other: str) -> bool:
    """Compare names; INBOX is the same in any case (RFC 9051 section 5.1)."""
    return one == other or one.upper() == other.upper() == "INBOX"


def encode_folder(folder: str) -> bytes:
    """Return a folder's name as a quoted string in modified UTF-7, fit for a command."""
    coded = bytes(imap_utf7.encode(folder))
    return b'"' + coded.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def decode_folder(coded: bytes) -> str:
    """Return the name as people see it; as it stands where it is no modified UTF-7."""
    try:
        return str(imap_utf7.decode(coded))
    except (UnicodeDecodeError, binascii.Error):
        return coded.decode("latin-1")


def uid_set(uids: Iterable[int]) -> bytes:
    """Write ascending UIDs with ranges: ``1:3,7``."""
    ranges: list[list[int]] = []
    for uid in uids:
        if ranges and ranges[-1][1] == uid - 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in ranges)


def parse_uid_set(text: str, *, most: int = 100_000) -> list[int]:
    """Read a set of UIDs in its own order, as COPYUID has it; [] if it is none."""
    uids: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        if not low.isdecimal() or not (high or low).isdecimal():
            return []
        first, last = int(low), int(high or low)
        step = 1 if first <= last else -1
        if abs(last - first) + len(uids) > most:
            return []
        uids.extend(range(first, last + step, step))
    return uids


class Progress(NamedTuple):
    """How far a folder was retrieved: below `next_uid`, in that UIDVALIDITY."""

    validity: int
    next_uid: int


def parse_cursor(cursor: str | None) -> dict[str, Progress]:
    """Read a cursor; a damaged one, or a damaged part, means from the beginning."""
    try:
        held = json.loads(cursor or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {
        folder: Progress(*part)
        for folder, part in held.items()
        if isinstance(part, list)
        and len(part) == 2
        and all(type(number) is int and 0 <= number < 1 << 32 for number in part)
    }


def format_cursor(progress: Mapping[str, Progress]) -> str:
    """Write a cursor; folders beyond its size are left out and listed from the start."""
    held = dict(progress)
    while len(text := json.dumps(held, separators=(",", ":"))) > _LONGEST_CURSOR:
        held.popitem()
    return text
