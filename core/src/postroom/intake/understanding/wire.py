"""How a batch goes to a worker process and what it made of it comes back.

Frames of a length and so many bytes. A request's first frame says what is asked, then come the
messages; of an answer the last frame is what was logged. What is no message is MessagePack, read as
the types that it must have. Nothing that could run code is ever loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import GenericAlias
from typing import TYPE_CHECKING, Any, BinaryIO, Final, get_type_hints

from msgspec import Struct, msgpack

from postroom.api.verdict import MailboxView, Verdict
from postroom.intake.understanding.understood import NotUnderstoodError, Result, Understood
from postroom.mail.message import ParsedMessage, make_message
from postroom.store.packing import Packed

_HEAD = struct.Struct("!QQ")
KEPT_HEADERS = frozenset(["content-type"])
"""What is asked of a message that is classified: by `conversations`."""


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
class Request:
    """What is asked.

    `view`: classify for this mailbox, too; `large`: the places in the batch of messages that are
    files, handed over beside the frames, with their sizes.
    """

    view: MailboxView | None = None
    large: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """A line that the worker would have logged; `text` ends with the traceback, if there is one."""

    logger: str
    level: int
    text: str
    plugin: str = ""


_FIELDS: Final = get_type_hints(ParsedMessage) | {"reply_text": str | None}
"""What a message says, in the order in which it is sent. No reply text: it is all of the text."""
if TYPE_CHECKING:
    _Values = tuple[Any, ...]
else:
    _Values = GenericAlias(tuple, tuple(_FIELDS.values()))


class _Answer(Struct, array_like=True):
    """What became of one message: what it says, without the files' contents, or an error's name.

    Sent as an array, without names: they would take longer to read than what they name.
    """

    said: _Values | None = None
    fingerprint: str = ""
    size: int = 0
    sha256: str = ""
    chunks: list[bytes] = []
    behind: list[int] = []
    classified: tuple[Verdict, list[str]] | None = None
    error: str = ""


encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(_Answer).decode
decode_request = msgpack.Decoder(Request).decode
decode_told = msgpack.Decoder(list[Told]).decode


def encode_result(result: Understood | Exception) -> bytes:
    """Return the frame of one message."""
    if isinstance(result, Exception):
        return encode(_Answer(error=type(result).__name__))
    packed, classified = result.packed, result.classified
    chunks = packed.chunks if isinstance(packed.chunks, list) else []
    said = _values(result.parsed, is_classified=classified is not None)
    return encode(
        _Answer(
            said,
            result.fingerprint,
            packed.size,
            packed.sha256,
            chunks,
            list(packed.behind),
            classified,
        )
    )


def _values(parsed: ParsedMessage, *, is_classified: bool) -> _Values:
    """Return what is sent of a message: files' contents are in the raw bytes, headers were asked
    for."""
    values = dict(vars(parsed))
    if parsed.reply_text == parsed.text:
        values["reply_text"] = None
    if parsed.attachments:
        values["attachments"] = tuple(replace(one, content=b"") for one in parsed.attachments)
    if is_classified:
        values["headers"] = tuple(one for one in parsed.headers if one[0].lower() in KEPT_HEADERS)
    return tuple([values[name] for name in _FIELDS])


def decode_results(frames: Iterable[bytes]) -> Result:
    """Return what the frames of a batch say."""
    return [_result(_decode(frame)) for frame in frames]


def _result(answer: _Answer) -> Understood | Exception:
    if answer.said is None:
        return NotUnderstoodError(answer.error)
    values = dict(zip(_FIELDS, answer.said, strict=True))
    if values["reply_text"] is None:
        values["reply_text"] = values["text"]
    packed = Packed(answer.size, answer.sha256, answer.chunks, answer.behind)
    return Understood(make_message(**values), answer.fingerprint, packed, answer.classified)
