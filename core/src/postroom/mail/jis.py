"""ISO-2022-JP as Japanese programs write it (RFC 1468, and what Windows calls code page 50221).

Python's codecs refuse a whole text for one character of NEC's row 13 or of IBM's, such as "①" or
"髙", and for a shift that is cut off. Both are everyday; this reads pair by pair.
"""

from __future__ import annotations

import re

_SHIFT = re.compile(rb"\x1b(\$[@B]|\$\(D|\([A-Z])")
_PAIR = re.compile(rb"[\x21-\x7e]{2}")


def decode_jis(data: bytes) -> str:
    """Return seven-bit data with shifts as text; what is no character becomes U+FFFD."""
    out: list[str] = []
    charset, start = b"(B", 0
    for shift in _SHIFT.finditer(data):
        out.append(_stretch(data[start : shift.start()], charset))
        charset, start = shift[1], shift.end()
    out.append(_stretch(data[start:], charset))
    return "".join(out)


def _stretch(data: bytes, charset: bytes) -> str:
    """Decode what stands between two shifts."""
    if charset in (b"$B", b"$@"):
        try:
            return (b"\x1b$B" + data + b"\x1b(B").decode("iso2022_jp")  # much faster
        except UnicodeDecodeError:
            return _PAIR.sub(_shift_jis, data).decode("cp932", "replace")
    if charset == b"$(D":  # JIS X 0212, three bytes each in EUC
        return _PAIR.sub(_euc, data).decode("euc_jp", "replace")
    if charset == b"(I":  # katakana of half width
        return bytes(byte | 0x80 if byte > 0x20 else byte for byte in data).decode(
            "cp932", "replace"
        )
    return data.decode("ascii", "replace")


def _shift_jis(pair: re.Match[bytes]) -> bytes:
    row, cell = pair.group()
    lead = ((row - 0x21) >> 1) + 0x81
    trail = cell + (0x1F + (cell >= 0x60) if row & 1 else 0x7E)
    return bytes((lead + 0x40 if lead > 0x9F else lead, trail))


def _euc(pair: re.Match[bytes]) -> bytes:
    row, cell = pair.group()
    return bytes((0x8F, row | 0x80, cell | 0x80))
