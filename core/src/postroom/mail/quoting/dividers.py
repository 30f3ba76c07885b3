"""Dividers and copied headers: what programs put above the whole of the mail that is answered."""

from __future__ import annotations

import re
from collections.abc import Sequence

from postroom.mail.quoting.marks import (
    ADDRESS,
    DATE,
    DATE_LABELS,
    FROM_LABELS,
    ORIGINAL_MESSAGE,
    REPLY_ABOVE,
    RULES,
    SENT_LABELS,
    SUBJECT_LABELS,
    TIME,
)
from postroom.mail.quoting.own_lines import BLANK_OR_RULE, MAX_MARK, is_quoted

_MAX_BLOCK = 15
_LEAST_LABELS = 4
"""Lines of a copied header: From, Sent, To, and Cc or Subject."""
_LABEL = re.compile(r"[\s*_\u200e\u200f\u202a-\u202e]*([^\s:：*_][^:：*]{0,24}?)[\s\xa0*_]*[:：]")
_TITLED_RULE = re.compile(r"\s*[_=*-]{4,}[^_=*-].{0,60}?[_=*-]{4,}\s*$")


def is_divider_of_groupwise(line: str) -> bool:
    """ ">>> Desk <desk@example.org> 3/3/2026 10:15 AM >>>"."""
    return (
        line[:4] == ">>> "
        and line[-4:] == " >>>"
        and DATE.search(line) is not None
        and ADDRESS.search(line) is not None
    )


def is_divider(line: str) -> bool:
    """ "-----Original Message-----", "##- Please type your reply above this line -##".

    One dash alone begins an item of a list.
    """
    words = line.strip(RULES).lower()
    if words not in ORIGINAL_MESSAGE and REPLY_ABOVE.search(words) is None:
        return False
    before, after = (len(line) - len(cut) for cut in (line.lstrip(RULES), line.rstrip(RULES)))
    return bool(words) and (line[1] in RULES.replace(" ", "") or (before > 0 and after > 0))


def is_header_block(lines: Sequence[str], index: int, *, is_reply: bool) -> bool:
    """From, a date and a subject within a few lines, as mail programs copy them.

    A form has a "Date" as well, but seldom "Sent": with that no subject is needed, but in what is
    no reply a line more.
    """
    label = _label(lines[index])
    if label not in FROM_LABELS and label not in DATE_LABELS and label not in SUBJECT_LABELS:
        return False
    block = _block(lines, index)
    labels = [_label(line) for line in block]
    for kind in (FROM_LABELS, DATE_LABELS, SUBJECT_LABELS):
        if label in kind and sum(one in kind for one in labels) > 1:
            return False  # a line of the writer's own stands above the block
    dates = DATE_LABELS if is_reply else SENT_LABELS
    if FROM_LABELS.isdisjoint(labels) or dates.isdisjoint(labels):
        return False
    below = index + len(block)
    if all(labels) and not any(line.strip() for line in lines[below : below + _MAX_BLOCK]):
        return False  # without a text it only tells which mail is meant
    has_subject = not SUBJECT_LABELS.isdisjoint(labels)
    if has_subject and not SENT_LABELS.isdisjoint(labels):
        return True
    if not _tells_of_mail(block, labels):
        return False
    if has_subject:
        return True
    if not is_reply and sum(map(bool, labels)) < _LEAST_LABELS:
        return False
    if not lines[index + 1].strip() or FROM_LABELS.isdisjoint(labels[:4]):
        return False
    sent = [line for line in lines[index : index + 4] if _label(line) in SENT_LABELS]
    return any(map(DATE.search, sent)) or (bool(sent) and above_rules(lines, index) < index - 1)


def is_whole_block(lines: Sequence[str], index: int) -> bool:
    """Is it all that Outlook copies, set apart below? Nobody writes so much of it by hand."""
    block = _block(lines, index)
    labels = [_label(line) for line in block]
    return (
        labels[0] in FROM_LABELS
        and labels[1] in SENT_LABELS
        and labels[-1] in SUBJECT_LABELS
        and len(labels) >= _LEAST_LABELS
        and "@" in block[0]
        and TIME.search(block[1][:MAX_MARK]) is not None
        and not lines[index + 1 : index + len(block) + 1][-1].strip()
    )


def _tells_of_mail(block: Sequence[str], labels: Sequence[str]) -> bool:
    """Has it the sender's address, or the time of day? Parcels and journeys have neither."""
    return any(
        (label in FROM_LABELS and "@" in line)
        or (label in DATE_LABELS and TIME.search(line[:MAX_MARK].replace("\u200e", "")))
        for line, label in zip(block, labels, strict=True)
    )


def _block(lines: Sequence[str], index: int) -> list[str]:
    """Return the lines from here to the first blank one; of a double-spaced block every other."""
    block = list(lines[index : index + _MAX_BLOCK])
    if len(block) > 1 and not block[1].strip():
        if any(line.strip() for line in block[1:6:2]):
            return block[:1]
        block = block[::2]
    for end, line in enumerate(block):
        if BLANK_OR_RULE.match(line[:MAX_MARK]) or is_quoted(line):
            return block[:end]
    return block


def marked_below(lines: Sequence[str], index: int) -> int | None:
    """Return the first line that `>` marks, if only the labels of a block, or an attribution, stand
    before it."""
    for following in range(index + 1, min(index + _MAX_BLOCK, len(lines))):
        line = lines[following]
        if is_quoted(line):
            return following
        if line.strip() and not (_label(line) or _may_attribute(line[:MAX_MARK])):
            return None
    return None


def _may_attribute(line: str) -> bool:
    return DATE.search(line) is not None or "@" in line


def _label(line: str) -> str:
    found = _LABEL.match(line[:60])
    label = found.group(1).lower() if found else ""
    return "from" if label == "no" and "@" in line else label  # Latvian; elsewhere a number


def names_sender(line: str) -> bool:
    """Is this "> From: Desk <desk@example.org>", which begins the quotes of some programs?"""
    return "@" in line[:MAX_MARK] and _label(line[:60].lstrip("> ")) in FROM_LABELS


def above_rules(lines: Sequence[str], index: int) -> int:
    """Return the first of the blank lines and drawn rules right above a line."""
    if index > 0 and _TITLED_RULE.match(lines[index - 1][:MAX_MARK]):
        index -= 1
    while index > 0 and len(lines[index - 1]) <= MAX_MARK and BLANK_OR_RULE.match(lines[index - 1]):
        index -= 1
    return index
