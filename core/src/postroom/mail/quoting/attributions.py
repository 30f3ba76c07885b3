"""Attributions: the line or lines, "On … Desk wrote:", that programs put above what they quote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from postroom.mail.quoting.marks import (
    ADDRESS,
    BESIDE_WROTE,
    CITES,
    COLONS,
    DATE,
    EVEN_WITH_YOU,
    INVISIBLE,
    LATE_OPENER,
    NOT_NAMES,
    OPENER,
    PERSONAL,
    TIME,
    TOWARDS,
    UNMARKED,
    UNMARKED_LABELS,
    WROTE,
    WROTE_UNSPACED,
)
from postroom.mail.quoting.own_lines import MAX_MARK, is_quoted

_MOST_BLANK = 8
"""Lines below an attribution among which its quote begins."""
_SHORTEST_WRAPPED = 40
_LEAST_WIDTH = 60
"""Characters that programs put into a line before they break it."""
_ARTICLE = re.compile(r"(?:Il|El|Le|La) (?!giorno )(?:[^\s\d]\S* ){2}", re.IGNORECASE)
"""What opens an attribution is an article, too: then no date follows."""
_SENTENCES = re.compile(r"(?:[a-zà-öø-ÿα-ωа-я]{4}\.|20\d\d\.|[?!]) +[A-ZÀ-ÞΑ-ΩА-Я]|[。我你您私]")
_SENTENCE_END = re.compile(r"(?<=.{10})[^\W\d_]{2}[.!?] +(?=[A-ZÀ-ÞА-Я])")


def find_attribution(lines: Sequence[str], index: int, *, followed_by_quote: bool) -> int | None:
    """Return the first line of the attribution ("On … Desk wrote:") that ends at this line.

    Where `>` marks what follows, a verb or a date with an address will do. Where nothing marks it
    only a line no person types counts: date, address, verb (or the address at the very end, as in
    Russian and Japanese; in English that is a log).
    """
    line = lines[index].strip(INVISIBLE)
    if line[:3] == "---" and line[-3:] == "---":  # "---- On … Desk wrote ----" of Zoho and others
        line = line.strip("- ") + ":"
        if not _has_verb(line):
            return None
        if followed_by_quote:
            return index if _quote_follows(lines, index) else None
        return index if DATE.search(line) and OPENER.match(line) else None
    ends = f"{COLONS}>" if followed_by_quote else COLONS
    if not line or line[-1] not in ends or _quote_follows(lines, index) is not followed_by_quote:
        return None
    if not followed_by_quote and "@" not in line and "@" not in lines[index - 1]:
        return None
    if UNMARKED.match(line):
        return _above_labels(lines, index)
    if followed_by_quote and line[0] == "<" and _ends_groupwise(lines, index):
        return index
    first, joined = _unwrap(lines, index)
    has_verb = _has_verb(joined)
    has_origin = ADDRESS.search(joined) is not None and DATE.search(joined) is not None
    is_typical = "<" in joined or OPENER.match(joined) is not None
    if followed_by_quote:
        is_dated = OPENER.match(joined) or _is_stamped(joined)
        ends_in_address = "@" in joined.split()[-1]
        names_sender = has_origin and is_dated and ("<" in joined or ends_in_address)
        return first if (has_verb or names_sender) and not _is_prose(joined) else None
    ends_in_address = line.rstrip(f"{COLONS}{INVISIBLE}").endswith(">") and not joined.isascii()
    is_certain = has_origin and (has_verb or ends_in_address)
    return first if is_certain and is_typical and not _is_told(joined) else None


def _above_labels(lines: Sequence[str], index: int) -> int:
    """Return the first of the labels and the rule that may stand right above an attribution."""
    first = index
    while first > 0 and lines[first - 1][:20].partition(":")[0].strip().lower() in UNMARKED_LABELS:
        first -= 1
    has_rule = first < index and first > 0 and lines[first - 1][:4] == "----"
    return first - 1 if has_rule else first


def _ends_groupwise(lines: Sequence[str], index: int) -> bool:
    """ ">>> Desk <desk@example.org> wrote on 3.3.2026 at 10:15 in message" stands above its id."""
    above = lines[index - 1][:MAX_MARK] if index else ""
    return above[:4] == ">>> " and DATE.search(above) is not None and _has_verb(above)


def ends_address(above: str, line: str) -> bool:
    """Is this "> wrote:" with the bracket of an address that had just place in the line above?"""
    return (
        len(line) < _SHORTEST_WRAPPED
        and "<" not in line
        and "@" in above[:MAX_MARK].rpartition("<")[2]
        and ">" not in above[:MAX_MARK].rpartition("<")[2]
        and not is_quoted(above)
    )


def find_loose_attribution(lines: Sequence[str], index: int) -> int | None:
    """Return the first line of an attribution that ends at this line and may lack an address: what
    follows is set apart from it."""
    first, joined = _unwrap(lines, index)
    is_one = _has_verb(joined) and DATE.search(joined) and not _is_prose(joined)
    return first if is_one else None


def _is_prose(line: str) -> bool:
    """ "I asked what she wrote:": a sentence of the writer's, not a mail program's."""
    words = [word for word in line.rstrip(f" {COLONS}").replace(",", " ").split() if word.isalpha()]
    if EVEN_WITH_YOU.match(line) is None and _is_personal(words):
        return True
    opens = OPENER.match(line) is not None and DATE.search(line) is not None
    opens = opens and _ARTICLE.match(line) is None
    if not opens and LATE_OPENER.search(line):
        return True  # words of the writer's stand before what the program wrote
    has_clauses = "，" in line and "<" not in line and not (opens and _is_stamped(line))
    if has_clauses or _has_two_sentences(line):
        return True
    ordinary = sum(
        word == word.lower() and len(word) > 1 and word not in WROTE and word not in BESIDE_WROTE
        for word in words[0 if opens else 1 :]
    )
    return ordinary > _most_ordinary(line, opens=opens)


def _most_ordinary(line: str, *, opens: bool) -> int:
    """Return how many words in lower case an attribution may have, as parts of names and months:
    the more, the more it has of what people seldom write. With -1 it is none."""
    is_stamped = _is_stamped(line)
    if is_stamped and opens:
        return 7
    if ADDRESS.search(line):
        return 4 if is_stamped and "<" in line else 2
    words = line.lower().rstrip(f" {COLONS}").split()
    if words[0].rstrip(".") in NOT_NAMES or words[0] in CITES:
        return -1
    if is_stamped or not {words[0], words[-1]}.isdisjoint(WROTE.union(WROTE_UNSPACED)):
        return 1 if DATE.search(line) else 0
    return -1  # "Yesterday wrote the driver:"


def _is_stamped(line: str) -> bool:
    """Has the line a date and a time of day? People seldom write both."""
    return TIME.search(line) is not None and DATE.search(TIME.sub("", line)) is not None


def _has_two_sentences(line: str) -> bool:
    if _SENTENCES.search(line):
        return True
    if ". " not in line and "! " not in line and "? " not in line:
        return False
    return any(OPENER.match(line, end.end()) for end in _SENTENCE_END.finditer(line))


def _is_told(line: str) -> bool:
    """Do people write so, who paste below it what somebody wrote? They seldom give the time of
    day, as all programs do, but speak of themselves, or say to whom it went."""
    words = line.rstrip(f" {COLONS}").split()
    if _is_personal(words) or (TIME.search(line) is None and not line.startswith("---")):
        return True
    return any(
        word in WROTE and following in TOWARDS and "@" in line.partition(following)[2]
        for word, following in pairwise(words)
    )


def _is_personal(words: Sequence[str]) -> bool:
    """Is there an "I" or "you" among the words? "Lei" within is a name."""
    return not PERSONAL.isdisjoint(
        word.lower() for at, word in enumerate(words) if not at or word.islower() or word == "I"
    )


def _begins_with_verb(line: str) -> bool:
    """Does who wrote stand in the line above: "schrieb am 3.3.2026:", unlike "Zitat von <h@…>"?"""
    return "@" not in line and not WROTE.isdisjoint(line[:40].lower().split()[:1])


def _has_verb(line: str) -> bool:
    words = line.lower().replace(":", " ").replace(",", " ").split()
    return not WROTE.isdisjoint(words) or any(word in line for word in WROTE_UNSPACED)


def _quote_follows(lines: Sequence[str], index: int) -> bool:
    for line in lines[index + 1 : index + 1 + _MOST_BLANK]:
        if line and not line.isspace():
            return is_quoted(line)
    return False


def _unwrap(lines: Sequence[str], index: int) -> tuple[int, str]:
    """Join a line with those above it that belong to it, up to three, if one begins like a date."""
    joined = lines[index].strip()
    best = index, joined
    if index == 0 or not lines[index - 1].strip():
        return best
    is_whole = _has_origin(joined) and not _begins_with_verb(joined)
    for first in range(index - 1, max(index - 4, -1), -1):
        above = lines[first].strip()
        if not _is_wrapped(above, into=joined, is_whole=is_whole):
            break
        joined = f"{above} {joined}"
        if (OPENER.match(above) and DATE.search(joined)) or (
            above[-1] == ">" and _begins_with_verb(lines[first + 1])
        ):
            best = first, joined
            is_whole = True  # only "On Tue," may stand above it
    return _unwrap_full(lines, index) or best


def _unwrap_full(lines: Sequence[str], index: int) -> tuple[int, str] | None:
    """Join a line with those above it, broken where they had to be, until they tell when and who:
    that is an attribution, in whatever language."""
    first, joined = index, lines[index].strip()
    while not (_is_stamped(joined) and ADDRESS.search(joined)):
        first -= 1
        if first < max(index - 3, 0) or not _is_broken(lines[first].strip(), into=joined):
            return None
        joined = f"{lines[first].strip()} {joined}"
    above = lines[first - 1].strip() if first > 0 else ""
    is_name = joined[0] == "<" and _is_full(above, joined)
    if is_name or (OPENER.match(above) and _is_wrapped(above, into=joined, is_whole=True)):
        first -= 1
        joined = f"{above} {joined}"
    return None if first == index or _is_prose(joined) else (first, joined)


def _is_broken(above: str, *, into: str) -> bool:
    """Had the next word no place in the line, or had it before a name was made shorter?"""
    if len(above) > MAX_MARK or above[:1] == ">":
        return False
    if "<" in above and _has_verb(above):  # "Desk <help@desk.example> schrieb am"
        return True
    return _is_full(above, into) and ("> " in f"{above} " or not _is_stamped(into))


def _is_full(above: str, into: str) -> bool:
    if not above or above[0] == ">" or len(above) + len(into) > MAX_MARK:
        return False
    return len(above) + 1 + len(into.split(maxsplit=1)[0]) > _LEAST_WIDTH


def _is_wrapped(above: str, *, into: str, is_whole: bool) -> bool:
    """May the line go on in the next one? A program breaks long lines, and behind a comma."""
    if not above or above[0] == ">" or above[-1] in ".!?:" or len(above) + len(into) > MAX_MARK:
        return False
    if is_whole:
        return above[-1] == "," and len(above) < 20
    if above[-1] in ",<>" or into[0] == "<" or len(above) >= _SHORTEST_WRAPPED or "@" in above:
        return True
    return OPENER.match(above) is not None and _is_bare_date(above)


def _is_bare_date(line: str) -> bool:
    """ "On Tue, 3 Mar 2026 09:15:00 +0100": Claws and others begin a line for the name."""
    words = sum(word.islower() and len(word) > 1 for word in line.split() if word.isalpha())
    return words < 2 and DATE.search(line) is not None


def _has_origin(line: str) -> bool:
    """Does the line tell when and who: a date with a verb or an address?"""
    return DATE.search(line) is not None and (_has_verb(line) or ADDRESS.search(line) is not None)


def ends_in_attribution(line: str) -> bool:
    """Some programs put "On … Desk wrote:" behind the last words of the writer."""
    line = line.strip()[-MAX_MARK:]
    if line[-1:] not in (":", "：") or not _has_verb(line) or DATE.search(line) is None:
        return False
    return ADDRESS.search(line) is not None or LATE_OPENER.search(line) is not None


def announces_itself(lines: Sequence[str], first: int) -> bool:
    """Does the quote begin with its attribution, "> On … Desk wrote:", as Apple Mail has it?"""
    joined = ""
    for line in lines[first : first + 4]:
        if len(line) > MAX_MARK or (not is_quoted(line) and line.strip()):
            break
        joined = f"{joined} {line.strip(' >' + INVISIBLE)}"
        if joined[-1:] in COLONS and DATE.search(joined) and _has_verb(joined):
            return OPENER.match(joined) is not None
    return False
