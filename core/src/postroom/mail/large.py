"""Understands a message whatever its size."""

from __future__ import annotations

from dataclasses import replace

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


def unreadable() -> ParsedMessage:
    """Return a stand-in for a message that cannot be understood: its raw bytes are kept."""
    text = "This message could not be converted. Its raw bytes are kept as they came."
    return replace(
        parse(b""),
        subject="A message that could not be converted",
        text=text,
        reply_text=text,
        may_auto_reply=False,
        problems=("It could not be converted.",),
    )
