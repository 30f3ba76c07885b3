"""Which character set text without a usable label is in, where it is plainly not a Western one.

Detectors for everything (chardet, charset-normalizer) take short Latin text for Turkish or Korean.
This one only speaks where bytes over 127 stand in rows, as in Cyrillic and Chinese, and chooses
among the few character sets that are sent without a label.
"""

from __future__ import annotations

import re

_LOOKED_AT = 4_000
_FEWEST = 6
_ROW = re.compile(rb"[\x80-\xff]{3,}")
_HIGH = re.compile(rb"[\x80-\xff]")
_PAIR = re.compile(rb"([\x81-\xfe])([\x40-\x7e\x80-\xfe])")
_CYRILLIC = frozenset(range(0xC0, 0x100)) | frozenset(
    b"\xa3\xa4\xa6\xa7\xa8\xad\xaa\xaf\xb2\xb3\xb4\xb6\xb7\xb8\xba\xbd\xbf"
)
"""The letters; those below 0xC0 are Ukrainian ones and the Yo, here or there."""


def guess(data: bytes) -> str | None:
    """Return the codec that the bytes are likely in, or None where they look Western."""
    sample = data[:_LOOKED_AT]
    high = b"".join(_HIGH.findall(sample))
    in_rows = sum(map(len, _ROW.findall(sample)))
    if len(high) < _FEWEST or in_rows < 0.5 * len(high):
        return None
    codec = _cyrillic(high) or _eastern(sample)
    try:
        data.decode(codec)
    except UnicodeDecodeError:
        return None
    return codec


def _cyrillic(high: bytes) -> str | None:
    """Most letters are small ones: windows-1251 has them in the last 32 places, KOI8 before."""
    if sum(byte in _CYRILLIC for byte in high) < 0.95 * len(high):
        return None
    last = sum(byte >= 0xE0 for byte in high)
    if last > 0.65 * len(high):
        return "cp1251"
    return "koi8_u" if last < 0.35 * len(high) else None


def _eastern(sample: bytes) -> str:
    """Tell by the first bytes of the pairs: each set has its frequent characters together."""
    pairs = _PAIR.findall(sample)
    leads = b"".join(lead for lead, _ in pairs)
    total = max(len(leads), 1)

    def share(first: int, last: int) -> float:
        return sum(first <= lead <= last for lead in leads) / total

    if share(0x81, 0x9F) > 0.5:
        return "cp932"
    if share(0xA4, 0xA5) > 0.3 and share(0xA6, 0xAF) < 0.05:
        return "euc_jp"
    if share(0xB0, 0xC8) > 0.9:
        return "cp949"
    return "big5hkscs" if share(0xA1, 0xC6) > 0.85 else "gb18030"
