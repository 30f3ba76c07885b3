"""How a batch goes to a worker process and what it made of it comes back.

Frames of a length and so many bytes; values as JSON. Nothing that could run code is ever loaded.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, BinaryIO

from postroom.mail.message import Address, Attachment, ParsedMessage
from postroom.store.packing import Packed
from postroom.understanding.understood import Understood

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_HEAD = struct.Struct("!QQ")
_PLAIN = (
    "subject message_id in_reply_to references is_automatic is_bounce may_auto_reply "
    "reported_ids return_path headers problems"
).split()
_TUPLES = ("in_reply_to", "references", "reported_ids", "problems")


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


def encode(result: Understood | Exception) -> list[bytes]:
    """Return the frames of one message: values, texts, then the packed pieces."""
    if isinstance(result, Exception):
        return [json.dumps({"error": type(result).__name__}).encode()]
    chunks = list(result.packed.chunks)
    values = {
        "fingerprint": result.fingerprint,
        "size": result.packed.size,
        "sha256": result.packed.sha256,
        "chunks": len(chunks),
        "parsed": _document(result.parsed),
    }
    return [_encode(values).encode(), *_texts(result.parsed), *chunks]


def decode(frames: Iterable[bytes]) -> list[Understood | Exception]:
    """Return what the frames of a batch say."""
    results: list[Understood | Exception] = []
    rest = iter(frames)
    for frame in rest:
        values = _decode(frame.decode())
        if "error" in values:
            results.append(NotUnderstoodError(values["error"]))
            continue
        texts = [next(rest).decode() for _ in range(3)]
        chunks = [next(rest) for _ in range(values["chunks"])]
        packed = Packed(values["size"], values["sha256"], chunks)
        parsed = _message(values["parsed"], *texts)
        results.append(Understood(parsed, values["fingerprint"], packed))
    return results


class NotUnderstoodError(Exception):
    """The worker could not understand a message; says what happened to it."""


def _document(parsed: ParsedMessage) -> dict[str, Any]:
    document = {name: getattr(parsed, name) for name in _PLAIN}
    document["has_html"] = parsed.html_original is not None
    document["is_all_reply"] = parsed.reply_text == parsed.text  # it is mostly: over once
    document["from_"] = _pair(parsed.from_) if parsed.from_ else None
    for name in ("to", "cc", "reply_to"):
        document[name] = [_pair(one) for one in getattr(parsed, name)]
    for name in ("date", "received_at"):
        instant = getattr(parsed, name)
        document[name] = instant.isoformat() if instant else None
    document["attachments"] = [
        (a.filename, a.content_type, a.size, a.sha256, a.content_id, a.inline)
        for a in parsed.attachments
    ]
    return document


def _pair(address: Address) -> tuple[str, str]:
    return address.address, address.name


def _texts(parsed: ParsedMessage) -> tuple[bytes, bytes, bytes]:
    reply = b"" if parsed.reply_text == parsed.text else parsed.reply_text.encode()
    return parsed.text.encode(), reply, (parsed.html_original or "").encode()


def _message(document: dict[str, Any], text: str, reply: str, html: str) -> ParsedMessage:
    document["text"] = text
    document["reply_text"] = text if document.pop("is_all_reply") else reply
    document["html_original"] = html if document.pop("has_html") else None
    for name in _TUPLES:
        document[name] = tuple(document[name])
    document["headers"] = tuple(map(tuple, document["headers"]))
    if document["from_"] is not None:
        document["from_"] = Address(*document["from_"])
    for name in ("to", "cc", "reply_to"):
        document[name] = tuple(Address(*pair) for pair in document[name])
    for name in ("date", "received_at"):
        if document[name] is not None:
            document[name] = datetime.fromisoformat(document[name])
    document["attachments"] = tuple(map(_attachment, document["attachments"]))
    return ParsedMessage(**document)


def _attachment(values: list[Any]) -> Attachment:
    filename, content_type, size, sha256, content_id, inline = values
    return Attachment(filename, content_type, size, sha256, content_id, inline, b"")
