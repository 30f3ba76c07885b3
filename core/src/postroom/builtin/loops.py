"""Never answer ourselves by machine. These rules stop answers; they never drop mail.

What any mail says of itself (RFC 3834, lists, bulk, no-reply senders) is in
`ParsedMessage.may_auto_reply` already; here is what takes knowing which addresses are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from postroom.api.hookspecs import hookimpl
from postroom.api.verdict import MailboxView, Verdict
from postroom.mail.domains import address_key, is_own

if TYPE_CHECKING:
    from postroom.mail import ParsedMessage

MAX_HOPS = 50
"""More Received lines than an honest route has; Postfix gives up at as many."""
_NAMING = ("x-loop", "sender", "resent-from")
"""Headers that name who sent it on."""
HEADERS = frozenset((*_NAMING, "delivered-to", "received"))
"""Those that are looked at."""


@hookimpl
def postroom_classify(message: ParsedMessage, mailbox: MailboxView) -> Verdict | None:
    """Forbid an automatic answer to what is, or may be, our own mail."""
    return Verdict(may_auto_reply=False) if _may_loop(message, mailbox.own_addresses) else None


def _may_loop(message: ParsedMessage, own: frozenset[str]) -> bool:
    if is_own((message.from_, *message.reply_to), own):
        return True
    if message.return_path and address_key(message.return_path) in own:
        return True
    marks = _marks(message)
    return (
        any(_names_one(marks[name], own) for name in _NAMING if name in marks)
        or _was_here_before(marks.get("delivered-to", ()), own)
        or len(marks.get("received", ())) > MAX_HOPS
    )


def _marks(message: ParsedMessage) -> dict[str, list[str]]:
    """Return the headers that matter here, by lower-case name."""
    marks: dict[str, list[str]] = {}
    for name, value in message.headers:
        key = name.lower()
        if key in HEADERS:
            marks.setdefault(key, []).append(value)
    return marks


def _names_one(values: Iterable[str], own: frozenset[str]) -> bool:
    from postroom.mail.header.addresses import parse_addresses

    return any(is_own(parse_addresses(value), own) for value in values)


def _was_here_before(values: Sequence[str], own: frozenset[str]) -> bool:
    """Tell if one of our addresses already delivered it (Postfix and qmail see a loop in it)."""
    if len(values) < 2:
        return False
    passed = Counter(address_key(value) for value in values)
    return any(count > 1 and key in own for key, count in passed.items())
