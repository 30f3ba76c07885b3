"""Names and addresses as administrators write them: checked, and compared without case."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Final

from postroom.mail.domains import to_ascii
from postroom.mail.header.addresses import parse_addresses

LONGEST_NAME: Final = 100
LONGEST_ADDRESS: Final = 254  # RFC 5321 section 4.5.3.1.3, without the brackets


def name_key(name: str) -> str:
    """Return what two spellings of a name have in common."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def checked_name(name: object) -> str:
    """Return the name of a segment, topic or filter, white space collapsed.

    :raises ValueError: a sentence that says what is wrong
    """
    if name is None:
        raise ValueError("is missing")
    if not isinstance(name, str):
        raise ValueError("must be text")
    tidy = " ".join(unicodedata.normalize("NFC", name).split())
    if not tidy:
        raise ValueError("must not be empty")
    if len(tidy) > LONGEST_NAME:
        raise ValueError(f"must have at most {LONGEST_NAME} characters")
    if not tidy.isprintable():
        raise ValueError("must hold no control characters")
    return tidy


def checked_address(address: object) -> str:
    """Return an e-mail address, without display name, as it is written.

    :raises ValueError: a sentence that says what is wrong
    """
    if not isinstance(address, str):
        raise ValueError("must be text")
    tidy = unicodedata.normalize("NFC", address.strip())
    found = parse_addresses(tidy) if len(tidy) <= LONGEST_ADDRESS else ()
    if len(found) != 1 or found[0].address != tidy or not tidy.isprintable():
        raise ValueError(f'"{tidy[:80]}" is not an e-mail address like info@example.org')
    try:
        to_ascii(tidy.rpartition("@")[2])
    except ValueError as error:
        raise ValueError(f'the domain of "{tidy}" cannot exist') from error
    return tidy


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that was probably meant, else at all of them."""
    words = sorted(known)
    match = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if match:
        return f'did you mean "{match[0]}"?'
    return f"known: {', '.join(words)}" if words else "there are none"
