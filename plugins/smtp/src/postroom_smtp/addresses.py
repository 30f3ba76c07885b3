"""Addresses as they may go on the wire: nothing in them can end the path or the command."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

MAX_PATH: Final = 254
"""Bytes, RFC 5321 section 4.5.3.1.3 less the angle brackets."""
_FORBIDDEN = {"Cc", "Cs", "Zl", "Zp", "Zs"}
_QUOTED = re.compile(r'"(?:[^"\\]|\\[ -~])*"')
"""A local part that may hold anything printable, RFC 5321 section 4.1.2."""


@dataclass(frozen=True, slots=True)
class Path:
    """An address as the caller wrote it and as it is sent."""

    address: str
    wire: str

    @property
    def local(self) -> str:
        """The part before the @."""
        return self.wire.rpartition("@")[0]

    @property
    def needs_utf8(self) -> bool:
        """Whether only a server with SMTPUTF8 (RFC 6531) can take it."""
        return not self.wire.isascii()


def path_of(address: str) -> Path:
    """Return the path for an address; "" is the null path.

    :raises ValueError: it cannot be sent; the text says why, without the address
    """
    if not address:
        return Path("", "")
    local, at, domain = address.rpartition("@")
    quoted = " <>" if _QUOTED.fullmatch(local) else ""
    if any(_ends_a_path(c) and c not in quoted for c in local) or any(map(_ends_a_path, domain)):
        raise ValueError("holds a space, an angle bracket or a control character")
    if not (local and at and domain):
        raise ValueError("is not of the form name@domain")
    wire = f"{local}@{_ascii_domain(domain)}"
    if len(wire.encode()) > MAX_PATH:
        raise ValueError("is too long")
    return Path(address, wire)


def _ends_a_path(character: str) -> bool:
    return character in "<>" or unicodedata.category(character) in _FORBIDDEN


def _ascii_domain(domain: str) -> str:
    """Return the domain's A-labels, so that servers without SMTPUTF8 take it.

    Only where IDNA 2003, which Python has, is sure to mean the same name as IDNA 2008: ``ß`` is
    not, for one. Such a domain stays as it is, and needs SMTPUTF8.
    """
    if domain.isascii():
        return domain
    try:
        encoded = domain.encode("idna")
        return encoded.decode() if encoded.decode("idna") == domain.lower() else domain
    except UnicodeError:
        return domain
