"""Large files lifted out of a message before it is read: Python's ``email`` would hold each of them
several times over.

What is lifted leaves a short text of its own in its place, in base64 as it was.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterator
from email import message_from_bytes
from typing import Final

_LARGE: Final = 1 << 18
"""Bytes in base64; a smaller part stays where it is."""
_MOST_HEADER: Final = 1 << 16
_READABLE: Final = ("text", "multipart", "message")


class Lifted:
    """A message without its large files.

    :param raw: with CRLF line ends
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = memoryview(raw)
        self._places: dict[bytes, tuple[int, int]] = {}
        """What stands in for a file → where its base64 is in `raw`."""
        self.rest = b"".join(self._pieces(raw))

    def decoded(self, content: bytes) -> bytes:
        """Return a part's content, in full if it was lifted."""
        place = self._places.get(content)
        return content if place is None else _decoded(self._raw[slice(*place)])

    def restored(self, rest: bytes) -> bytes:
        """Return bytes of the rest, with line feeds, and everything that was lifted out of them."""
        for token, place in self._places.items():
            if (stand_in := base64.b64encode(token)) in rest:
                encoded = bytes(self._raw[slice(*place)]).rstrip().replace(b"\r\n", b"\n")
                rest = rest.replace(stand_in, encoded)
        return rest

    def _pieces(self, raw: bytes) -> Iterator[bytes]:
        done = 0
        for start, end in _large_files(raw):
            token = secrets.token_bytes(24)
            self._places[token] = start, end
            yield raw[done:start]
            yield base64.b64encode(token)
            done = end
        yield raw[done:]


def _large_files(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the base64 of each large file begins and ends: no base64 has a hyphen in it."""
    at = 0
    while True:
        following = raw.find(b"\r\n--", at)
        end = following if following >= 0 else len(raw)
        body = raw.find(b"\r\n\r\n", at, end) + 4
        if end - body > _LARGE and 4 <= body <= at + _MOST_HEADER and _is_file(raw[at:body]):
            yield body, end
        if following < 0:
            return
        at = raw.find(b"\r\n", following + 4)
        if at < 0:
            return
        at += 2


def _is_file(header: bytes) -> bool:
    part = message_from_bytes(header)
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    return encoding == "base64" and part.get_content_maintype() not in _READABLE


def _decoded(encoded: memoryview) -> bytes:
    try:
        return binascii.a2b_base64(encoded)
    except binascii.Error:  # cut short
        return base64.b64decode(bytes(encoded).rstrip(b"\r\n=")[: len(encoded) // 4 * 4] + b"==")
