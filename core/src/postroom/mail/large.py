"""Understands a message whatever its size."""

from __future__ import annotations

from postroom.api.transport import Spool
from postroom.mail.identity import fingerprint
from postroom.mail.message import ParsedMessage
from postroom.mail.parsing import parse


def understand(raw: bytes | Spool) -> tuple[ParsedMessage, str]:
    """Return what the message says and its fingerprint."""
    if isinstance(raw, Spool):
        whole = raw.map()[:]
        return parse(whole), fingerprint(whole)
    return parse(raw), fingerprint(raw)
