"""The segment's filters: a pattern on a field of the message sets topic, assignee or status, or has
the message ignored with a reason.

Patterns are an administrator's, the text they run on is a stranger's: together they may take for
ever. So all of a message's rules share `BUDGET_SECONDS`, one alone gets at most half of what is
left, and only the first `LONGEST` characters of a value are looked at. What counts is the time for
which this thread searched: neither a busy machine, nor other mailboxes, nor compiling the first
pattern may change what a rule says. A rule that takes longer, or that is no pattern, is skipped:
the mail arrives, the log and the verdict's `because` name it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from postroom.api.hookspecs import hookimpl
from postroom.api.verdict import FilterRule, MailboxView, Status, Verdict

if TYPE_CHECKING:
    from postroom.mail import Address, ParsedMessage

logger = logging.getLogger(__name__)

BUDGET_SECONDS = 0.1
"""Of the processor, for the searches of one message."""
LONGEST = 65_536
MOST_VALUES = 100

_told: set[tuple[str, str]] = set()
"""Rules that the log has named already: one bad pattern meets every message."""
_MOST_TOLD = 1_000


@hookimpl
def postroom_classify(message: ParsedMessage, mailbox: MailboxView) -> Verdict | None:
    """Apply the filters in order; the first to set a field wins."""
    if not mailbox.filters:
        return None
    found = _Found()
    for rule in mailbox.filters:
        if _matches(rule, message, found):
            found.apply(rule)
            if rule.stop or rule.ignore is not None:
                break
    return found.verdict()


@dataclass(slots=True)
class _Found:
    """What the rules said so far, and for how many seconds they may still search."""

    left: float = BUDGET_SECONDS
    topic: str | None = None
    assignee: str | None = None
    status: str | None = None
    ignore: str | None = None
    matched: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def apply(self, rule: FilterRule) -> None:
        self.matched.append(rule.name)
        self.topic = self.topic or rule.topic
        self.assignee = self.assignee or rule.assignee
        self.status = self.status or rule.status
        self.ignore = rule.ignore

    def verdict(self) -> Verdict | None:
        if not self.matched and not self.skipped:
            return None
        because = ", ".join(self.matched)
        if self.skipped:
            because = f"{because} (skipped: {', '.join(self.skipped)})".lstrip()
        return Verdict(
            topic=self.topic,
            assignee=self.assignee,
            status=cast("Status | None", self.status),
            ignore=self.ignore,
            because=because,
        )


def _matches(rule: FilterRule, message: ParsedMessage, found: _Found) -> bool:
    """Say whether the rule fits; one that cannot be told in time does not."""
    pattern = _compile(rule.pattern)
    if isinstance(pattern, str):
        _skip(rule, found, f"is no pattern: {pattern}")
        return False
    allowed = _Allowance(found.left / 2)
    try:
        return any(
            _search(pattern, value[:LONGEST], allowed) for value in _values(rule.field, message)
        )
    except TimeoutError:
        _skip(rule, found, "took too long on a message")
        return False
    finally:
        found.left -= allowed.used


@dataclass(slots=True)
class _Allowance:
    """For how many seconds one rule may search."""

    seconds: float
    used: float = 0.0


def _search(pattern: Any, value: str, allowed: _Allowance) -> bool:
    """Say whether the pattern is found; raise TimeoutError once the allowance is used up."""
    if allowed.used and allowed.used >= allowed.seconds:
        raise TimeoutError
    limit = max(allowed.seconds - allowed.used, 0.001)
    while True:
        begun = time.thread_time()
        try:
            return bool(pattern.search(value, timeout=limit))
        except TimeoutError:  # by the clock of the whole process: others may have used it
            if allowed.used + time.thread_time() - begun >= allowed.seconds:
                raise
            limit *= 2
        finally:
            allowed.used += time.thread_time() - begun


def _skip(rule: FilterRule, found: _Found, why: str) -> None:
    found.skipped.append(rule.name)
    key = (rule.name, rule.pattern)
    if key not in _told and len(_told) < _MOST_TOLD:
        _told.add(key)
        logger.warning("The filter %s %s; the rule is skipped.", rule.name, why)


@lru_cache(maxsize=1_000)
def _compile(pattern: str) -> Any:
    """Return the compiled pattern, or what is wrong with it."""
    import regex  # type: ignore[import-untyped]  # has no stubs

    try:
        return regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__


def headers(rules: Iterable[FilterRule]) -> set[str]:
    """Return the names, in lower case, of the headers that rules look at."""
    return {name.lower() for rule in rules if (name := _header(rule.field))}


def _header(field: str) -> str:
    kind, _, name = field.partition(":")
    return name.strip() if kind.lower() == "header" else ""


def _values(name: str, message: ParsedMessage) -> Iterable[str]:
    """Return the strings that a rule on this field is held against; one that fits is enough."""
    if name == "subject":
        return (message.subject,)
    if name == "body":
        return (message.text,)
    if name == "from":
        return _spellings([message.from_] if message.from_ else [])
    if name == "to":
        return _spellings([*message.to, *message.cc])
    return message.all_headers(header)[:MOST_VALUES] if (header := _header(name)) else ()


def _spellings(addresses: Iterable[Address]) -> Iterator[str]:
    """Yield each address alone, so that `^` and `$` work, and as it is shown with its name."""
    for one in list(addresses)[:MOST_VALUES]:
        yield one.address
        if one.name:
            yield str(one)
