"""Compresses messages for the database, in pieces; imports nothing of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from postroom.mail.large import OnDisk

CHUNK_BYTES = 1 << 20
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Packed:
    """Bytes ready to be stored: packed outside the transaction, so that it stays short."""

    size: int
    sha256: str
    chunks: Iterable[bytes]


def pack(raw: bytes | OnDisk) -> Packed:
    """Compress; what is on disk is compressed piece by piece while it is stored."""
    if not isinstance(raw, bytes):
        return Packed(len(raw), raw.sha256, _pack_pieces(raw.pieces(CHUNK_BYTES)))
    pieces = (raw[i : i + CHUNK_BYTES] for i in range(0, len(raw), CHUNK_BYTES))
    return Packed(len(raw), hashlib.sha256(raw).hexdigest(), list(_pack_pieces(pieces)))


def _pack_pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    # One compressor a thread: making one costs more than compressing a small message.
    compressor = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=1)
    for part in parts:
        yield compressor.compress(part)
