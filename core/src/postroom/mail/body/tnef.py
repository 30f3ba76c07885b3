"""Read Outlook's winmail.dat (MS-OXTNEF): the files in it, and the plain text."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from postroom.mail.decoding.charsets import decode

_SIGNATURE = 0x223E9F78
_BODY, _MESSAGE_PROPERTIES = 0x0002800C, 0x00069003
_RENDERING, _TITLE, _DATA, _FILE_PROPERTIES = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
_CODE_PAGE = 0x00069007
_MOST = 200

_FIXED = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 10: 4, 11: 4, 20: 8, 64: 8, 72: 16}
"""Bytes of a MAPI property type, padded to four."""
_VARIABLE = (0x0D, 0x1E, 0x1F, 0x102)
_PR_BODY, _PR_HTML, _PR_DATA = 0x1000, 0x1013, 0x3701
_PR_FILENAME, _PR_LONG_FILENAME = 0x3704, 0x3707
_PR_MIME_TAG, _PR_CONTENT_ID, _PR_DISPLAY_NAME = 0x370E, 0x3712, 0x3001


@dataclass(slots=True)
class TnefFile:
    name: str = ""
    content: bytes = b""
    content_type: str = ""
    content_id: str | None = None


@dataclass(slots=True)
class Tnef:
    text: str = ""
    html: str = ""
    files: list[TnefFile] = field(default_factory=list)


def read_tnef(data: bytes) -> Tnef | None:
    """Return what is in the stream as far as it is sound; None where it is no TNEF."""
    if len(data) < 6 or struct.unpack_from("<I", data)[0] != _SIGNATURE:
        return None
    result, charset = Tnef(), "cp1252"
    for identifier, value in _attributes(data):
        if identifier == _CODE_PAGE and len(value) >= 4:
            charset = f"cp{struct.unpack_from('<I', value)[0]}"
        elif identifier == _RENDERING:
            if len(result.files) >= _MOST:
                break
            result.files.append(TnefFile())
        elif identifier == _BODY:
            result.text = result.text or _string(value, charset)
        elif identifier == _MESSAGE_PROPERTIES:
            found = dict(_properties(value, charset))
            result.text = _as_text(found.get(_PR_BODY), charset) or result.text
            result.html = _as_text(found.get(_PR_HTML), charset) or result.html
        elif result.files:
            _into_file(result.files[-1], identifier, value, charset)
    return result


def _as_text(value: str | bytes | None, charset: str) -> str:
    """Return a body, which is a string or, as HTML, most often bytes."""
    return _string(value, charset) if isinstance(value, bytes) else value or ""


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield identifier and value: level, identifier, length, value, checksum each."""
    position = 6
    while position + 9 <= len(data):
        level, identifier, length = struct.unpack_from("<BII", data, position)
        if level not in (1, 2):
            return
        yield identifier, data[position + 9 : position + 9 + length]
        position += 9 + length + 2


def _into_file(file: TnefFile, identifier: int, value: bytes, charset: str) -> None:
    if identifier == _TITLE:
        file.name = file.name or _string(value, charset)
    elif identifier == _DATA:
        file.content = value
    elif identifier == _FILE_PROPERTIES:
        found = dict(_properties(value, charset))
        for tag in (_PR_LONG_FILENAME, _PR_FILENAME, _PR_DISPLAY_NAME):
            name = found.get(tag)
            if isinstance(name, str) and name:
                file.name = name
                break
        content, kind = found.get(_PR_DATA), found.get(_PR_MIME_TAG)
        if isinstance(content, bytes) and not file.content:
            file.content = content
        if isinstance(kind, str) and "/" in kind:
            file.content_type = kind.lower()
        content_id = found.get(_PR_CONTENT_ID)
        if isinstance(content_id, str):
            file.content_id = content_id.strip("<> ") or None


def _properties(data: bytes, charset: str) -> Iterator[tuple[int, str | bytes]]:
    """Yield the strings and binaries of a MAPI property list (MS-OXTNEF 2.1.3.4)."""
    if len(data) < 4:
        return
    position = 4
    for _ in range(min(struct.unpack_from("<I", data)[0], 2_000)):
        if position + 4 > len(data):
            return
        kind, tag = struct.unpack_from("<HH", data, position)
        position += 4
        if tag >= 0x8000:
            position = _after_name(data, position)
        many = kind & 0x1000
        kind &= 0x0FFF
        count = 1
        if many or kind in _VARIABLE:
            if position + 4 > len(data):
                return
            count = struct.unpack_from("<I", data, position)[0]
            position += 4
        if kind not in _VARIABLE:
            if kind not in _FIXED:
                return
            position += _FIXED[kind] * count
            continue
        for _ in range(min(count, 1_000)):
            if position + 4 > len(data):
                return
            length = struct.unpack_from("<I", data, position)[0]
            value = data[position + 4 : position + 4 + length]
            position += 4 + length + (-length % 4)
            if kind == 0x1F:
                yield tag, value.decode("utf-16-le", "replace").rstrip("\x00")
            elif kind == 0x1E:
                yield tag, _string(value, charset)
            else:
                yield tag, value


def _after_name(data: bytes, position: int) -> int:
    """Return where a named property's value begins: after a GUID and a number or a name."""
    if position + 24 > len(data):
        return len(data)
    by_name, length = struct.unpack_from("<II", data, position + 16)
    return position + 24 + (length + (-length % 4) if by_name else 0)


def _string(value: bytes, charset: str) -> str:
    return decode(value.split(b"\x00", 1)[0], charset)
