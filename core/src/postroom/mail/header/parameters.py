"""Values with parameters: Content-Type and Content-Disposition (RFC 2045, 2183, 2231)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from postroom.mail.decoding.charsets import decode
from postroom.mail.header.words import decode_words

MOST = 200

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("[^"\\]*(?:\\.[^"\\]*)*"?|[^;]*)', re.DOTALL)
_EXTENDED = re.compile(r"([^*]+)\*(?:(\d{1,4})(\*)?)?")
"""`name*`, `name*0`, `name*0*` of RFC 2231."""
_TYPE = re.compile(r"([A-Za-z0-9!#$&^_.+-]+)/([A-Za-z0-9!#$&^_.+-]+)")
_PAIR = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class Parameterised:
    """A value such as `text/plain; charset=utf-8`: `value` in lower case, names too.

    Parameters are raw (Latin-1 carries their bytes); `text` decodes one.
    """

    value: str
    raw: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        return self.raw.get(name, "")

    def text(self, name: str) -> str:
        """Return a parameter as text: RFC 2231, else encoded words, else raw bytes."""
        if not self.raw:
            return ""
        extended = self.raw.get(name + "*")
        return _extended(extended) if extended is not None else _words(self.raw.get(name, ""))


_NONE = Parameterised("")


def content_type(header: str | None, default: str = "text/plain") -> Parameterised:
    """Read a Content-Type; what is no type counts as the default (RFC 2045 section 5.2)."""
    if not header:
        return Parameterised(default)
    read = _cached(header) if len(header) < 200 else _read(header)
    found = _TYPE.match(read.value)
    if found is None:
        return Parameterised(default, read.raw)
    return read if found.group() == read.value else Parameterised(found.group(), read.raw)


def disposition(header: str | None) -> Parameterised:
    """Read a Content-Disposition; `value` is empty where there is none."""
    if not header:
        return _NONE
    return _cached(header) if len(header) < 200 else _read(header)


def _read(header: str) -> Parameterised:
    header = header[:65536]
    if header.lstrip().startswith("=?"):  # some programs encode all of it, for a name in 8-bit
        header = decode_words(header).encode("utf-8", "replace").decode("latin-1")
    value, semicolon, _ = header.partition(";")
    value = value.partition("(")[0].strip().lower()
    if not semicolon:
        return Parameterised(value)
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for number, found in enumerate(_PARAMETER.finditer(header, len(header.partition(";")[0]))):
        if number >= MOST:
            break
        name, text = found[1].lower(), _unquote(found[2])
        extended = _EXTENDED.fullmatch(name)
        if extended is None:
            plain.setdefault(name, text)
        elif extended[2] is None:
            plain.setdefault(f"{extended[1]}*", text)
        else:
            pieces.setdefault(extended[1], {}).setdefault(
                int(extended[2]), (text, extended[3] is not None)
            )
    for name, parts in pieces.items():
        _join(plain, name, parts)
    return Parameterised(value, plain)


_cached = lru_cache(maxsize=1024)(_read)


def _join(plain: dict[str, str], name: str, parts: dict[int, tuple[str, bool]]) -> None:
    """Join the pieces of RFC 2231 section 3, in the order of their numbers."""
    ordered = [parts[number] for number in sorted(parts)]
    if not any(encoded for _, encoded in ordered):
        plain.setdefault(name, "".join(text for text, _ in ordered))
        return
    # pieces that are not encoded may hold a percent sign that means itself
    plain.setdefault(
        name + "*",
        "".join(text if encoded else text.replace("%", "%25") for text, encoded in ordered),
    )


def _unquote(text: str) -> str:
    """Undo quotes; a backslash escapes only `"` and itself, for Windows paths come raw."""
    text = text.strip()
    if text.startswith('"'):
        text = text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:]
        return _PAIR.sub(r"\1", text) if "\\" in text else text
    return text


def _extended(value: str) -> str:
    """Decode `charset'language'percent-encoded`; the first two may be missing."""
    charset, quote, rest = value.partition("'")
    language, second, encoded = rest.partition("'")
    if not (quote and second) or len(charset) > 60 or len(language) > 60:
        charset, encoded = "", value
    if "=?" in encoded and "%" not in encoded:
        return _words(encoded)
    return decode(unquote_to_bytes(encoded.encode("latin-1", "replace")), charset or None)


def _words(value: str) -> str:
    """Decode what RFC 2231 forbids and everyone sends: encoded words in a parameter."""
    return decode_words(value)
