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


def unreadable(parsed: ParsedMessage) -> ParsedMessage:
    """Return a stand-in for a message that cannot be stored as it is: its raw bytes are kept."""
    return replace(
        parsed,
        from_=None,
        to=(),
        cc=(),
        reply_to=(),
        subject="A message that could not be converted",
        text="This message could not be converted. Its raw bytes are kept as they came.",
        reply_text="This message could not be converted. Its raw bytes are kept as they came.",
        html_original=None,
        message_id=None,
        in_reply_to=(),
        references=(),
        may_auto_reply=False,
        reported_ids=(),
        headers=(),
        attachments=(),
        problems=("It could not be converted.",),
    )
