"""The body of outgoing mail: parts in transfer encodings that every server passes unchanged."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote as percent_encoded

from postroom.mail.compose import lines

if TYPE_CHECKING:
    from hashlib import _Hash

_MAX_7BIT_LINE = 78
_MAX_FILENAME = 150
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
_LINE_END = re.compile("\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Part:
    """A MIME part: its header lines and its encoded content, which ends in CRLF."""

    headers: tuple[bytes, ...]
    content: bytes = field(repr=False)


def text_part(text: str, subtype: str) -> Part:
    """Return a text in UTF-8, as it is if it can pass, else quoted-printable or base 64."""
    text = _CONTROL.sub("", _LINE_END.sub("\n", text))
    octets = text.encode("utf-8", "replace")
    encoding, content = _encode_text(octets)
    return Part(
        (
            lines.folded("Content-Type", [f"text/{subtype};", "charset=utf-8"]),
            lines.folded("Content-Transfer-Encoding", [encoding]),
        ),
        content,
    )


def _encode_text(octets: bytes) -> tuple[str, bytes]:
    if octets and not octets.endswith(b"\n"):
        octets += b"\n"
    is_short = all(len(line) <= _MAX_7BIT_LINE for line in octets.split(b"\n"))
    if octets.isascii() and is_short and b"\nFrom " not in b"\n" + octets:
        return "7bit", octets.replace(b"\n", b"\r\n")
    foreign = len(octets.translate(None, bytes(range(128))))
    if 4 * foreign > len(octets):
        return "base64", _base64_lines(octets.replace(b"\n", b"\r\n"))
    printable = binascii.b2a_qp(octets, istext=True)
    printable = (b"\n" + printable).replace(b"\nFrom ", b"\n=46rom ")[1:]
    return "quoted-printable", printable.replace(b"\n", b"\r\n")


def _base64_lines(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def attachment(filename: str, content_type: str, content: bytes) -> Part:
    """Return a file in base 64; its name by RFC 2231 where it is not plain ASCII.

    An enclosed message may not be base 64 (RFC 2046 section 5.2.1), so it goes as mere octets.
    """
    kind = content_type.strip().lower()
    if _TYPE.fullmatch(kind) is None or kind.startswith(("message/", "multipart/")):
        kind = "application/octet-stream"
    return Part(
        (
            lines.folded("Content-Type", [kind]),
            lines.folded("Content-Disposition", ["attachment;", *_filename_tokens(filename)]),
            lines.folded("Content-Transfer-Encoding", ["base64"]),
        ),
        _base64_lines(content),
    )


_PLAIN_FILENAME = re.compile(r"[A-Za-z0-9 !#$&'()+,;=@^_`{}~.\[\]-]{1,60}")


def safe_filename(filename: str) -> str:
    """Return the last component of a path without controls, at most 150 characters, ending kept."""
    name = lines.clean(re.split(r"[/\\]", filename[-2_000:])[-1]).strip(" .")
    if len(name) > _MAX_FILENAME:
        stem, dot, ending = name.rpartition(".")
        ending = dot + ending if stem and len(ending) <= 20 else ""
        name = name[: _MAX_FILENAME - len(ending)] + ending
    return name or "attachment"


def _filename_tokens(filename: str) -> list[str]:
    """Return the parameter `filename`, in numbered pieces if it is long (RFC 2231 section 3)."""
    name = safe_filename(filename)
    if _PLAIN_FILENAME.fullmatch(name):
        return [f'filename="{name}"']
    encoded = percent_encoded(name, safe="")
    pieces = re.findall(r"(?:%[0-9A-F]{2}|[^%]){1,20}", encoded)
    if len(pieces) == 1:
        return [f"filename*=utf-8''{encoded}"]
    tokens = [f"filename*{index}*={piece};" for index, piece in enumerate(pieces)]
    tokens[0] = tokens[0].replace("*=", "*=utf-8''", 1)
    tokens[-1] = tokens[-1].removesuffix(";")
    return tokens


def multipart(subtype: str, parts: Sequence[Part], seed: _Hash) -> Part:
    """Return the parts joined; `seed` is a hash that makes the boundary, and is fed the parts.

    The boundary cannot be in a part: `=_` is in no encoded line, and a line of plain text that had
    the hash of itself is beyond anyone.
    """
    for part in parts:
        seed.update(part.content)
    boundary = b"=_" + seed.hexdigest()[:40].encode()
    pieces: list[bytes] = []
    for part in parts:
        pieces += (b"--", boundary, b"\r\n", *part.headers, b"\r\n", part.content)
    pieces += (b"--", boundary, b"--\r\n")
    kind = lines.folded(
        "Content-Type", [f"multipart/{subtype};", f'boundary="{boundary.decode()}"']
    )
    return Part((kind,), b"".join(pieces))
