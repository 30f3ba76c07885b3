"""What is new in a reply: its text without quoted text and without the signature.

Why no library: `mail-parser-reply` 1.36 needs 1.9 ms for a mail of 3 KB and gave no answer within
20 s on a body of a million spaces (corpus a30); it leaves "-- " signatures and the helpdesks'
"type your reply above this line" (j08, j13). `email-reply-parser` 0.5 empties what is only prose
(j11) and returns nothing for a mail that is all quote (j10). This needs 0.03 ms, is linear (a few
passes over the lines, patterns only on short ones), and knows some forty languages.

The rule above all others: **the customer's own words are never cut away**. Text is cut only where
a mail program announced that the rest is quoted, and nothing of the writer's own follows it.
Answers between quoted lines are kept together with what they answer. In doubt all is kept.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from itertools import pairwise

from postroom.mail.quoting.marks import (
    ADDRESS,
    ANSWERS_BELOW,
    BESIDE_WROTE,
    DATE,
    DATE_LABELS,
    EVEN_WITH_YOU,
    EXCUSE,
    FINNISH_SENDER,
    FORWARD_SUBJECT,
    FORWARDED,
    FROM_LABELS,
    GREETING,
    INVISIBLE,
    LATE_OPENER,
    MOBILE,
    MOBILE_REST,
    NOT_NAMES,
    OPENER,
    ORIGINAL_MESSAGE,
    PERSONAL,
    REPLY_ABOVE,
    REPLY_SUBJECT,
    RULES,
    SENT_LABELS,
    SUBJECT_LABELS,
    TIME,
    TOWARDS,
    WROTE,
    WROTE_UNSPACED,
)

MAX_MARK = 400
"""Characters of the longest line, or wrapped line, that can announce a quote."""

_MAX_CANDIDATES = 1_000
_MAX_BLOCK = 15
_LEAST_LABELS = 4
"""Lines of a copied header: From, Sent, To, and Cc or Subject."""
_MOST_BLANK = 8
"""Lines below an attribution among which its quote begins."""
_SET_APART = ("\t", "  ", "|", " |")
_SHORTEST_WRAPPED = 40
_LEAST_WIDTH = 60
"""Characters that programs put into a line before they break it."""
_MAX_SIGNATURE_LINES = 20
_LABEL = re.compile(r"[\s*_]*([^\s:：*_][^:：*]{0,24}?)[\s\xa0*_]*[:：]")
_SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
_MARK_STARTS = frozenset(f"{RULES}{INVISIBLE}{_SPACES}") - {"\n"}
_LINE_START = re.compile(rf"\n[{re.escape(''.join(sorted(_MARK_STARTS)))}]")
_BLANK_OR_RULE = re.compile(r"[\s_=*-]*$")
_SIGNATURE = re.compile(r"@|://|www\.|(?:\d[ ()./-]?){6}|unsubscri|mailing[ -]?list", re.IGNORECASE)
"""What a signature or the foot of a mailing list has, and a paragraph seldom."""
_POSTSCRIPT = re.compile(r"\s*(?:p\.?\s?s\b|n\.?\s?b\.|post ?scriptum)", re.IGNORECASE)
_SENTENCES = re.compile(r"(?:[a-zà-öø-ÿα-ωа-я]{4}\.|20\d\d\.|[?!]) +[A-ZÀ-ÞΑ-ΩА-Я]|[。我你您私]")
_SENTENCE_END = re.compile(r"(?<=.{10})[^\W\d_]{2}[.!?] +(?=[A-ZÀ-ÞА-Я])")
_TITLED_RULE = re.compile(r"\s*[_=*-]{4,}[^_=*-].{0,60}?[_=*-]{4,}\s*$")


def strip_quotes(text: str, *, subject: str = "", is_reply: bool = True) -> str:
    """Return what the writer added; all of it where nothing else is left.

    :param subject: that of the message; a forward is about the mail below, so nothing is cut then
    :param is_reply: does its header name a mail that it answers? If neither that nor the subject
        says so, lines "From: …", "Date: …" and "Subject: …" may be those of a form on a web site
    """
    if FORWARD_SUBJECT.match(subject[:50]) and not _is_finnish_reply(text, subject):
        return text
    has_marks = _may_have_marks(text)
    if not has_marks and not _may_end_with_mobile_line(text):  # most prose: a third of the time
        return text
    lines = text.split("\n")
    quoted, candidates = _scan(lines) if has_marks else ([], [])
    if quoted and FORWARDED.match(lines[quoted[0]][:MAX_MARK]):
        return text
    start, end = 0, len(lines)
    announced: set[int] = set()
    if (candidates or quoted) and not is_reply:
        is_reply = REPLY_SUBJECT.match(subject[:200]) is not None
    for index in candidates[:_MAX_CANDIDATES]:
        if FORWARDED.match(lines[index]):
            return text
        cut = _cut_at(lines, index, is_reply=is_reply)
        if cut is not None:
            marked = _marked_below(lines, index) if quoted else None
            if marked is not None:  # the marks say what is quoted: more may follow it
                announced.update(range(cut, marked))
                continue
            if _may_cut_at(lines, cut, announced):
                end = cut
            break
        if quoted:
            first = _attribution(lines, index, followed_by_quote=True)
            if first is not None:
                announced.update(range(first, index + 1))
    if candidates and end == len(lines):
        end = _end_above_set_apart(lines, candidates)
    end = _without_signature(lines, end, announced)
    if quoted:
        start, below = _own_range(lines, end, quoted, announced, is_reply=is_reply)
        end = below if below == end else _without_signature(lines, below, announced)
    if start == 0 and end == len(lines):
        return text
    return "\n".join(lines[start:end]).strip() or text


def _is_finnish_reply(text: str, subject: str) -> bool:
    return subject.lstrip()[:2].lower() == "vs" and FINNISH_SENDER in text


def _may_have_marks(text: str) -> bool:
    """Say no where `_scan` would find nothing, which most prose is; ten times as fast."""
    if ":" in text or text[:1] in _MARK_STARTS or (not text.isascii() and "：" in text):
        return True
    return _LINE_START.search(text) is not None


def _may_end_with_mobile_line(text: str) -> bool:
    return MOBILE.match(text.rstrip().rpartition("\n")[2][:160].lstrip()) is not None


def _scan(lines: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return which lines begin with `>`, and which may announce a quote."""
    quoted = []
    candidates = []
    for index, line in enumerate(lines):
        if len(line) > MAX_MARK:
            if _is_quoted(line):
                quoted.append(index)
        elif bare := line.strip():
            if bare[-1] > "\u1fff":
                bare = bare.strip(INVISIBLE) or "."
            first, last = bare[0], bare[-1]
            if first == ">" and (bare[:4] != ">>> " or not _is_divider_of_groupwise(bare)):
                quoted.append(index)
            elif (
                first in RULES
                or ":" in (begin := bare[:26])
                or last in ":："
                or "：" in begin
                or (last == ">" and first.isdigit())
            ):
                candidates.append(index)
    return quoted, candidates


def _is_quoted(line: str) -> bool:
    return line[:MAX_MARK].lstrip().startswith(">")


def _is_divider_of_groupwise(line: str) -> bool:
    """ ">>> Desk <desk@example.org> 3/3/2026 10:15 AM >>>"."""
    return (
        line[:4] == ">>> "
        and line[-4:] == " >>>"
        and DATE.search(line) is not None
        and ADDRESS.search(line) is not None
    )


def _cut_at(lines: Sequence[str], index: int, *, is_reply: bool) -> int | None:
    """Return where the text ends if from this line on all is quoted, whatever it looks like."""
    line = lines[index].strip()
    if line[0] in RULES and (_is_divider(line) or _is_divider_of_groupwise(line)):
        return index
    if _is_header_block(lines, index, is_reply=is_reply):
        above = _above_rules(lines, index)
        # set apart by nothing, it stands in the middle of what someone wrote
        return above if above < index or index == 0 else None
    return _attribution(lines, index, followed_by_quote=False)


def _is_divider(line: str) -> bool:
    """ "-----Original Message-----", "##- Please type your reply above this line -##".

    One dash alone begins an item of a list.
    """
    words = line.strip(RULES).lower()
    if words not in ORIGINAL_MESSAGE and REPLY_ABOVE.search(words) is None:
        return False
    before, after = (len(line) - len(cut) for cut in (line.lstrip(RULES), line.rstrip(RULES)))
    return bool(words) and (line[1] in RULES.replace(" ", "") or (before > 0 and after > 0))


def _is_header_block(lines: Sequence[str], index: int, *, is_reply: bool) -> bool:
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
    return any(map(DATE.search, sent)) or (bool(sent) and _above_rules(lines, index) < index - 1)


def _tells_of_mail(block: Sequence[str], labels: Sequence[str]) -> bool:
    """Has it the sender's address, or the time of day? Parcels and journeys have neither."""
    return any(
        (label in FROM_LABELS and "@" in line)
        or (label in DATE_LABELS and TIME.search(line[:MAX_MARK]))
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
        if _BLANK_OR_RULE.match(line[:MAX_MARK]) or _is_quoted(line):
            return block[:end]
    return block


def _end_above_set_apart(lines: Sequence[str], candidates: Sequence[int]) -> int:
    """Return the end without a quote that is indented, or ruled with "|", from its attribution on
    to the last line: then an attribution is believed also without an address."""
    tail = _last_line(lines, len(lines))
    while tail >= 0 and (lines[tail].startswith(_SET_APART) or not lines[tail].strip()):
        tail -= 1
    if tail not in candidates or tail == _last_line(lines, len(lines)):
        return len(lines)
    first, joined = _unwrap(lines, tail)
    is_attribution = _has_verb(joined) and DATE.search(joined) and not _is_prose(joined)
    return first if is_attribution and _may_cut_at(lines, first) else len(lines)


def _marked_below(lines: Sequence[str], index: int) -> int | None:
    """Return the first line that `>` marks, if only the labels of a block stand before it."""
    for following in range(index + 1, min(index + _MAX_BLOCK, len(lines))):
        line = lines[following]
        if _is_quoted(line):
            return following
        if line.strip() and not _label(line):
            return None
    return None


def _label(line: str) -> str:
    found = _LABEL.match(line[:60])
    return found.group(1).lower() if found else ""


def _above_rules(lines: Sequence[str], index: int) -> int:
    """Return the first of the blank lines and drawn rules right above a line."""
    if index > 0 and _TITLED_RULE.match(lines[index - 1][:MAX_MARK]):
        index -= 1
    while (
        index > 0 and len(lines[index - 1]) <= MAX_MARK and _BLANK_OR_RULE.match(lines[index - 1])
    ):
        index -= 1
    return index


def _attribution(lines: Sequence[str], index: int, *, followed_by_quote: bool) -> int | None:
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
    ends = ":：>" if followed_by_quote else ":："
    if not line or line[-1] not in ends or _quote_follows(lines, index) is not followed_by_quote:
        return None
    if not followed_by_quote and "@" not in line and "@" not in lines[index - 1]:
        return None
    first, joined = _unwrap(lines, index)
    has_verb = _has_verb(joined)
    has_origin = ADDRESS.search(joined) is not None and DATE.search(joined) is not None
    is_typical = "<" in joined or OPENER.match(joined) is not None
    if followed_by_quote:
        is_dated = OPENER.match(joined) or _is_stamped(joined)
        ends_in_address = "@" in joined.split()[-1]
        names_sender = has_origin and is_dated and ("<" in joined or ends_in_address)
        return first if (has_verb or names_sender) and not _is_prose(joined) else None
    ends_in_address = line.rstrip(f":：{INVISIBLE}").endswith(">") and not joined.isascii()
    is_certain = has_origin and (has_verb or ends_in_address)
    return first if is_certain and is_typical and not _is_told(joined) else None


def _is_prose(line: str) -> bool:
    """ "I asked what she wrote:": a sentence of the writer's, not a mail program's."""
    words = [word for word in line.rstrip(" :：").replace(",", " ").split() if word.isalpha()]
    if EVEN_WITH_YOU.match(line) is None and _is_personal(words):
        return True
    opens = OPENER.match(line) is not None and DATE.search(line) is not None
    if not opens and LATE_OPENER.search(line):
        return True  # words of the writer's stand before what the program wrote
    if ("，" in line and "<" not in line) or _has_two_sentences(line):
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
    words = line.lower().rstrip(" :：").split()
    if words[0].rstrip(".") in NOT_NAMES:
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
    words = line.rstrip(" :：").split()
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
            return _is_quoted(line)
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


def _has_own_text(lines: Sequence[str], end: int, announced: Container[int] = ()) -> bool:
    return any(
        not _BLANK_OR_RULE.match(line[:MAX_MARK]) and index not in announced and line[:1] != ">"
        for index, line in enumerate(lines[:end])
    )


def _only_greets(lines: Sequence[str], end: int) -> bool:
    """Is "Hello," or the line of a mobile all that stands above? Then the answer stands below."""
    last = _last_line(lines, end)
    line = lines[last][:MAX_MARK]
    says_nothing = GREETING.match(line) is not None or MOBILE.match(line[:160].strip()) is not None
    return says_nothing and not _has_own_text(lines, last)


def _may_cut_at(lines: Sequence[str], cut: int, announced: Container[int] = ()) -> bool:
    """Is what begins here the end of a reply, and not a mail that the writer shows or answers?"""
    return (
        _has_own_text(lines, cut, announced)
        and lines[_last_line(lines, cut)].strip()[-1] not in ":："
        and not _says_more_below(lines, cut)
        and not _only_greets(lines, cut)
    )


def _says_more_below(lines: Sequence[str], end: int) -> bool:
    """Does the writer announce answers among the quoted text?"""
    own = "\n".join(line for line in lines[max(0, end - 50) : end] if len(line) <= MAX_MARK)
    return ANSWERS_BELOW.search(own) is not None


def _own_range(
    lines: Sequence[str],
    end: int,
    quoted: Sequence[int],
    announced: set[int],
    *,
    is_reply: bool,
) -> tuple[int, int]:
    """Return the range of lines without the quote announced above it and that below it.

    Quotes between the writer's own lines stay: without them the answers make no sense.
    """
    marks = announced.union(quoted)
    last = end - 1
    while last >= 0 and (last in marks or not lines[last].strip()):
        last -= 1
    first = 0
    while first < last and (first in marks or not lines[first].strip()):
        first += 1
    inside = [index for index in quoted if index < end]
    if last < 0 or not inside:
        return 0, end
    if inside[-1] > last:
        end = _end_above_quote(lines, last, end, announced, is_reply=is_reply)
    is_inline = inside[-1] > first and any(first < index < end for index in inside)
    is_announced = any(index < first for index in announced)
    return (first if is_announced and not is_inline else 0), end


def _end_above_quote(
    lines: Sequence[str], last: int, end: int, announced: set[int], *, is_reply: bool
) -> int:
    """Return the end without the quote below the writer's last line.

    What stands between it and an attribution may be a list, or a listing of the writer's own.
    """
    if _may_cut_below(lines, last, announced, is_reply=is_reply):
        return last + 1
    return min((index for index in announced if last < index < end), default=end)


def _may_cut_below(lines: Sequence[str], last: int, announced: set[int], *, is_reply: bool) -> bool:
    """Is all that follows the writer's last line a quote?"""
    following = next(index for index in range(last + 1, len(lines)) if lines[index].strip())
    if following in announced or _announces_itself(lines, following):
        return True
    if _ends_in_attribution(lines[last]):
        return True
    return is_reply and not lines[last + 1].strip() and lines[last].strip()[-1] not in ":："


def _ends_in_attribution(line: str) -> bool:
    """Some programs put "On … Desk wrote:" behind the last words of the writer."""
    line = line.strip()[-MAX_MARK:]
    if line[-1:] not in (":", "：") or not _has_verb(line) or DATE.search(line) is None:
        return False
    return ADDRESS.search(line) is not None or LATE_OPENER.search(line) is not None


def _announces_itself(lines: Sequence[str], first: int) -> bool:
    """Does the quote begin with its attribution, "> On … Desk wrote:", as Apple Mail has it?"""
    joined = ""
    for line in lines[first : first + 4]:
        if len(line) > MAX_MARK or (not _is_quoted(line) and line.strip()):
            break
        joined = f"{joined} {line.strip(' >' + INVISIBLE)}"
        if joined[-1:] in ":：" and DATE.search(joined) and _has_verb(joined):
            return OPENER.match(joined) is not None
    return False


def _without_signature(lines: Sequence[str], end: int, announced: Container[int]) -> int:
    """Return the end without "-- " and what follows (RFC 3676 section 4.3), or a mobile's line."""
    last = _last_line(lines, end)
    for index in range(last, max(0, last - _MAX_SIGNATURE_LINES), -1):
        line = lines[index]
        if line[:2] == "--" and line.rstrip() == "--":
            has_text = _has_own_text(lines, index, announced) and not _only_greets(lines, index)
            if has_text and not _is_own_below(lines, index, last):
                end, last = index, _last_line(lines, index)
            break
        if line[:1] == ">":
            break
    return last if _is_mobile_line(lines, last) and _has_own_text(lines, last, announced) else end


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
    if lines[_last_line(lines, index)].strip()[-1] in ":：":
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


def _last_line(lines: Sequence[str], end: int) -> int:
    """Return the index of the last line before `end` that is not blank; -1 if there is none."""
    index = end - 1
    while index >= 0 and (not lines[index] or lines[index].isspace()):
        index -= 1
    return index


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
    rest = re.sub(r"^\S+|<\S+>|https?:\S+", "", rest)
    if re.search(r"[.,;:!?–-]\s+\w|\d{5}", rest):
        return True
    words = (word.strip(".,!()<>»") for word in rest.split())
    return any(word.islower() and word.isalpha() and word not in MOBILE_REST for word in words)
