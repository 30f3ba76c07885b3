"""What `postroom_classify` sees and says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["unassigned", "assigned", "resolved", "spam"]
"""Of a question."""


@dataclass(frozen=True, slots=True)
class FilterRule:
    """A filter as an administrator defined it: a rule of a segment that sorts or ignores mail."""

    name: str
    field: str
    """``subject``, ``body``, ``from``, ``to`` or ``header:NAME``."""
    pattern: str
    topic: str | None = None
    assignee: str | None = None
    status: str | None = None
    ignore: str | None = None
    stop: bool = False


@dataclass(frozen=True, slots=True)
class MailboxView:
    """What a plugin may know of the mailbox a message came to."""

    address: str
    name: str
    segment: str
    own_addresses: frozenset[str]
    """Every address and alias of ours, lower case."""
    filters: tuple[FilterRule, ...] = ()
    """The segment's filters, in order."""
    acknowledgement: str | None = None
    """The template to acknowledge new questions with; None: this mailbox does not."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a message; a field that is None is left to the next plugin.

    `topic`, `assignee` and `status` apply to a question that the message opens; `ignore` keeps the
    bytes but makes no message. `may_auto_reply` can only be switched off.
    """

    topic: str | None = None
    assignee: str | None = None
    status: Status | None = None
    """``unassigned``, ``assigned``, ``resolved`` or ``spam``."""
    ignore: str | None = None
    may_auto_reply: Literal[False] | None = None
    acknowledgement: str | None = None
    """Template of the acknowledgement, should this message open a question and be answerable."""
    because: str | None = None
    """Who decided, for the record: a filter's name, say."""
