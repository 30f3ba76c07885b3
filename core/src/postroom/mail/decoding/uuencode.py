"""Undo uuencode, which is from before MIME, in its old form and in that of base 64 (POSIX)."""

from __future__ import annotations

import binascii
import re

BEGIN = re.compile(rb"^begin(?:-base64)? [0-7]{3,4} +([^\r\n]{1,255}?)[ \t]*\r?\n", re.MULTILINE)
"""The line before a file; its group is the file's name."""
END = re.compile(rb"^(?:end|====)[ \t]*\r?$\n?", re.MULTILINE)


def decode_uu(body: bytes) -> bytes | None:
    """Return the content of a body that is uuencoded as a whole, or None."""
    begin = BEGIN.search(body)
    if begin is None:
        return None
    end = END.search(body, begin.end())
    return decode_block(begin, body[begin.end() : end.start() if end else len(body)])


def decode_block(begin: re.Match[bytes], block: bytes) -> bytes | None:
    """Return what the lines after `begin` stand for; None where it is prose that begins alike."""
    if begin.group().startswith(b"begin-base64"):
        try:
            return binascii.a2b_base64(block.translate(None, b"=\r\n") + b"===")
        except binascii.Error:
            return None
    out: list[bytes] = []
    bad = 0
    for line in block.splitlines():
        line = line.rstrip(b"\r\n")
        if not line or line in (b"`", b" "):
            continue
        try:
            out.append(_decode_line(line))
        except binascii.Error:
            bad += 1
            if bad > len(out):
                return None
    return b"".join(out) if out or not bad else None


def _decode_line(line: bytes) -> bytes:
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        # some encoders leave trailing rubbish; what the length says is enough
        length = (((line[0] - 32) & 63) * 4 + 5) // 3
        return binascii.a2b_uu(line[:length])
