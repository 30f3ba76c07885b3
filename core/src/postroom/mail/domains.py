"""Addresses compared and written: case, internationalised domains, and which ones are our own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache

from postroom.mail.message import Address

_DOTS = re.compile("[\u3002\uff0e\uff61]")
"""What IDNA counts as dots besides the full stop (RFC 3490 section 3.1)."""
_MAX_LABEL = 63
_MAX_DOMAIN = 253


def to_ascii(domain: str) -> str:
    """Return the domain in lower case with internationalised labels as `xn--` (RFC 5891).

    Python's own codec is IDNA 2003, which sends mail for straße.example to strasse.example; so
    only its Punycode is used here, after the usual mapping to lower case and NFKC.

    :raises ValueError: no domain: empty, an empty label, white space, too long
    """
    labels = [_label(label) for label in _DOTS.sub(".", domain.strip()).rstrip(".").split(".")]
    ascii_domain = ".".join(labels)
    if len(ascii_domain) > _MAX_DOMAIN:
        raise ValueError("domain is too long")
    return ascii_domain


def _label(label: str) -> str:
    if not label.isascii():
        mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).lower())
        label = mapped if mapped.isascii() else "xn--" + _punycode(mapped)
    label = label.lower()
    if not label or len(label) > _MAX_LABEL or not label.isprintable() or " " in label:
        raise ValueError("not a domain name")
    return label


def _punycode(label: str) -> str:
    if len(label) > _MAX_LABEL:
        raise ValueError("not a domain name")
    try:
        return label.encode("punycode").decode("ascii")
    except UnicodeError as error:
        raise ValueError("not a domain name") from error


@lru_cache(maxsize=2_000)
def address_key(address: str) -> str:
    """Return what two spellings of one address have in common; anything is accepted.

    The local part is compared without case too: RFC 5321 section 2.4 lets servers tell them apart,
    none that matters does.
    """
    local, _, domain = unicodedata.normalize("NFC", address.strip()).rpartition("@")
    try:
        domain = to_ascii(domain)
    except ValueError:
        domain = domain.strip().rstrip(".").lower()
    return f"{local.lower()}@{domain}"


def is_own(addresses: Iterable[Address | None], own: Collection[str]) -> bool:
    """Is any of these one of `own`, a set of `address_key`s?

    Asked of the From and Reply-To of a mail before it is answered automatically.
    """
    return any(one is not None and address_key(one.address) in own for one in addresses)
