"""Message ids (RFC 5322 section 3.6.4), without brackets and white space, of bounded length."""

from __future__ import annotations

import hashlib
import re

from postroom.mail.header.words import decode_words
from postroom.mail.text import storable

LONGEST = 900
"""An index entry of PostgreSQL ends at 2,704 bytes; a character may have three or four."""
MOST = 200

_BRACKETS = re.compile(r"<([^<>]*)>")
_BARE = re.compile(r"(?<![^\s<>()\[\]\",;])[^\s<>()\[\]\",;]+@[^\s<>()\[\]\",;]+")
"""Whole words only: else each letter of a long one would be tried as the first."""
_BLANK = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")


def message_id(value: str) -> str | None:
    """Return the id of a Message-ID header; brackets may be missing."""
    value = _plain(value[:65536])
    found = _BRACKETS.search(value)
    return tidy(found[1]) if found and found[1].strip() else tidy(value.strip("<> \t"))


def message_ids(value: str) -> tuple[str, ...]:
    """Return the ids of References or In-Reply-To, each once, in order.

    Of many the first 50 and the last 150 stay: the conversation's root and its latest mails.
    """
    if not value:
        return ()
    value = _plain(value[:32768] + " " + value[-65536:] if len(value) > 98304 else value)
    found = _BRACKETS.findall(value) or _BARE.findall(value)
    ids = list(dict.fromkeys(one for one in map(tidy, found) if one))
    return tuple(ids if len(ids) <= MOST else ids[:50] + ids[-(MOST - 50) :])


def _plain(value: str) -> str:
    """Undo encoded words: some libraries encode long ids."""
    return decode_words(value) if "=?" in value or not value.isascii() else value


def tidy(text: str) -> str | None:
    """Return an id without white space and controls, cut to fit; None where nothing is left."""
    text = storable(_BLANK.sub("", text))
    if len(text) > LONGEST:
        text = f"{text[:800]}~{hashlib.sha256(text.encode()).hexdigest()}"
    return text or None
