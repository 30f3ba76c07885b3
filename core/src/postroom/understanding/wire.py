"""How a batch goes to a worker process and what it made of it comes back.

Frames of a length and so many bytes; what was understood is MessagePack, read as the types that it
must have. Nothing that could run code is ever loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from msgspec import msgpack

from postroom.mail.message import ParsedMessage
from postroom.store.packing import Packed
from postroom.understanding.understood import NotUnderstoodError, Result, Understood

_HEAD = struct.Struct("!QQ")


def write_frames(stream: BinaryIO, frames: Sequence[bytes]) -> None:
    """Write a group of frames: their lengths, then all of them in one piece.

    Few and large reads and writes: after each, a thread waits for its turn with the interpreter.
    """
    lengths = struct.pack(f"!{len(frames)}Q", *map(len, frames))
    total = len(lengths) + sum(map(len, frames))
    stream.write(b"".join([_HEAD.pack(len(frames), total), lengths, *frames]))
    stream.flush()


def read_frames(stream: BinaryIO) -> list[bytes]:
    """Read a group of frames.

    :raises EOFError: the other side is gone
    """
    count, total = _HEAD.unpack(_read(stream, _HEAD.size))
    data = _read(stream, total)
    at = 8 * count
    frames = []
    for length in struct.unpack_from(f"!{count}Q", data):
        frames.append(data[at : at + length])
        at += length
    return frames


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the other side is gone")
    return data


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of one message: what it says, without the files' contents, or an error's name."""

    parsed: ParsedMessage | None = None
    fingerprint: str = ""
    size: int = 0
    sha256: str = ""
    chunks: list[bytes] = field(default_factory=list)
    error: str = ""


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(_Answer).decode


def encode(result: Understood | Exception) -> bytes:
    """Return the frame of one message."""
    if isinstance(result, Exception):
        return _encode(_Answer(error=type(result).__name__))
    parsed, packed = result.parsed, result.packed
    if parsed.attachments:
        index = tuple(replace(one, content=b"") for one in parsed.attachments)
        parsed = replace(parsed, attachments=index)
    answer = _Answer(parsed, result.fingerprint, packed.size, packed.sha256, list(packed.chunks))
    return _encode(answer)


def decode(frames: Iterable[bytes]) -> Result:
    """Return what the frames of a batch say."""
    return [_result(_decode(frame)) for frame in frames]


def _result(answer: _Answer) -> Understood | Exception:
    if answer.parsed is None:
        return NotUnderstoodError(answer.error)
    packed = Packed(answer.size, answer.sha256, answer.chunks)
    return Understood(answer.parsed, answer.fingerprint, packed)
