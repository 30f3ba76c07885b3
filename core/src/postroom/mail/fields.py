"""Split a header block into its fields, in linear time and within bounds."""

from __future__ import annotations

import re

Fields = list[tuple[str, str]]
"""Name as written, and value: unfolded, its bytes carried by Latin-1."""

MOST = 1_000
LONGEST = 65_536
LONGEST_OTHER = 8_192
ALL_OTHERS = 262_144

_END = re.compile(rb"\n\r*\n")
_FIELD = re.compile(r"([!-9;-~]{1,200})[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)\n?")
_LIKE_FIELD = re.compile(r"[!-9;-~]{1,200}[ \t]*:")
_FOLD = re.compile(r"\r*\n")

IMPORTANT = frozenset(
    "from to cc reply-to sender subject date message-id in-reply-to references return-path "
    "content-type content-transfer-encoding content-disposition content-id mime-version "
    "auto-submitted precedence x-auto-response-suppress x-autoreply x-autorespond list-id "
    "list-unsubscribe x-loop delivered-to x-failed-recipients".split()
)
"""Found however many others stand before them."""


def read_fields(raw: bytes, start: int, end: int) -> tuple[Fields, int, bool]:
    """Return the fields from `start` on, where the body begins, and whether some were left out.

    A line that is no field ends the header, unless a field follows it: then it is skipped.
    """
    if raw[start : start + 1] == b"\n":
        return [], start + 1, False
    if raw[start : start + 2] == b"\r\n":
        return [], start + 2, False
    found = _END.search(raw, start, end)
    stop, body = (found.start() + 1, found.end()) if found else (end, end)
    block = raw[start:stop].decode("latin-1")
    fields: Fields = []
    kept = left_out = size = position = 0
    length = len(block)
    while position < length:
        field = _FIELD.match(block, position)
        if field is None:
            after = block.find("\n", position) + 1
            if after and _LIKE_FIELD.match(block, after):
                position = after
                continue
            return fields, start + position, bool(left_out)
        position = field.end()
        name, value = field[1], field[2]
        important = len(fields) < 16 or name.lower() in IMPORTANT
        if not important and (kept >= MOST or size > ALL_OTHERS):
            left_out += 1
            continue
        value = value[: LONGEST if important and name.lower() in IMPORTANT else LONGEST_OTHER]
        if len(fields) > 4 * MOST:
            left_out += 1
            continue
        if not important:
            kept += 1
            size += len(value)
        fields.append((name, unfold(value)))
    return fields, body, bool(left_out)


def unfold(value: str) -> str:
    """Return the value on one line; the white space of a fold stays (RFC 5322 section 2.2.3)."""
    return (_FOLD.sub("", value) if "\n" in value else value).strip(" \t\r")


def first(fields: Fields, name: str) -> str | None:
    """Return the first value of that name (given in lower case), or None."""
    return next((value for key, value in fields if key.lower() == name), None)
