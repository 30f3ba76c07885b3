"""ISO-2022-JP as Japanese programs write it (RFC 1468, and what Windows calls code page 50221).

Python's codecs refuse a whole text for one character of NEC's row 13 or of IBM's, such as "①" or
"髙", and for a shift that is cut off. Both are everyday; this reads pair by pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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
    """Decode what stands between two shifts.

    Each line begins in ASCII, so RFC 1468: where the shift back was lost, the lines below the first
    are ASCII unless they can be read on.
    """
    if charset not in _READERS:
        return data.decode("ascii", "replace")
    read = _READERS[charset]
    first, *rest = data.splitlines(keepends=True) or [b""]
    return read(first, "replace") + "".join([_read_on(line, read) for line in rest])


def _read_on(line: bytes, read: Callable[[bytes, str], str]) -> str:
    try:
        return read(line, "strict")
    except UnicodeDecodeError:
        return line.decode("ascii", "replace")


def _kanji(data: bytes, errors: str) -> str:
    try:
        return (b"\x1b$B" + data + b"\x1b(B").decode("iso2022_jp")  # much faster
    except UnicodeDecodeError:
        if errors == "strict":
            _refuse_rests(data)
        return _PAIR.sub(_shift_jis, data).decode("cp932", errors)


def _more_kanji(data: bytes, errors: str) -> str:
    """JIS X 0212, three bytes each in EUC."""
    if errors == "strict":
        _refuse_rests(data)
    return _PAIR.sub(_euc, data).decode("euc_jp", errors)


def _katakana(data: bytes, errors: str) -> str:
    """Of half width."""
    return bytes(byte | 0x80 if byte > 0x20 else byte for byte in data).decode("cp932", errors)


def _refuse_rests(data: bytes) -> None:
    """:raises UnicodeDecodeError: there is more than pairs"""
    if _PAIR.sub(b"", data).strip(b"\r\n"):
        raise UnicodeDecodeError("iso2022_jp", data, 0, len(data), "more than pairs")


_READERS = {b"$B": _kanji, b"$@": _kanji, b"$(D": _more_kanji, b"(I": _katakana}


def _shift_jis(pair: re.Match[bytes]) -> bytes:
    row, cell = pair.group()
    lead = ((row - 0x21) >> 1) + 0x81
    trail = cell + (0x1F + (cell >= 0x60) if row & 1 else 0x7E)
    return bytes((lead + 0x40 if lead > 0x9F else lead, trail))


def _euc(pair: re.Match[bytes]) -> bytes:
    row, cell = pair.group()
    return bytes((0x8F, row | 0x80, cell | 0x80))
