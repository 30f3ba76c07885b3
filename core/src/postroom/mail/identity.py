"""What makes two deliveries the same message. FROZEN: its results are keys in databases.

Nothing here may change what a message comes to, so nothing is shared with the parser, which may
improve: only the decoders of base64, for what is not damaged, and of quoted-printable, which says
what Python's own says. A better rule gets a new version beside this one;
`tests/mail/test_identity.py` holds this one to known results.

Version 1 of the fingerprint is SHA-256 over Message-ID, Date to the second in UTC, From address,
subject with white space collapsed, the letters and digits of the first text body that has any
(else of the HTML), and the sorted digests of all other parts, decoded. Transport headers, order
and folding of headers, line ends, boundaries and transfer encodings do not count. A text of more
than 2 MiB, as it came, counts like a file: it is digested in pieces, and its wrapping counts.

Version 2 is the second of the Date, since 1970 and in hexadecimal, before the same digest: mail
that comes in its order gets keys that are neighbours, so that a database with much of it writes
an index at one place, not at as many places as there are messages.

*Letters and digits* are, in ASCII, just these, and beyond ASCII all but spaces and invisible
characters of a fixed list: what Python calls a letter depends on its version.
"""

from __future__ import annotations

import binascii
import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from postroom.mail.decoding.transfer import decode_base64, unquoted
from postroom.mail.search import Source, find_line, pieces, search

_VERSION = "v2:"
_WEAK_VERSION = "v1:"
_MOST_PARTS = 2_000
_DEEPEST = 50
_LONGEST_HEAD = 1 << 20
_LONGEST_VALUE = 65_536
_SHORT_HEAD = 16_384
_LONGEST_TEXT = 2 << 20
"""A longer one counts like a file, and files that are texts are digested in pieces from here on."""
_CHUNK = 1 << 20

_Fields = dict[bytes, bytes]
Begun = Mapping[int, tuple[int, "hashlib._Hash"]]
"""Digests that are begun: of what the base64 from a place on says, and how far it was read."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_WANTED = frozenset(
    b"message-id date from subject content-type content-transfer-encoding "
    b"content-disposition".split()
)
_FOLDS = frozenset(b" \t")
_PARAMETER = re.compile(rb';\s*([a-z0-9*-]{1,40})\s*=\s*("[^"]*"?|[^;\s]*)', re.IGNORECASE)
_WORD = re.compile(rb"=\?([^?\s]{1,60})\?([bq])\?([^?]{0,2000})\?=", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(rb"(\?=)[ \t]+(?==\?)")
_ANGLE = re.compile(rb"<([^<>]*)>")
_DATE = re.compile(
    rb"(\d{1,2})\s+(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\s+(\d{2,4})\s+"
    rb"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([+-]\d{4}|[a-z]{1,5})?",
    re.IGNORECASE,
)
_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_ZONES = {
    b"est": -5,
    b"edt": -4,
    b"cst": -6,
    b"cdt": -5,
    b"mst": -7,
    b"mdt": -6,
    b"pst": -8,
    b"pdt": -7,
}
_SECOND = re.compile(rb"[0-9]{1,12}")
"""What a Date comes to that can be read, from 1970 on."""
_DAY = 86_400
_FIRST_DAY, _LAST_DAY = date.min.toordinal(), date.max.toordinal()
"""Of the calendar; the time zone may lead beyond."""
_EPOCH = date(1970, 1, 1).toordinal() * _DAY
_MARK = re.compile(rb"<[^<>]*>")
_ENTITY = re.compile(rb"&[#a-zA-Z0-9]{1,12};")

_ASCII = bytes(range(128))
_NOT_ASCII_LETTERS = bytes(code for code in range(128) if not chr(code).isalnum())
_IGNORED = re.compile(
    "[\x80-\xa0\xad\u034f\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3000\ufe0f\ufeff\ufffd]+"
)
_IGNORED_BEGIN = (b"\xc2", b"\xcd", b"\xd8", b"\xe1", b"\xe2", b"\xe3", b"\xef")
"""What the ignored characters begin with in UTF-8."""
_CHARSETS = {
    b"iso-8859-1": "cp1252", b"latin1": "cp1252", b"gb2312": "gb18030", b"gbk": "gb18030",
    b"ks_c_5601-1987": "cp949", b"euc-kr": "cp949", b"shift_jis": "cp932",
    b"iso-8859-8-i": "iso8859-8", b"utf-8": "utf-8", b"us-ascii": "utf-8", b"": "utf-8",
}  # fmt: skip


def fingerprint(raw: Source, begun: Begun | None = None) -> str:
    """Return the key of the message's content; equal for the same mail delivered twice.

    :param begun: what is known already of parts in base64; changes nothing but the time it takes
    :raises OSError: it is a file that cannot be read
    """
    try:
        raw = _with_line_ends(raw)
        head, body = _split(raw, 0, len(raw))
        text, files = _content(raw, head, body, begun or {})
    except OSError:
        raise
    except Exception:  # the message's fault never raises: then the bytes themselves are the content
        return dated(_digest_after_head(raw), raw)
    key = _head_key(head)
    items = (*key, text, *sorted(files))
    told = b"".join([b"%d:" % len(item) + item for item in items])
    return _dated(hashlib.sha256(told).hexdigest(), key[1])


def dated(digest: str, raw: Source) -> str:
    """Return the fingerprint with a digest that is known; of the message its header is enough.

    :raises OSError: it is a file that cannot be read
    """
    try:
        raw = _with_line_ends(raw)
        return _dated(digest, _head_key(_split(raw, 0, len(raw))[0])[1])
    except OSError:
        raise
    except Exception:  # the message's fault never raises
        return _dated(digest, b"")


def _dated(digest: str, written: bytes) -> str:
    second = int(written) if _SECOND.fullmatch(written) else 0
    return f"{_VERSION}{second:010x}:{digest}"


def digest_of(fingerprint: str) -> str:
    """Return the part of a fingerprint, of whatever version, that tells two contents apart."""
    return fingerprint.rpartition(":")[2]


def weak_key(raw: Source) -> str:
    """Return the key of the header alone, for a server that rebuilt the message's MIME.

    :raises OSError: it is a file that cannot be read
    """
    try:
        raw = _with_line_ends(raw)
        key = _head_key(_split(raw, 0, len(raw))[0])
    except OSError:
        raise
    except Exception:  # the message's fault never raises
        key = (_after_head(raw),)
    return _WEAK_VERSION + hashlib.sha256(b"weak\n" + b"\n".join(key)).hexdigest()


def _with_line_ends(raw: Source) -> Source:
    """Return old Macintosh line ends as new ones."""
    if raw.find(b"\n", 0, len(raw)) >= 0 or raw.find(b"\r", 0, len(raw)) < 0:
        return raw
    return raw[:].replace(b"\r", b"\n")


def _after_head(raw: Source) -> bytes:
    return b"".join(_pieces_after_head(raw))


def _digest_after_head(raw: Source) -> str:
    digest = hashlib.sha256(b"raw\n")
    for piece in _pieces_after_head(raw):
        digest.update(piece)
    return digest.hexdigest()


def _pieces_after_head(raw: Source) -> Iterator[bytes]:
    found = search(_END_OF_HEAD, raw, 0, len(raw), reach=3)
    return _with_new_lines(pieces(raw, found[1] if found else 0, len(raw)))


def _with_new_lines(some: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what `replace(b"\\r\\n", b"\\n")` makes of all pieces together."""
    held = b""
    for piece in some:
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        yield text.removesuffix(held).replace(b"\r\n", b"\n")
    yield held


def _head_key(head: _Fields) -> tuple[bytes, ...]:
    return (
        _message_id(head.get(b"message-id", b"")),
        _date(head.get(b"date", b"")),
        _from(head.get(b"from", b"")),
        _subject(head.get(b"subject", b"")),
    )


def _split(raw: Source, start: int, end: int) -> tuple[_Fields, int]:
    """Return the fields that count (first of each, unfolded) and where the body begins.

    A line that is neither a field nor a fold begins the body: someone forgot the empty line.
    """
    while raw[start : start + 1] in (b"\r", b"\n") and start < end:
        some = raw[start : min(end, start + _SHORT_HEAD)]
        start += len(some) - len(some.lstrip(b"\r\n"))
    limit = min(end, start + _LONGEST_HEAD)
    block, body = _head_block(raw, start, limit)
    head: dict[bytes, list[bytes]] = {}
    found: list[bytes] | None = None
    lines = block.splitlines(True)
    for count, line in enumerate(lines):
        if line[0] in _FOLDS:
            if found is not None:
                found.append(line)
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip().lower() if colon else b""
        if not name and not line.startswith((b"From ", b">From ")):
            return _unfolded(head), start + sum(map(len, lines[:count]))
        found = None
        if name in _WANTED and name not in head:
            found = head[name] = [value]
    return _unfolded(head), body


def _head_block(raw: Source, start: int, limit: int) -> tuple[bytes, int]:
    """Return the lines of a header, and where what follows its blank line begins."""
    size = _SHORT_HEAD
    while True:
        block = raw[start : min(limit, start + size)]
        found = _END_OF_HEAD.search(block)
        if found is not None:
            return block[: found.start() + 1], start + found.end()
        if start + size >= limit:
            return block, limit
        size *= 8


def _unfolded(head: dict[bytes, list[bytes]]) -> _Fields:
    return {
        name: (_on_one_line(lines) if len(lines) > 1 else lines[0][:_LONGEST_VALUE]).strip()
        for name, lines in head.items()
    }


def _on_one_line(lines: list[bytes]) -> bytes:
    return b"".join(lines)[:_LONGEST_VALUE].translate(None, b"\r\n")


def _message_id(value: bytes) -> bytes:
    found = _ANGLE.search(value)
    return b"".join((found[1] if found else value).split())


def _from(value: bytes) -> bytes:
    """Return the first address, lower case; whatever else stands there if none is found."""
    value = re.sub(rb'"[^"]*"', b"", value) if b'"' in value else value
    found = _ANGLE.search(value)
    if found:
        return b"".join(found[1].split()).lower()
    for word in value.replace(b",", b" ").split():
        if b"@" in word:
            return word.lower()
    return b"".join(value.split()).lower()


def _subject(value: bytes) -> bytes:
    if b"=?" in value:
        return " ".join(_words(value).split()).encode("utf-8", "replace")
    return b" ".join((value if value.isascii() else _decode(value, b"").encode()).split())


def _words(value: bytes) -> str:
    """Decode RFC 2047 words; neighbours of one charset are joined as bytes first."""
    value = _BETWEEN_WORDS.sub(rb"\1", value)
    out: list[str] = []
    done, charset, data = 0, b"", b""
    for word in _WORD.finditer(value):
        label = word[1].lower().partition(b"*")[0]
        if (word.start() > done or label != charset) and data:
            out.append(_decode(data, charset))
            data = b""
        if word.start() > done:
            out.append(_decode(value[done : word.start()], b""))
        charset, done = label, word.end()
        if word[2] in b"qQ":
            data += unquote_to_bytes(
                word[3].replace(b"%", b"%25").replace(b"=", b"%").replace(b"_", b" ")
            )
        else:
            data += _base64(word[3])
    out.append(_decode(data, charset))
    out.append(_decode(value[done:], b""))
    return "".join(out)


def _date(value: bytes) -> bytes:
    found = _DATE.search(value[:200])
    moment = _moment(found) if found else None
    return b"".join(value.split()).lower() if moment is None else b"%d" % moment


def _moment(found: re.Match[bytes]) -> int | None:
    """Return the seconds since 1970; None where there is no such day or hour, or none in UTC."""
    day, month, year, hour, minute, second, zone = found.groups()
    number = int(year) + (0 if len(year) == 4 else 2000 if int(year) < 50 else 1900)
    zone = (zone or b"").lower()
    if zone[:1] in (b"+", b"-"):
        east = int(zone[1:3]) * 60 + int(zone[3:5])
        east = -east if zone[:1] == b"-" else east
    else:
        east = _ZONES.get(zone, 0) * 60
    if int(hour) > 23 or int(minute) > 59:
        return None
    try:
        days = date(number, _MONTHS.index(month.lower()) + 1, int(day)).toordinal()
    except ValueError:
        return None
    minutes = int(hour) * 60 + int(minute) - east
    seconds = days * _DAY + minutes * 60 + min(int(second or 0), 59)
    return seconds - _EPOCH if _FIRST_DAY <= seconds // _DAY <= _LAST_DAY else None


def _content(raw: Source, head: _Fields, body: int, begun: Begun) -> tuple[bytes, list[bytes]]:
    """Return the letters of the text, and the digests of the other parts."""
    text = b""
    pages: list[tuple[bytes, int, int, bytes]] = []
    files: list[bytes] = []
    for fields, start, end in _leaves(raw, head, body):
        kind = _type(fields)
        encoding = fields.get(b"content-transfer-encoding", b"").strip().lower()
        if kind.is_named or _is_file(fields) or end - start > _LONGEST_TEXT:
            files.append(_digest(raw, start, end, kind.value, encoding, begun))
        elif kind.value == b"text/html":
            pages.append((kind.charset, start, end, encoding))
        elif kind.value in (b"text/plain", b"", b"text"):
            text = text or _letters(_decoded(raw, start, end, encoding), kind.charset)
        else:
            files.append(_digest(raw, start, end, kind.value, encoding, begun))
    return text or _first_page(raw, pages), files


def _first_page(raw: Source, pages: list[tuple[bytes, int, int, bytes]]) -> bytes:
    """Return the letters of the first page that has any."""
    for charset, start, end, encoding in pages:
        letters = _letters(_markup(_decoded(raw, start, end, encoding)), charset)
        if letters:
            return letters
    return b""


class _Type(NamedTuple):
    """What a Content-Type says."""

    value: bytes
    boundary: bytes
    charset: bytes
    is_named: bool


def _type(fields: _Fields) -> _Type:
    value = fields.get(b"content-type", b"text/plain")
    return _remembered(value) if len(value) < 200 else _read_type(value)


def _read_type(value: bytes) -> _Type:
    is_multipart = value[:10].lower() == b"multipart/"
    kind, _, parameters = value.lower().partition(b";")
    return _Type(
        kind.strip(),
        _parameter(value, b"boundary") if is_multipart else b"",
        _parameter(value, b"charset").lower(),
        b"name" in parameters,
    )


_remembered = lru_cache(maxsize=1_000)(_read_type)


def _is_file(fields: _Fields) -> bool:
    """Tell if a part is marked as a file, or has a name there."""
    shown = fields.get(b"content-disposition", b"").lower()
    return shown.startswith(b"attachment") or b"name" in shown


def _leaves(raw: Source, head: _Fields, body: int) -> Iterator[tuple[_Fields, int, int]]:
    """Yield the parts that are no multipart, in order, with a stack and a limit."""
    waiting: list[tuple[_Fields, int, int, int]] = [(head, body, len(raw), 0)]
    parts = 0
    while waiting:
        fields, start, end, depth = waiting.pop()
        boundary = _type(fields).boundary
        cut = _cut(raw, start, end, boundary) if boundary and depth < _DEEPEST else ()
        inner = list(islice(cut, _MOST_PARTS + 1))
        parts += len(inner)
        if parts > _MOST_PARTS:
            raise ValueError("too many parts to tell apart")
        if not inner:
            yield fields, start, end
        for first, last in reversed(inner):
            part, part_body = _part(raw, first, last)
            waiting.append((part, part_body, last, depth + 1))


def _part(raw: Source, start: int, end: int) -> tuple[_Fields, int]:
    """Read a part's header; one that begins with a blank line has none."""
    for blank in (b"\r\n", b"\n"):
        if raw[start : min(end, start + len(blank))] == blank:
            return {}, start + len(blank)
    return _split(raw, start, end)


def _cut(raw: Source, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the parts between the delimiter lines begin and end."""
    mark = b"\n--" + boundary
    begin = -1
    found = find_line(raw, mark, max(start - 1, 0), end)
    while found >= 0:
        line = raw.find(b"\n", found + 1, end)
        line = end if line < 0 else line
        rest = raw[found + len(mark) : min(line, found + len(mark) + 100)].strip()
        if rest in (b"", b"--"):
            if begin >= 0:
                yield begin, found - (raw[found - 1 : found] == b"\r")
            begin = line + 1 if not rest else -1
            if rest:
                return
        found = find_line(raw, mark, line, end)
    if begin >= 0:
        yield min(begin, end), end


def _parameter(value: bytes, name: bytes) -> bytes:
    for found in _PARAMETER.finditer(value[:8192]):
        if found[1].lower() == name:
            return found[2].strip(b'"').rstrip()
    return b""


def _decoded(raw: Source, start: int, end: int, encoding: bytes) -> bytes:
    body = raw[start:end]
    if encoding == b"base64":
        return _base64(body)
    return binascii.a2b_qp(body) if encoding == b"quoted-printable" else body


def _base64(body: bytes) -> bytes:
    body = _without_space(body).rstrip(b"=")
    try:
        return binascii.a2b_base64(body + b"===")
    except binascii.Error:
        return body


def _digest(raw: Source, start: int, end: int, kind: bytes, encoding: bytes, begun: Begun) -> bytes:
    """Return the digest of what a part says.

    What came as it is has the line ends that mail has on the wire. Text may get other line ends on
    its way whatever its encoding, so it is always read as text.
    """
    if encoding == b"base64" and not kind.startswith((b"text/", b"message/")):
        return _digest_base64(raw, start, end, *_begun(start, end, begun))
    text = _Wire()
    if end - start <= _LONGEST_TEXT:
        text.update(_decoded(raw, start, end, encoding))
    elif encoding == b"base64":
        return _digest_base64(raw, start, end, start, text)
    else:
        some = pieces(raw, start, end)
        for piece in unquoted(some) if encoding == b"quoted-printable" else some:
            text.update(piece)
    return text.digest()


class _Wire:
    """A digest of text with the line ends that mail has on the wire, and none at its end."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._held = b""  # half a line end, perhaps
        self._line_ends = 0  # that may be the last ones

    def update(self, piece: bytes) -> None:
        text = self._held + piece
        self._held = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(self._held).replace(b"\r\n", b"\n")
        body = text.rstrip(b"\n")
        self._add(body)
        self._line_ends += len(text) - len(body)

    def digest(self) -> bytes:
        self._add(self._held)
        return self._digest.digest()

    def _add(self, text: bytes) -> None:
        """Add text that does not end with a line end, behind those that come before it."""
        while text and self._line_ends:
            some = min(self._line_ends, _CHUNK)
            self._digest.update(b"\r\n" * some)
            self._line_ends -= some
        self._digest.update(text.replace(b"\n", b"\r\n"))


def _begun(start: int, end: int, begun: Begun) -> tuple[int, hashlib._Hash]:
    """Return how far the base64 of a part was read, and the digest of what that says."""
    done, known = begun.get(start, (end + 1, None))
    return (done, known.copy()) if known and done <= end else (start, hashlib.sha256())


def _digest_base64(
    raw: Source, start: int, end: int, done: int, digest: hashlib._Hash | _Wire
) -> bytes:
    """Return the digest of what base64 says; where it is damaged, of its characters less white
    space: how much of it can be read is for each reader to say."""
    letters = b""
    for at in range(done, end, _CHUNK):
        letters += _without_space(raw[at : min(end, at + _CHUNK)])
        whole = len(letters) - 1 & -4 if end - at > _CHUNK else len(letters)  # padding comes last
        says = _says(letters[:whole], may_be_padded=whole == len(letters))
        if says is None:
            return _digest_letters(raw, start, end)
        digest.update(says)
        letters = letters[whole:]
    return digest.digest()


def _digest_letters(raw: Source, start: int, end: int) -> bytes:
    digest = hashlib.sha256()
    for at in range(start, end, _CHUNK):
        digest.update(_without_space(raw[at : min(end, at + _CHUNK)]))
    return digest.digest()


def _without_space(base64: bytes) -> bytes:
    return base64.translate(None, b" \t\r\n")


def _says(letters: bytes, *, may_be_padded: bool) -> bytes | None:
    """Return what base64 without white space says; None if it is damaged.

    Who decodes it skips foreign characters, each in a way of its own; with one it says less.
    """
    padding = letters.count(b"=", -2) if may_be_padded else 0
    if len(letters) % 4 or letters.find(b"=", 0, len(letters) - padding) >= 0:
        return None
    try:
        says = decode_base64(letters)
    except ValueError:
        return None
    return says if len(says) == len(letters) // 4 * 3 - padding else None


def _markup(page: bytes) -> bytes:
    return _ENTITY.sub(b"", _MARK.sub(b"", page))


_NOT_ASCII_BASED = frozenset(b"utf-7 hz-gb-2312 hz utf-16 utf-16le utf-16be utf-32".split())


def _letters(data: bytes, charset: bytes) -> bytes:
    """Return the letters and digits, as UTF-8."""
    if charset in _NOT_ASCII_BASED or not data.isascii() or b"\x1b" in data:
        data = _decode(data, charset).encode("utf-8", "ignore")
    data = data.translate(None, _NOT_ASCII_LETTERS)
    if data.isascii() or not any(first in data for first in _IGNORED_BEGIN):
        return data
    if _IGNORED.search(data.translate(None, _ASCII).decode("utf-8")) is None:
        return data
    return _IGNORED.sub("", data.decode("utf-8")).encode()


def _decode(data: bytes, charset: bytes) -> str:
    """Decode as declared, else as UTF-8, else as Windows-1252."""
    name = _CHARSETS.get(charset) or charset.decode("ascii", "replace")
    for candidate in (name, "utf-8"):
        try:
            if codecs.lookup(candidate).name in ("idna", "punycode", "unicode-escape", "undefined"):
                continue
            return data.decode(candidate)
        except (LookupError, ValueError):
            continue
    return data.decode("cp1252", "replace")
