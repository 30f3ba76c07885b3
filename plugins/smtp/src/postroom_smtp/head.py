"""The header of a message for a server that takes ASCII only.

A local part beyond ASCII has no other form. RFC 6857, for readers that lack UTF-8, makes such an
address the name of an empty group. Here it is left out: the header then names who got the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_FIELD_END: Final = re.compile(rb"\r\n(?![ \t])")
_RECIPIENTS: Final = (b"to", b"cc")
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*"'
_PIECE: Final = re.compile(_QUOTED + rb"|\([^()]*\)|,|[^\",(]+|.", re.DOTALL)
_IN_ANGLES: Final = re.compile(rb"<((?:" + _QUOTED + rb'|[^<>"])*)>\s*\Z')


def without_international_recipients(raw: bytes) -> bytes:
    """Return the message without those in To and Cc whose address is not ASCII.

    A field that then names nobody is left out.
    """
    head, end, body = raw.partition(b"\r\n\r\n")
    fields = (_without_international(field) for field in _FIELD_END.split(head))
    return b"\r\n".join(field for field in fields if field is not None) + end + body


def _without_international(field: bytes) -> bytes | None:
    name, colon, value = field.partition(b":")
    if field.isascii() or name.lower() not in _RECIPIENTS:
        return field
    kept = [mailbox for mailbox in _mailboxes(value) if _address(mailbox).isascii()]
    return name + colon + b" " + b",\r\n ".join(kept) if kept else None


def _mailboxes(value: bytes) -> Iterator[bytes]:
    """Yield the mailboxes of a field, each as it is folded."""
    mailbox = b""
    for match in _PIECE.finditer(value):
        if match[0] == b",":
            yield mailbox.strip()
            mailbox = b""
        else:
            mailbox += match[0]
    yield mailbox.strip()


def _address(mailbox: bytes) -> bytes:
    found = _IN_ANGLES.search(mailbox)
    return found[1] if found else mailbox
