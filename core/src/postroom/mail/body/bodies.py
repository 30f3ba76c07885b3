"""Decide which parts are the text of a message, and which are attachments. None is dropped."""

from __future__ import annotations

import html as markup
import re
from dataclasses import dataclass, field
from itertools import chain

from postroom.mail.body import content as contents
from postroom.mail.body.cms import is_signed, signed_content
from postroom.mail.body.content import Content, Runs, beginning, is_held, joined, taken, whole
from postroom.mail.body.embedded import DATA, Embedded, extract, is_any_in, without_data
from postroom.mail.body.filenames import safe_name
from postroom.mail.body.flowed import unflow
from postroom.mail.body.structure import Part, Splitter
from postroom.mail.body.tnef import TnefFile, read_tnef
from postroom.mail.decoding.charsets import cut, decode
from postroom.mail.decoding.transfer import Decoding, decode_body, decode_in_pieces
from postroom.mail.header.fields import read_fields
from postroom.mail.header.ids import message_id
from postroom.mail.header.parameters import content_type
from postroom.mail.message import Attachment
from postroom.mail.text import readable, storable

LONGEST_TEXT = 2 << 20
"""Bytes of text that are read, and as many of HTML; the original has all of them."""
_TOO_LONG = "The text is very long: only its beginning is kept here, all of it in the original."
_NO_PICTURES = "The page is very long: pictures inside it are left out here, not in the original."
_HELD_IN_ALL = 4 << 20
"""Bytes of attachments that are kept of a message on disk."""
_LONGEST_FALLBACK = 1_000_000

_TNEF = ("application/ms-tnef", "application/vnd.ms-tnef")
_SIGNED = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_MOST_SIGNED = 5
_READABLE = ("message/delivery-status", "message/partial", "text/rfc822-headers", "application/pgp")
_TEXT_TYPES = ("text/plain", "text/html")
_OTHER_PAGES = ("text/x-amp-html", "text/watch-html")
"""The page once more, for Gmail and for watches: no file that somebody sent."""
_CID = re.compile(r"cid:([^\"'\s<>)\\]{1,300})", re.IGNORECASE)
_META = re.compile(rb"<meta[^<>]{1,300}?charset\s*=\s*[\"']?([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)
_ENRICHED = re.compile(r"<param>[^<]{0,500}</param>|</?[A-Za-z-]{1,60}>", re.IGNORECASE)
_LONGEST_EXCUSE = 250
_EXCUSE = re.compile(
    r"\bhtml\b.{0,60}\b(?:e-?mail|mail|viewer|client|program\w*|reader|message|format|version|support)"
    r"|(?:view|read|display|see|support|anzeigen|darstell\w+|afficher|lire|ver|leer|visualizz\w+)"
    r".{0,80}\bhtml\b",
    re.IGNORECASE | re.DOTALL,
)
_VISIBLE = re.compile(r"[^\s\u200b\u200c\u200d\u2060\ufeff\u00ad]")


@dataclass(slots=True)
class _Piece:
    """A stretch of the body: as text, as HTML, or both where they are alternatives."""

    plain: str | None = None
    html: str | None = None


@dataclass(slots=True)
class Body:
    """What the parts come to."""

    text: str = ""
    html: str | None = None
    attachments: list[Attachment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Reader:
    """Walks the parts once, in order."""

    def __init__(self, root: Part, problems: list[str], runs: Runs) -> None:
        self.root = root
        self.problems = problems
        self.runs = runs
        self.room = {True: LONGEST_TEXT, False: LONGEST_TEXT}
        """Bytes that may still be read, of HTML and of plain text."""
        self.held = 0
        self.attachments: list[Attachment] = []
        self.related: list[int] = []  # attachments that the HTML may show by their Content-ID
        self.fallback: list[str] = []  # to be read where there is no text at all
        self.signed = 0  # messages found inside their signatures
        self.text_parts = sum(_may_be_body(part) for part in root.walk())

    def read(self) -> Body:
        pieces = self._pieces(self.root)
        text, html = _joined(pieces)
        if not _is_visible(text) and not (html and self.attachments) and self.fallback:
            text = "\n\n".join(self.fallback) if not html else text
        if html and self.related:
            self._mark_shown(html)
        if max(len(text), len(html or "")) > LONGEST_TEXT:
            self._tell(_TOO_LONG)
        return Body(
            text[:LONGEST_TEXT], html and html[:LONGEST_TEXT], self.attachments, self.problems
        )

    def _tell(self, problem: str) -> None:
        if problem and problem not in self.problems:
            self.problems.append(problem)

    def _pieces(self, part: Part) -> list[_Piece]:
        if part.children:
            if part.type.value == "multipart/alternative":
                return _alternatives([self._pieces(child) for child in part.children])
            return [piece for child in part.children for piece in self._pieces(child)]
        return self._leaf(part)

    def _leaf(self, part: Part) -> list[_Piece]:
        kind = part.type.value
        if part.is_multipart:
            return self._empty_multipart(part)
        wants = part.disposition
        name = _name(part)
        is_all = part is self.root and not name and _is_body_type(part)
        if (wants.value == "attachment" and not is_all) or not _is_text(part):
            content = self._attach(part, name)
            return self._signed(part, content.data) if kind in _SIGNED else []
        if name and (self.text_parts or not _is_body_type(part)):
            self._attach(part, name)
            return []
        if kind in _OTHER_PAGES and part.within == "multipart/alternative":
            return []
        if kind not in _TEXT_TYPES and self.root is not part:
            self._attach(part, name)
            return []
        if name and part.within != "multipart/alternative":
            self.text_parts = 1  # of several named texts the first is the body (RFC 8621 4.1.4)
        return self._text(part)

    def _signed(self, part: Part, data: bytes) -> list[_Piece]:
        """Read the mail that is inside its own S/MIME signature; the file is kept as well."""
        content = signed_content(data)
        if not content or self.signed >= _MOST_SIGNED:
            return []
        self.signed += 1
        fields, start = read_fields(content, 0, len(content))
        kind = content_type(fields.first("content-type"))
        inner = Part(content, start, len(content), fields, kind, within=part.type.value)
        if inner.is_multipart:
            Splitter(self.problems).split(inner)
        return self._pieces(inner)

    def _empty_multipart(self, part: Part) -> list[_Piece]:
        """Show what a multipart without parts holds: nothing may be lost."""
        if part.is_blank:
            return []
        first = part.source[part.start : min(part.end, part.start + 1_000)]
        if b"\x00" in first or part.end - part.start > _LONGEST_FALLBACK:
            name = safe_name("", "", self._number)
            self._add(contents.as_it_is(part), name, "application/octet-stream", None)
            return []
        return [_Piece(plain=readable(decode(part.raw_body)))]

    def _text(self, part: Part) -> list[_Piece]:
        is_page = part.type.value == "text/html"
        content = self._text_of(part, self.room[is_page], is_page=is_page)
        if is_page:
            self.room[is_page] -= len(content)
            label = part.type.get("charset") or _meta_charset(content)
            return [_Piece(html=storable(decode(content, label)))]
        content, files = extract(content)
        if len(content) > self.room[is_page]:
            content = self._cut(content, self.room[is_page], part)
        self.room[is_page] -= len(content)
        text = self._readable(part, content)
        if part.type.get("format").lower() == "flowed":
            text = unflow(text, delete_space=part.type.get("delsp").lower() == "yes")
        for file in files:
            self._embedded(file)
        return [_Piece(plain=text)]

    def _text_of(self, part: Part, room: int, *, is_page: bool) -> bytes:
        """Return the bytes of a text, as far as there is room; all where there are files in it."""
        if part.end - part.start <= room:
            return self._decoded(part)
        if is_page:
            return self._page_of(part, room)
        if is_any_in(self._decoding(part).pieces):
            return self._decoded(part)
        text = beginning(self._decoding(part).pieces, room + 1)
        return self._cut(text, room, part) if len(text) > room else text

    def _page_of(self, part: Part, room: int) -> bytes:
        """Return the bytes of a page; of a long one without pictures in it: the text may go on
        behind them."""
        pieces = iter(self._decoding(part).pieces)
        begun = taken(pieces, room + 1)
        if sum(map(len, begun)) <= room:
            return b"".join(begun)
        page = beginning(without_data(chain(begun, pieces)), room + 1)
        if DATA in page:
            self._tell(_NO_PICTURES)
        return self._cut(page, room, part) if len(page) > room else page

    def _cut(self, content: bytes, room: int, part: Part) -> bytes:
        self._tell(_TOO_LONG)
        return cut(content, room, part.type.get("charset"))

    def _embedded(self, file: Embedded) -> None:
        kind = "application/octet-stream"
        name = safe_name(decode(file.name), kind, self._number)
        self._add(whole(file.content), name, kind, None)

    def _attach(self, part: Part, name: str) -> Content:
        content, kind = self._content(part, name), part.type.value
        if not content.size and not name and kind.startswith("text/"):
            return content
        content_id = message_id(part.fields.first("content-id"))
        if content_id and part.within == "multipart/related":
            self.related.append(len(self.attachments))
        self._add(
            content,
            safe_name(name, kind, self._number),
            kind,
            content_id,
            inline=part.disposition.value == "inline",
        )
        if _is_tnef(part, name):
            self._unpack_tnef(content.data)
        elif _may_be_text(part) and sum(map(len, self.fallback)) < LONGEST_TEXT:
            data = content.data or beginning(self._decoding(part).pieces, _LONGEST_FALLBACK)
            self.fallback.append(self._readable(part, data[:_LONGEST_FALLBACK]))
        return content

    def _content(self, part: Part, name: str) -> Content:
        """Return the content of a file; what is not looked into need not be held."""
        if is_held(part) or _is_tnef(part, name) or self._is_signed(part):
            return whole(self._decoded(part))
        content, problem = contents.digested(part, self.runs)
        self._tell(problem)
        return content

    def _is_signed(self, part: Part) -> bool:
        if part.type.value not in _SIGNED:
            return False
        return is_signed(beginning(self._decoding(part).pieces, 1_000))

    def _readable(self, part: Part, content: bytes) -> str:
        text = readable(decode(content, part.type.get("charset")))[:LONGEST_TEXT]
        if part.type.value in ("text/enriched", "text/richtext"):  # RFC 1896
            text = _ENRICHED.sub("", text.replace("<<", "\x00")).replace("\x00", "<")
        return text

    def _unpack_tnef(self, content: bytes) -> None:
        """Add the files of a winmail.dat after it, and its text where there is no other."""
        found = read_tnef(content)
        if found is None:
            self.problems.append("A winmail.dat could not be opened.")
            return
        for file in found.files:
            self._tnef_file(file)
        if found.text:
            self.fallback.append(readable(found.text))
        elif found.html:
            from postroom.mail.html import to_text

            self.fallback.append(to_text(found.html))

    def _tnef_file(self, file: TnefFile) -> None:
        kind = file.content_type or "application/octet-stream"
        name = safe_name(file.name, kind, self._number)
        self._add(whole(file.content), name, kind, file.content_id)

    @property
    def _number(self) -> int:
        return len(self.attachments) + 1

    def _add(
        self,
        content: Content,
        name: str,
        kind: str,
        content_id: str | None,
        *,
        inline: bool = False,
    ) -> None:
        data = content.data
        if not isinstance(self.root.source, bytes):
            self.held += len(data)
            data = data if self.held <= _HELD_IN_ALL else b""
        self.attachments.append(
            Attachment(name, kind[:200], content.size, content.sha256, content_id, inline, data)
        )

    def _decoded(self, part: Part) -> bytes:
        if not is_held(part):
            return joined(self._decoding(part).pieces)
        decoded = decode_body(part.raw_body, part.encoding)
        self._tell(decoded.problem)
        return decoded.content

    def _decoding(self, part: Part) -> Decoding:
        decoding = decode_in_pieces(part.source, part.start, part.end, part.encoding)
        self._tell(decoding.problem)
        return decoding

    def _mark_shown(self, html: str) -> None:
        shown = set(_CID.findall(html))
        for index in self.related:
            old = self.attachments[index]
            if old.content_id in shown and not old.inline:
                self.attachments[index] = Attachment(
                    old.filename, old.content_type, old.size, old.sha256, old.content_id, True,
                    old.content,
                )  # fmt: skip


def _meta_charset(page: bytes) -> str:
    """Return what an HTML page says of itself; a Content-Type with a charset comes before it."""
    found = _META.search(page[:2048])
    label = found[1].decode("ascii") if found else ""
    return "" if label.lower().startswith("utf-16") else label  # it could not be read here then


def _name(part: Part) -> str:
    return part.disposition.text("filename") or part.type.text("name")


def _is_tnef(part: Part, name: str) -> bool:
    kind = part.type.value
    return kind in _TNEF or (name.lower() == "winmail.dat" and "octet" in kind)


def _may_be_text(part: Part) -> bool:
    kind = part.type.value
    is_text = kind in _READABLE or kind.startswith("text/")
    return part.disposition.value != "attachment" and is_text


def _is_text(part: Part) -> bool:
    kind = part.type.value
    return kind.startswith("text/") and kind not in ("text/calendar", "text/rfc822-headers")


def _is_body_type(part: Part) -> bool:
    return part.type.value in _TEXT_TYPES


def _may_be_body(part: Part) -> bool:
    """Tell if the part is a text that nothing marks as a file."""
    return (
        not part.children
        and part.type.value in _TEXT_TYPES
        and part.disposition.value != "attachment"
        and not _name(part)
    )


def _excuses(text: str) -> bool:
    """Is it "please use a viewer for HTML", which programs send instead of a plain alternative?"""
    return len(text) < _LONGEST_EXCUSE and _EXCUSE.search(text) is not None


def _is_visible(text: str) -> bool:
    return _VISIBLE.search(text) is not None


def _alternatives(children: list[list[_Piece]]) -> list[_Piece]:
    """Make one piece of the alternatives: all their plain text, and all their HTML."""
    pieces = [piece for child in children for piece in child]
    plain = [piece.plain for piece in pieces if piece.plain is not None]
    html = [piece.html for piece in pieces if piece.html is not None]
    if not plain and not html:
        return []
    return [_Piece("\n".join(plain) if plain else None, "\n".join(html) if html else None)]


def _joined(pieces: list[_Piece]) -> tuple[str, str | None]:
    """Return the whole text and, if any piece has it, the whole HTML."""
    has_html = any(piece.html is not None for piece in pieces)
    texts: list[str] = []
    pages: list[str] = []
    for piece in pieces:
        text = piece.plain
        if piece.html is not None and (text is None or not _is_visible(text) or _excuses(text)):
            from postroom.mail.html import to_text  # nh3 is only loaded where there is HTML

            text = to_text(piece.html) or (text or "").strip()
        texts.append(text or "")
        if has_html:
            if piece.html is not None:
                pages.append(piece.html)
            elif _is_visible(text or ""):
                pages.append(f"<pre>{markup.escape(text or '', quote=False)}</pre>")
    whole = texts[0] if len(texts) == 1 else "\n".join(t for t in texts if _is_visible(t))
    return whole, "\n".join(pages) if has_html else None
