"""What joins messages to a conversation: their ids, and the tag in the subject.

The tag is the question's *reference*, `#123-k7f3q2x9vd`: its number and a check part that nobody
can guess. In subjects it stands in brackets, `[#123-k7f3q2x9vd]`; a customer may write it either
way, in any case. The number alone joins nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from postroom.mail.message import ParsedMessage

MAX_LINKS = 100
"""Ids by which one message may join; of more, those nearest to it and the oldest ones."""

_LONGEST_KEY = 200
_OLDEST_KEPT = 20

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that looks like another one or like a digit."""
_CHECK_CHARACTERS = 10
_LOOK_ALIKES = str.maketrans("ilo", "110")
_TAG = re.compile(r"(?<![0-9A-Za-z])#?([0-9]{1,15})-([0-9A-Za-z]{10})(?![0-9A-Za-z])", re.ASCII)
_MAX_TAGS = 20


def make_tag(number: int, key: bytes) -> str:
    """Return the question's reference, `#123-k7f3q2x9vd`: 50 bits of HMAC-SHA256 to guess."""
    return f"#{number}-{_check_part(number, key)}"


def _check_part(number: int, key: bytes) -> str:
    digest = hmac.digest(key, f"postroom tag 1 {number}".encode(), hashlib.sha256)
    bits = int.from_bytes(digest[:8], "big")
    return "".join(_ALPHABET[(bits >> shift) & 31] for shift in range(0, 5 * _CHECK_CHARACTERS, 5))


def find_tags(subject: str) -> list[tuple[int, str]]:
    """Return number and check part of everything that looks like a tag, in order, each once."""
    found: dict[tuple[int, str], None] = {}
    if "-" not in subject:  # most have none
        return []
    for match in _TAG.finditer(subject):
        found[int(match[1]), _tidy_check(match[2])] = None
        if len(found) >= _MAX_TAGS:
            break
    return list(found)


def check_tag(number: int, check: str, key: bytes) -> bool:
    """Did we make this tag? Takes the same time whatever is wrong with it."""
    expected = _check_part(number, key).encode()
    return hmac.compare_digest(_tidy_check(check).encode("utf-8", "replace"), expected)


def tagged_numbers(subject: str, key: bytes) -> list[int]:
    """Return the numbers of the questions whose tags, made by us, a subject carries."""
    return [number for number, check in find_tags(subject) if check_tag(number, check, key)]


def _tidy_check(check: str) -> str:
    return check.lower().translate(_LOOK_ALIKES)


def id_key(message_id: str) -> str:
    """Return a message id as it is indexed: comparable, and at most 200 characters.

    Without brackets and white space, and without case, which gateways change. A longer id becomes
    its SHA-256.
    """
    tidy = "".join(message_id.split()).strip("<>").casefold()
    if len(tidy) > _LONGEST_KEY:
        return "sha256:" + hashlib.sha256(tidy.encode("utf-8", "replace")).hexdigest()
    return tidy


def conversation_key(conversation: str | None) -> str | None:
    """Return a provider's conversation id as it is indexed: itself, or its SHA-256 if it is long;
    PostgreSQL has no index of longer ones."""
    if conversation is None or len(conversation) <= _LONGEST_KEY:
        return conversation
    return "sha256:" + hashlib.sha256(conversation.encode("utf-8", "surrogatepass")).hexdigest()


def linked_ids(message: ParsedMessage) -> tuple[str, ...]:
    """Return the ids by which the message can join a conversation, the best first.

    What a report is about, what a reply answers (In-Reply-To), then its ancestors from the nearest
    (References, RFC 5322 section 3.6.4). Its own id is left out, each comes once.
    """
    if not (message.reported_ids or message.in_reply_to or message.references):
        return ()  # most have none
    own = id_key(message.message_id) if message.message_id else None
    links = _unique(
        (*message.reported_ids, *message.in_reply_to, *reversed(message.references)), own
    )
    if len(links) <= MAX_LINKS:
        return links
    return links[: MAX_LINKS - _OLDEST_KEPT] + links[-_OLDEST_KEPT:]


def _unique(ids: Iterable[str], own: str | None) -> tuple[str, ...]:
    """Return the ids, each once whatever its case, without `own` and empty ones."""
    found: dict[str, str] = {}
    for one in ids:
        key = id_key(one)
        if key and key != own:
            found.setdefault(key, one)
    return tuple(found.values())


def reply_references(
    message_id: str | None, references: Iterable[str], in_reply_to: Iterable[str]
) -> tuple[str, ...]:
    """Return the References of an answer to a message that has these (RFC 5322 section 3.6.4).

    Its References, or its In-Reply-To if that is a single id, and its own id last. A long chain
    loses its middle: the first, which names the conversation, and the latest stay.
    """
    chain = tuple(references)
    parents = tuple(in_reply_to)
    if not chain and len(parents) == 1:
        chain = parents
    own = (message_id,) if message_id else ()
    own_key = id_key(message_id) if message_id else None
    ids = (*_unique(chain, own_key), *own)
    return ids if len(ids) <= MAX_REFERENCES else (ids[0], *ids[1 - MAX_REFERENCES :])


MAX_REFERENCES = 30
"""Ids in the References of our own mail: some servers cut header lines of a few kilobytes."""

_REPLY_PREFIX = re.compile(
    r"""\s* (?: re | aw | antw(?:ort)? | sv | vs | odp | ref | réf | rép | res | rif | r | ynt | vá
      | yan | atb
      | отв | ответ | на | απ | σχετ | บัง | תגובה | رد | 回复 | 回覆 | 答复 | 답장 | 返信
    ) \s* (?: \[\d{1,4}\] | \(\d{1,4}\) | \^\d{1,4} )? \s* [:：] \s*""",
    re.IGNORECASE | re.VERBOSE,
)
_MAX_SUBJECT = 250
_MAX_PREFIXES = 50


def reply_subject(subject: str, tag: str = "") -> str:
    """Return the subject of an answer: `Re: ` once, and the question's tag unless it is there."""
    words = " ".join(subject[: 10 * _MAX_SUBJECT].split())
    for _ in range(_MAX_PREFIXES):
        found = _REPLY_PREFIX.match(words)
        if found is None:
            break
        words = words[found.end() :]
    words = words[:_MAX_SUBJECT].rstrip()
    if tag and tag.lower() not in words.lower():
        words = f"{words} [{tag}]".lstrip()
    return f"Re: {words}"
