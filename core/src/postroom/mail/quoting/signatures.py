"""Signatures, and the line of a mobile device: what stands below the writer's text."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from postroom.mail.quoting.marks import COLONS, EXCUSE, MOBILE, MOBILE_REST
from postroom.mail.quoting.own_lines import MAX_MARK, has_own_text, last_line, only_greets

_MAX_SIGNATURE_LINES = 20
_SIGNATURE = re.compile(r"@|://|www\.|(?:\d[ ()./-]?){6}|unsubscri|mailing[ -]?list", re.IGNORECASE)
"""What a signature or the foot of a mailing list has, and a paragraph seldom."""
_POSTSCRIPT = re.compile(r"\s*(?:p\.?\s?s\b|n\.?\s?b\.|post ?scriptum)", re.IGNORECASE)


def without_signature(lines: Sequence[str], end: int, announced: Container[int]) -> int:
    """Return the end without "-- " and what follows (RFC 3676 section 4.3), or a mobile's line."""
    last = last_line(lines, end)
    for index in range(last, max(0, last - _MAX_SIGNATURE_LINES), -1):
        line = lines[index]
        if line[:2] == "--" and line.rstrip() == "--":
            has_text = has_own_text(lines, index, announced) and not only_greets(lines, index)
            if has_text and not _is_own_below(lines, index, last):
                end, last = index, last_line(lines, index)
            break
        if line[:1] == ">":
            break
    return last if _is_mobile_line(lines, last) and has_own_text(lines, last, announced) else end


def _is_own_below(lines: Sequence[str], index: int, last: int) -> bool:
    """Is what follows "-- " more of the mail? Signatures have no postscript and ask nothing.

    People also set "--" between paragraphs, without the space of RFC 3676: it must not stand below
    a colon then, nor twice; nor above a sentence, unless only the line above is blank. With what a
    signature has it is one.
    """
    below = [line[:MAX_MARK].strip() for line in lines[index + 1 : last + 1]]
    if any(_POSTSCRIPT.match(line) or line.endswith(("?", "？")) for line in below):
        return True
    if lines[index].startswith("-- "):
        return False
    if lines[last_line(lines, index)].strip()[-1] in COLONS:
        return True
    if any(_SIGNATURE.search(line) for line in below):
        return False
    if "--" in lines[max(0, index - 200) : index]:
        return True
    is_set_off = any(below[:1]) and not lines[index - 1].strip()
    return not is_set_off and _is_sentence(next((line for line in below if line), ""))


def _is_sentence(line: str) -> bool:
    ends = line.endswith((".", "!")) and not line.endswith("...")
    return ends and sum(word.islower() for word in line.split()) > 2


def _is_mobile_line(lines: Sequence[str], index: int) -> bool:
    """ "Sent from my iPhone": the last line, on its own, after something else."""
    if index < 1 or len(lines[index]) > 160:
        return False
    line, above = lines[index].strip(), lines[index - 1].strip()
    if above and not (line[0].isupper() and above[-1] in ".!?"):
        return False
    found = MOBILE.match(line) if len(line.split()) < 15 else None
    return found is not None and not _goes_on(found["rest"])


def _goes_on(rest: str) -> bool:
    """Does more than the name of a device or program follow: "… because my computer is broken"?"""
    if EXCUSE.search(rest):
        return False
    if any(_has_no_case(word) and word not in MOBILE_REST for word in rest.split()):
        return True
    rest = re.sub(r"^\S+|<\S+>|https?:\S+", "", rest)
    if re.search(r"[.,;:!?–-]\s+\w|\d{5}", rest):
        return True
    words = (word.strip(".,!()<>»") for word in rest.split())
    return any(word.islower() and word.isalpha() and word not in MOBILE_REST for word in words)


def _has_no_case(word: str) -> bool:
    """Is it of a script that does not tell names from other words?"""
    return any(letter.isalpha() and letter.lower() == letter.upper() for letter in word)
