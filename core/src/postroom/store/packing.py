"""Compresses messages for the database, in pieces; imports nothing of it.

A piece is a zstd frame. Of a large message, lines of base 64 that are all as long are kept as what
they say, and put back byte for byte: zstd takes seven times as long for letters, to the same size,
or to a much larger one where what they say can be compressed. Such a piece begins with `_MIXED`,
then come the number of runs; for each the bytes of text before it, the bytes that it says, the
letters of a line and the bytes of a line end; and the frame of texts and runs in their order.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import zstandard

from postroom.errors import DiskFullError

if TYPE_CHECKING:
    from postroom.mail.decoding.runs import Piece
    from postroom.mail.large import Pages
    from postroom.mail.ondisk import OnDisk
    from postroom.mail.search import Source

CHUNK_BYTES = 1 << 20
_LARGE = 1 << 18
"""In bytes that are no more nothing is looked for: it would take no less time."""
_BEHIND_BYTES = 8 << 20
"""The chunks of a larger message are not written into its file: it takes twice the space."""
_ROOM_BYTES = 256 << 20
"""Nor where the temporary folder has no more space than this: it is for messages."""
_MIXED = b"\x01"  # a zstd frame begins with b"\x28"
_COUNT = struct.Struct("!H")
_RUN = struct.Struct("!IIHB")
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Packed:
    """Bytes ready to be stored: packed outside the transaction, so that it stays short."""

    size: int
    sha256: str
    chunks: Iterable[bytes]
    """They may be asked for more than once."""
    behind: Sequence[int] = ()
    """The lengths of those that a worker wrote into the file, behind the message."""


def pack(raw: bytes | OnDisk | Pages) -> Packed:
    """Compress; what is on disk is compressed piece by piece while it is stored.

    :raises DiskFullError: now, or while it is stored: it cannot be read
    """
    if not isinstance(raw, bytes):
        from postroom.mail.large import as_pages

        source = as_pages(raw)
        with reading_back():
            return Packed(len(source), source.sha256, _Later(source, source.find_runs))
    return Packed(len(raw), hashlib.sha256(raw).hexdigest(), _packed(raw))


def _packed(raw: bytes) -> list[bytes]:
    if len(raw) <= _LARGE:
        return [_compress(raw)] if raw else []
    from postroom.mail.decoding.runs import find_runs

    return list(_pack_large(raw, find_runs(raw)))


def pack_behind(raw: bytes | Pages) -> Packed:
    """As `pack`; of a file, the chunks are written behind the message in it, so that whoever stores
    them only reads them. Where that is not done they are packed when they are asked for.

    :raises DiskFullError: it cannot be read
    """
    behind = () if isinstance(raw, bytes) else _write_behind(raw)
    return replace(pack(raw), behind=behind)


def unpack(chunk: bytes) -> bytes:
    """Return the bytes of a piece, 1 MiB at most."""
    decompress = zstandard.ZstdDecompressor().decompress
    if not chunk.startswith(_MIXED):
        return decompress(chunk)
    (count,) = _COUNT.unpack_from(chunk, 1)
    begin = 1 + _COUNT.size + count * _RUN.size
    runs = _RUN.iter_unpack(chunk[1 + _COUNT.size : begin])
    return b"".join(_mixed(decompress(chunk[begin:]), runs))


def _mixed(content: bytes, runs: Iterable[tuple[int, int, int, int]]) -> Iterator[bytes]:
    from postroom.mail.decoding.transfer import encode_base64

    at = 0
    for text, says, letters, end_bytes in runs:
        yield content[at : at + text]
        at += text
        coded = encode_base64(content[at : at + says])
        at += says
        line_end = b"\r\n"[-end_bytes:]
        yield line_end.join(coded[i : i + letters] for i in range(0, len(coded), letters))
        yield line_end
    yield content[at:]


def _write_behind(pages: Pages) -> Sequence[int]:
    """Write the chunks of a file; return their lengths, none where that is not done."""
    with suppress(OSError, DiskFullError, MemoryError):  # whoever stores it says so
        if len(pages) <= _BEHIND_BYTES and _has_room(pages):
            # packed first: behind what is written no byte would be missed
            chunks = list(_Later(pages, pages.find_runs))
            _append(chunks, pages)
            return [*map(len, chunks)]
    return ()


def _append(chunks: Iterable[bytes], file: OnDisk) -> None:
    number, end = file.fileno(), len(file)
    try:
        for chunk in chunks:
            written = os.pwrite(number, chunk, end)
            end += written
            if written < len(chunk):
                raise OSError(errno.ENOSPC, "there was no space for all of it")
    except OSError:
        if end > len(file):
            os.ftruncate(number, len(file))
        raise


def _has_room(file: OnDisk) -> bool:
    told = os.fstatvfs(file.fileno())
    return told.f_bavail * told.f_frsize > _ROOM_BYTES


def written_behind(packed: Packed, file: OnDisk) -> Packed:
    """Return it with the chunks that `pack_behind` wrote into the file, or to be packed."""
    from postroom.mail.decoding.runs import find_runs
    from postroom.mail.ondisk import FileBytes

    if packed.behind:
        return replace(packed, chunks=_Behind(file, packed.behind))
    source = FileBytes(file)
    return replace(packed, chunks=_Later(source, partial(find_runs, source)))


class _Behind:
    """The chunks that a worker wrote into the file.

    :raises DiskFullError: it cannot be read
    """

    def __init__(self, file: OnDisk, lengths: Sequence[int]) -> None:
        self._file = file
        self._lengths = lengths

    def __iter__(self) -> Iterator[bytes]:
        from postroom.mail.ondisk import FileBytes

        source = FileBytes(self._file, sum(self._lengths))
        with reading_back():
            for start, end in pairwise(accumulate(self._lengths, initial=len(self._file))):
                yield source[start:end]


class _Later:
    """The chunks of a file, packed when they are asked for.

    :raises DiskFullError: it cannot be read
    """

    def __init__(self, source: Source, find_runs: Callable[[], Iterator[Piece]]) -> None:
        self._source = source
        self._find_runs = find_runs

    def __iter__(self) -> Iterator[bytes]:
        with reading_back():
            yield from _pack_large(self._source, self._find_runs())


@contextmanager
def reading_back() -> Iterator[None]:
    """Say what it means that a file with a large message cannot be read: it is no fault of the
    message, which is retrieved again.

    :raises DiskFullError: instead of OSError
    """
    try:
        yield
    except OSError as error:
        told = f"The temporary folder does not give a large message back: {error.strerror}."
        raise DiskFullError.of_temporary_folder(told, error) from error


def _pack_large(source: Source, runs: Iterable[Piece]) -> Iterator[bytes]:
    chunk = _Chunk()
    for part in _parts(source, runs):
        size = len(part) if isinstance(part, bytes) else part.end - part.start
        if chunk.size + size > CHUNK_BYTES:
            yield chunk.packed()
            chunk = _Chunk()
        chunk.add(part, size)
    if chunk.size:
        yield chunk.packed()


def _parts(source: Source, runs: Iterable[Piece]) -> Iterator[bytes | Piece]:
    """Yield all of it in order: lines of base 64, and text between them."""
    done = 0
    for piece in runs:
        yield from _texts(source, done, piece.start)
        yield piece
        done = piece.end
    yield from _texts(source, done, len(source))


def _texts(source: Source, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, CHUNK_BYTES):
        yield source[at : min(end, at + CHUNK_BYTES)]


@dataclass(slots=True)
class _Chunk:
    """What becomes one piece."""

    size: int = 0
    """Bytes of the message."""
    _content: list[bytes] = field(default_factory=list)
    _runs: list[bytes] = field(default_factory=list)
    _text: int = 0
    """Bytes since the last run."""

    def add(self, part: bytes | Piece, size: int) -> None:
        """Add a text or lines of so many bytes."""
        self.size += size
        if isinstance(part, bytes):
            self._content.append(part)
            self._text += size
            return
        self._content.append(part.decoded)
        end_bytes = len(part.line_end)
        letters = part.line_bytes - end_bytes
        self._runs.append(_RUN.pack(self._text, len(part.decoded), letters, end_bytes))
        self._text = 0

    def packed(self) -> bytes:
        """Return the piece."""
        frame = _compress(b"".join(self._content))
        if not self._runs:
            return frame
        return b"".join([_MIXED, _COUNT.pack(len(self._runs)), *self._runs, frame])


def _compress(content: bytes) -> bytes:
    # One compressor a thread: making one costs more than compressing a small message.
    compressor = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=1)
    compressed: bytes = compressor.compress(content)
    return compressed
