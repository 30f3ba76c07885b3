"""Encoded words in headers (RFC 2047), as they come and not only as they should."""

from __future__ import annotations

import binascii
import re

from postroom.mail.decoding.charsets import decode, decode_header

_WORD = re.compile(r"=\?([^?\s]{0,100})\?([bBqQ])\?(.{0,4000}?)\?=", re.DOTALL)
"""The text may hold spaces (RFC 2047 section 2 forbids it, mailers do it). The bounds keep the
search linear where a word has no end."""


def decode_words(value: str, hint: str | None = None) -> str:
    """Return a raw header value (Latin-1 carries its bytes) with its words decoded, once.

    White space between two words vanishes (RFC 2047 section 6.2). Neighbours of one charset are
    joined before they are decoded: many mailers cut characters in two.
    """
    if "=?" not in value:
        return value if value.isascii() and "\x1b" not in value else decode_plain(value, hint)
    out: list[str] = []
    run: list[tuple[str, str, str]] = []  # neighbouring words: charset, encoding, text
    done = 0
    for word in _WORD.finditer(value):
        between = value[done : word.start()]
        if between and not (run and between.isspace()):
            out.append(_run(run))
            run = []
            out.append(decode_plain(between, hint))
        run.append((word[1].partition("*")[0].lower(), word[2].lower(), word[3]))
        done = word.end()
    out.append(_run(run))
    out.append(decode_plain(value[done:], hint))
    return "".join(out)


def decode_plain(value: str, hint: str | None = None) -> str:
    """Return header text that is not in words: ASCII, or raw bytes that Latin-1 carries."""
    if value.isascii():
        if "\x1b$" in value:
            return decode(value.encode("ascii"), "iso-2022-jp")
        return value
    return decode_header(value.encode("latin-1", "replace"), hint)


def _run(run: list[tuple[str, str, str]]) -> str:
    if not run:
        return ""
    out: list[str] = []
    charset, encoding, text = run[0]
    data = b""
    for next_charset, next_encoding, next_text in run[1:]:
        if next_charset != charset:
            out.append(decode(data + _bytes(encoding, text), charset))
            data, charset, text = b"", next_charset, next_text
        elif encoding == next_encoding == "b" and not _is_whole(text):
            text = text + next_text  # one base64 stream, cut anywhere
        else:
            data += _bytes(encoding, text)
            text = next_text
        encoding = next_encoding
    out.append(decode(data + _bytes(encoding, text), charset))
    return "".join(out)


def _is_whole(text: str) -> bool:
    return text.rstrip().endswith("=") or sum(not c.isspace() for c in text) % 4 == 0


def _bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("latin-1", "replace")
    if encoding == "q":
        return binascii.a2b_qp(raw, header=True)
    raw = raw.translate(None, b" \t\r\n").rstrip(b"=")
    for cut in (0, 1):
        try:
            return binascii.a2b_base64(raw[: len(raw) - cut] + b"===")
        except binascii.Error:  # one letter too many cannot be decoded
            continue
    return raw
