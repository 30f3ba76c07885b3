"""The content of signed S/MIME messages that have it inside (RFC 8551 section 3.5.2).

Such a mail is nothing but a signature with the text in it. Nothing is verified here: it is read.
"""

from __future__ import annotations

_SIGNED_DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
_DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
"""Object identifiers 1.2.840.113549.1.7.2 and .1, encoded."""
_EXPLICIT, _OCTETS, _OCTETS_IN_PIECES = 0xA0, 0x04, 0x24
_FAR = 1_000
"""The content begins near the start: only the names of hash algorithms come before it."""


def is_signed(blob: bytes) -> bool:
    """Tell by its beginning whether there could be signed content in it; encrypted has none."""
    return _SIGNED_DATA in blob[:100]


def signed_content(blob: bytes) -> bytes | None:
    """Return what was signed; None where there is nothing of the kind inside (BER or DER)."""
    if not is_signed(blob):
        return None
    found = blob.find(_DATA, 0, _FAR)
    if found < 0:
        return None
    tag, start, _ = _element(blob, found + len(_DATA))
    if tag != _EXPLICIT:
        return None
    tag, start, end = _element(blob, start)
    if tag == _OCTETS and end is not None:
        return blob[start:end]
    return _pieces(blob, start, end) if tag == _OCTETS_IN_PIECES else None


def _pieces(blob: bytes, start: int, end: int | None) -> bytes:
    """Join the octet strings that one was cut into, to its end or the end-of-contents mark."""
    pieces: list[bytes] = []
    end = len(blob) if end is None else end
    while start < end:
        tag, begin, stop = _element(blob, start)
        if tag != _OCTETS or stop is None:
            break
        pieces.append(blob[begin:stop])
        start = stop
    return b"".join(pieces)


def _element(blob: bytes, at: int) -> tuple[int, int, int | None]:
    """Return tag, start and end of the element at a place; end is None if it is left open."""
    head = blob[at : at + 2]
    if len(head) < 2:
        return -1, at, at
    tag, length = head
    start = at + 2
    if length == 0x80:
        return tag, start, None
    if length > 0x80:
        digits = length & 0x7F
        length = int.from_bytes(blob[start : start + digits][:8], "big") if digits <= 8 else 0
        start += digits
    return tag, start, min(start + length, len(blob))
