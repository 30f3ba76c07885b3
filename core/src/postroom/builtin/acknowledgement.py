"""Acknowledge new questions, where the mailbox says so."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from postroom.api.hookspecs import hookimpl
from postroom.api.verdict import MailboxView, Verdict

if TYPE_CHECKING:
    from postroom.mail import ParsedMessage


@hookimpl
def postroom_classify(message: ParsedMessage, mailbox: MailboxView) -> Verdict | None:  # noqa: ARG001
    """Offer the segment's template; whether one goes out is decided when it is queued."""
    return None if mailbox.acknowledgement is None else _offer(mailbox.acknowledgement)


@lru_cache(maxsize=100)
def _offer(template: str) -> Verdict:
    return Verdict(acknowledgement=template)
