"""Bytes to text, whatever the label says.

The ladder: what is declared (as browsers understand the label: Latin-1 is Windows-1252, GB2312 is
GB18030, ASCII is UTF-8), then UTF-8, then what it looks like, then Windows-1252. It never raises.

Latin-1 is also what programs declare that know nothing: any bytes decode as it. What is UTF-8
throughout, with two characters or more beyond ASCII, is UTF-8 under that label as well: "Ã¼" is
no word in any language. The same goes for the other charsets, with a little more care.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from functools import lru_cache

from postroom.mail.decoding.guesses import guess
from postroom.mail.decoding.jis import decode_jis

_LABEL = re.compile(r"[A-Za-z0-9][\w.:+-]*", re.ASCII)


def _words(table: str) -> frozenset[str]:
    return frozenset(table.split())


_LONGEST_LINE = 10_000
"""A text is cut in the middle of a longer one."""

_PYTHON_ONLY = _words(
    "idna punycode undefined unicode-escape raw-unicode-escape mbcs oem charmap palmos"
)
"""Codecs that are not character sets of mail; some are slow on hostile input."""

_UNLABELLED = _words(
    "unknown unknown-8bit x-unknown 8bit 7bit binary default none default-charset x-user-defined "
    "us-ascii ascii ansi-x3.4-1968 iso646-us us cp367 646 ansi-x3.4-1986 utf-8 utf8 cp65001 "
    "unicode-1-1-utf-8 unicode-2-0-utf-8 x-unicode-2-0-utf-8 utf-8-sig u8 utf cesu-8"
)
"""Labels for which UTF-8 is tried first: they are it, they are its subset, or they say nothing."""

_ALIASES = {
    **dict.fromkeys(
        _words(
            "iso-8859-1 iso8859-1 latin1 latin-1 l1 cp819 ibm819 iso-ir-100 8859 8859-1 "
            "iso-8859-1:1987 iso88591 csisolatin1 x-ansi ansi windows-1252 win-1252 cp-1252 "
            "iso-8859 iso8859 iso-8859-1-windows-3.1-latin-1 x-cp1252 en"
        ),
        "cp1252",
    ),
    **dict.fromkeys(_words("iso-8859-9 iso8859-9 latin5 l5 csisolatin5"), "cp1254"),
    **dict.fromkeys(_words("iso-8859-8-i iso-8859-8-e iso-8859-8 logical csiso88598i"), "cp1255"),
    **dict.fromkeys(_words("iso-8859-6-i iso-8859-6-e"), "iso8859_6"),
    **dict.fromkeys(
        _words("tis-620 tis620 iso-8859-11 windows-874 dos-874 x-windows-874"), "cp874"
    ),
    **dict.fromkeys(
        _words(
            "gb2312 gbk gb-2312 gb2312-80 gb-2312-80 x-gbk cp936 ms936 euc-cn x-euc-cn "
            "chinese csgb2312 gb18030-2000 windows-936"
        ),
        "gb18030",
    ),
    **dict.fromkeys(_words("hz-gb-2312 hz-gb hz"), "hz"),
    **dict.fromkeys(
        _words(
            "ks-c-5601-1987 ks-c-5601 ksc5601 ks-c5601 ksc-5601 korean euc-kr euckr cp949 "
            "windows-949 uhc ks-c-5601-1989 ks-x-1001 cseuckr iso-ir-149"
        ),
        "cp949",
    ),
    **dict.fromkeys(
        _words("shift-jis shiftjis sjis x-sjis windows-31j ms-kanji ms932 csshiftjis cp943c"),
        "cp932",
    ),
    **dict.fromkeys(_words("x-euc-jp eucjp euc-jp ujis"), "euc_jp"),
    **dict.fromkeys(_words("big5 big-5 x-x-big5 cn-big5 csbig5 big5-eten"), "big5hkscs"),
    **dict.fromkeys(_words("unicode-1-1-utf-7 unicode-2-0-utf-7 x-unicode-2-0-utf-7"), "utf_7"),
    **dict.fromkeys(_words("unicode ucs-2 iso-10646-ucs-2 csunicode utf16"), "utf_16"),
    **dict.fromkeys(_words("iso-10646-ucs-4 ucs-4 utf32"), "utf_32"),
    **dict.fromkeys(_words("macintosh mac x-mac-roman x-macroman csmacintosh"), "mac_roman"),
    **dict.fromkeys(_words("x-mac-ce x-mac-centraleurroman"), "mac_latin2"),
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-ukrainian": "mac_cyrillic",
    "x-mac-greek": "mac_greek",
    "x-mac-turkish": "mac_turkish",
    "x-mac-icelandic": "mac_iceland",
    "koi8": "koi8_r",
    "cskoi8r": "koi8_r",
    "koi8-ru": "koi8_u",
    "cp-850": "cp850",
    "iso-2022-jp": "iso2022_jp_2",
    "csiso2022jp": "iso2022_jp_2",
    "iso-2022-jp-ms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "cp1251cyrillic": "cp1251",
}

_OF_SEVERAL_BYTES = _words(
    "big5 big5hkscs cp932 cp949 cp950 euc_jis_2004 euc_jp euc_kr gb18030 johab shift_jis "
    "shift_jis_2004 utf-16 cp866 cp874 iso8859-5 iso8859-11"
)
"""Charsets in which a few characters may be sound UTF-8 by accident: so are those Russian and Thai
ones whose letters begin at 0x80 or 0xA1."""
_SECOND_TRY = {
    "big5hkscs": "cp950",
    "cp932": "shift_jis_2004",
    "euc_jp": "euc_jis_2004",
    "iso2022_jp_2": "iso2022_jp_ext",
    "cp949": "johab",
}


@lru_cache(maxsize=512)
def codec_for(label: str) -> str | None:
    """Return the Python codec for a charset label: UTF-8 where it says nothing, None if unknown."""
    found = _LABEL.search(label[:100])
    if found is None:
        return "utf-8"
    name = found.group().lower().replace("_", "-").rstrip(".:-")
    if name in _UNLABELLED:
        return "utf-8"
    if name in _ALIASES:
        return _ALIASES[name]
    for prefix, codec in (("windows-", "cp"), ("win-", "cp"), ("x-cp", "cp"), ("ibm-", "cp")):
        if name.startswith(prefix) and name[len(prefix) :].isdigit():
            name = codec + name[len(prefix) :]
    if name in _PYTHON_ONLY:
        return None
    try:
        info = codecs.lookup(name)
        b"a".decode(name)  # raises LookupError for codecs that are not text, such as "zlib"
    except UnicodeError:
        pass  # half a character of UTF-16
    except (LookupError, ValueError):
        return None
    return None if info.name.replace("_", "-") in _PYTHON_ONLY else info.name


def decode(data: bytes, label: str | None = None) -> str:
    """Return `data` as text by the ladder; a byte-order mark is not text."""
    if data.isascii() and (not label or codec_for(label) in ("utf-8", "cp1252", None)):
        return _ascii(data)
    codec = codec_for(label) if label else "utf-8"
    if codec is None or codec == "utf-8":
        return _unlabelled(data, declared_utf8=bool(label))
    if codec in ("utf_16", "utf-16"):
        return _utf16(data)
    if data.startswith(b"\xef\xbb\xbf"):
        return _unlabelled(data)
    return _declared(data, codec)


def cut(data: bytes, size: int, label: str) -> bytes:
    """Return at most so many bytes of a text, cut where a line, a word or a character ends."""
    if len(data) <= size:
        return data
    codec = codec_for(label) or "utf-8"
    if b"\x00" in data[:400] or codec.startswith(("utf_16", "utf-16", "utf_32", "utf-32")):
        return data[: size & -4]
    near = max(0, size - _LONGEST_LINE)
    for space in (b"\n", b" "):
        if end := data.rfind(space, near, size) + 1:
            return data[:end]
    for less in range(4):
        with suppress(LookupError, ValueError):
            data[: size - less].decode(codec)
            return data[: size - less]
    return data[:size]


def decode_header(data: bytes, hint: str | None = None) -> str:
    """Return a header's raw 8-bit bytes as text: UTF-8, the body's charset `hint`, or a guess."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        codec = codec_for(hint) if hint else None
    if codec and codec not in ("utf-8", "cp1252"):
        try:
            return data.decode(codec)
        except (LookupError, ValueError):
            pass
    return _unlabelled(data)


def _ascii(data: bytes) -> str:
    """Decode seven-bit data; Japanese in ISO-2022-JP is often left without a label."""
    if b"\x1b$" in data:
        try:
            return data.decode("iso2022_jp_2")
        except UnicodeDecodeError:
            return decode_jis(data)
    return data.decode("ascii")


def _declared(data: bytes, codec: str) -> str:
    if (text := _plainly_utf8(data, codec)) is not None:
        return text
    for name in (codec, _SECOND_TRY.get(codec)):
        if name is not None:
            try:
                return data.decode(name)
            except (LookupError, ValueError):
                continue
    if codec.startswith("iso2022_jp") and data.isascii():
        return decode_jis(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(codec, "replace")


def _plainly_utf8(data: bytes, codec: str) -> str | None:
    """Return the text if the bytes are UTF-8 throughout, and hardly anything in the charset.

    Two characters beyond ASCII show it under a charset of single bytes. Under one of several bytes
    four do, and most must be of three bytes each; under UTF-16 also that no byte is zero.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    if codec not in _OF_SEVERAL_BYTES:
        return text if foreign >= 2 else None
    return text if foreign >= 4 and len(data) - len(text) > 1.5 * foreign else None


def _unlabelled(data: bytes, *, declared_utf8: bool = False) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and not declared_utf8:
        return _utf16(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _nearly_utf8(data)


def _nearly_utf8(data: bytes) -> str:
    """Decode UTF-8 with a fault or two, CESU-8, or else Windows-1252.

    Where it looks like nothing else, half as many sound characters as broken ones show UTF-8: by
    accident there are few.
    """
    try:  # CESU-8 writes characters beyond U+FFFF as two surrogates of three bytes each
        pairs = data.decode("utf-8-sig", "surrogatepass")
        return pairs.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    except UnicodeDecodeError:
        text = data.decode("utf-8-sig", "replace")
    broken = text.count("\ufffd")
    sound = len(text) - len(text.encode("ascii", "ignore")) - broken
    codec = None if sound > broken else guess(data)
    if codec is None and 2 * sound >= broken:
        return text
    return data.decode(codec or "cp1252", "replace")


def _utf16(data: bytes) -> str:
    """Decode UTF-16; without a mark the zero bytes of Latin letters tell the byte order."""
    pairs = data[: len(data) & ~1]  # the line end of some program may be half a character
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return pairs.decode("utf-16", "replace")
    sample = data[:400]
    if 0 not in sample and (text := _plainly_utf8(data, "utf-16")) is not None:
        return text
    big = sample[0::2].count(0) > sample[1::2].count(0)
    if not big and 0 not in sample and sample.isascii():
        return data.decode("ascii", "replace")  # labelled UTF-16, but plain text (Outlook)
    return pairs.decode("utf-16-be" if big else "utf-16-le", "replace")
