"""Header lines as bytes: cleaned, encoded, folded. Nothing that comes in here starts a new line."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from postroom.mail.domains import to_ascii
from postroom.mail.message import Address

_WIDTH = 76
_LONGEST_TOKEN = 900
"""A header line may have 998 octets (RFC 5322 section 2.1.1), and a token cannot be folded."""
_NAME = re.compile(r"[!-9;-~]{1,70}")
_WORD_BYTES = 45
"""45 octets are 60 characters of base 64: an encoded word of 72, and 75 is the most (RFC 2047)."""
_MAX_TEXT = 10_000

_CONTROLS = re.compile(
    "[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028-\u202f\u205f\u2066-\u2069\u3000]+"
)
"""Controls, every kind of space and line end, and what overrides the direction of reading."""
_LINE_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text on one line: each run of controls and white space becomes a space."""
    text = _SURROGATES.sub("\ufffd", text[:_MAX_TEXT])
    return _CONTROLS.sub(" ", text).strip()


def folded(name: str, tokens: Sequence[str]) -> bytes:
    """Return `name: tokens`, broken between tokens only (RFC 5322 section 2.2.3).

    :raises ValueError: a token that would not stay one: empty, white space, controls, too long
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError("not a name of a header")
    lines: list[str] = []
    line = f"{name}:"
    for token in tokens:
        if not token or len(token) > _LONGEST_TOKEN or _LINE_BREAK.search(token):
            raise ValueError(f"{name} cannot be written")
        if len(line) + 1 + len(token) > _WIDTH and len(line) > len(name) + 1:
            lines.append(line)
            line = ""
        line += f" {token}"
    lines.append(line)
    return "\r\n".join(lines).encode() + b"\r\n"


def unstructured(name: str, value: str) -> bytes:
    """Return a header of free text, as encoded words where it has to be (RFC 2047)."""
    return folded(name, _text_tokens(clean(value)))


def _text_tokens(text: str) -> list[str]:
    if not text:
        return []
    tokens = text.split(" ")
    is_plain = text.isascii() and "=?" not in text
    return tokens if is_plain and max(map(len, tokens)) <= _WIDTH else encoded_words(text)


def encoded_words(text: str) -> list[str]:
    """Return the text as encoded words in UTF-8 and base 64, none broken inside a character."""
    words: list[str] = []
    chunk = b""
    for character in text:
        octets = character.encode()
        if len(chunk) + len(octets) > _WORD_BYTES:
            words.append(_encoded_word(chunk))
            chunk = b""
        chunk += octets
    return [*words, _encoded_word(chunk)] if chunk else words


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?B?{base64.b64encode(octets).decode()}?="


def addresses(name: str, group: Sequence[Address]) -> bytes:
    """Return a header of addresses, each with its name where it has one.

    :raises ValueError: one of them is no address
    """
    tokens: list[str] = []
    for one in group:
        tokens += _address_tokens(one)
        tokens[-1] += ","
    tokens[-1] = tokens[-1].removesuffix(",")
    return folded(name, tokens)


_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_PLAIN_NAME = re.compile(rf"[ {_ATEXT}]+")


def _address_tokens(one: Address) -> list[str]:
    bare = address(one.address)
    name = clean(one.name)[:_MAX_NAME].strip()
    if not name:
        return [bare]
    if not name.isascii() or "=?" in name or max(map(len, name.split(" "))) > _WIDTH:
        return [*encoded_words(name), f"<{bare}>"]
    if _PLAIN_NAME.fullmatch(name) is None:
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return [*name.split(" "), f"<{bare}>"]


_MAX_NAME = 200
_MAX_ADDRESS = 320
_UTEXT = rf"\u00a1-\ud7ff\uf900-\U0010ffff{_ATEXT}"
_LOCAL = re.compile(rf"[{_UTEXT}]+(?:\.[{_UTEXT}]+)*")
_QUOTED_LOCAL = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"')
_DOMAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[A-Za-z0-9.:-]+\]")


def address(text: str) -> str:
    """Return an address as it is written in a header: the domain in ASCII.

    :raises ValueError: not one address (RFC 5321 section 4.1.2, RFC 6531 section 3.3)
    """
    local, at, domain = text.strip().rpartition("@")
    domain = domain if domain.startswith("[") else to_ascii(domain)
    is_local = _is_local(local) and _LINE_BREAK.search(local) is None
    if not at or len(text) > _MAX_ADDRESS or not is_local or _DOMAIN.fullmatch(domain) is None:
        raise ValueError("not an address that mail can be sent to")
    return f"{local}@{domain}"


def _is_local(local: str) -> bool:
    if not local.isascii() and _CONTROLS.search(local):
        return False
    return bool(_LOCAL.fullmatch(local) or _QUOTED_LOCAL.fullmatch(local))


_ID = re.compile(r"[!-;=?-~]{1,898}")


def message_id(text: str) -> str | None:
    """Return `<id>`, or None for what cannot be written as it is: not ASCII, too long, spaces."""
    text = text.strip().strip("<>")
    return f"<{text}>" if _ID.fullmatch(text) else None
