"""Files as they stand in mail."""

from __future__ import annotations

import base64
import random


def octets(size: int, seed: int = 1) -> bytes:
    """Return so many bytes that no program can compress; the same each time."""
    return random.Random(seed).randbytes(size)


def lines(data: bytes, *, width: int = 76, end: bytes = b"\r\n") -> bytes:
    """Return the data in base 64, in lines of `width` letters."""
    coded = base64.b64encode(data)
    return b"".join(coded[at : at + width] + end for at in range(0, len(coded), width))
