"""Which lines are blank, quoted, or the writer's own."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from postroom.mail.quoting.marks import GREETING, MOBILE

MAX_MARK = 400
"""Characters of the longest line, or wrapped line, that can announce a quote."""
BLANK_OR_RULE = re.compile(r"[\s_=*-]*$")


def is_quoted(line: str) -> bool:
    """Tell whether `>` marks the line."""
    return line[:MAX_MARK].lstrip().startswith(">")


def has_own_text(lines: Sequence[str], end: int, announced: Container[int] = ()) -> bool:
    """Does the writer say anything before `end`, besides quotes and what announces them?"""
    return any(
        not BLANK_OR_RULE.match(line[:MAX_MARK]) and index not in announced and line[:1] != ">"
        for index, line in enumerate(lines[:end])
    )


def only_greets(lines: Sequence[str], end: int) -> bool:
    """Are "Hello," and the line of a mobile all that stands above? Then the answer stands below."""
    last = last_line(lines, end)
    if MOBILE.match(lines[last][:160].strip()):
        if not has_own_text(lines, last):
            return True
        last = last_line(lines, last)
    return GREETING.match(lines[last][:MAX_MARK]) is not None and not has_own_text(lines, last)


def last_line(lines: Sequence[str], end: int) -> int:
    """Return the index of the last line before `end` that is not blank; -1 if there is none."""
    index = end - 1
    while index >= 0 and (not lines[index] or lines[index].isspace()):
        index -= 1
    return index
