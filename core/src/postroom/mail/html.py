"""HTML of mails: cleaned for showing, and as text. Both linear, neither recursive."""

from __future__ import annotations

import html as markup
import re
from html import unescape

import nh3

from postroom.mail.text import readable

LONGEST = 4_000_000
"""Characters that are cleaned or turned into text; no person reads more."""


def _words(table: str) -> frozenset[str]:
    return frozenset(table.split())


_TAGS = _words(
    "a abbr address article aside b bdi bdo big blockquote br caption center cite code col "
    "colgroup dd del dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i "
    "img ins kbd li main mark ol p pre q rp rt ruby s samp section small span strike strong sub "
    "sup table tbody td tfoot th thead time tr tt u ul var wbr"
)
_ATTRIBUTES = {
    "*": {"align", "dir", "lang", "title"},
    "a": {"href"},
    "blockquote": {"type"},
    "col": {"span", "width"},
    "colgroup": {"span", "width"},
    "font": {"color", "face", "size"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start", "type"},
    "table": {"bgcolor", "border", "cellpadding", "cellspacing", "width"},
    "td": {"bgcolor", "colspan", "height", "rowspan", "valign", "width"},
    "th": {"bgcolor", "colspan", "height", "rowspan", "valign", "width"},
    "tr": {"bgcolor", "valign"},
}
_NOT_SHOWN = {"script", "style", "title", "template", "noscript", "xml", "svg", "math", "iframe"}
_LINKS = ("http:", "https:", "mailto:", "tel:", "cid:")
_MOST_REFERENCES = 100_000
_MANY_TAGS = 5_000
_DEEPEST = 6_000
_ANY_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,20})")
_VOID = _words("area base br col embed hr img input link meta p source track wbr li td tr th")
_IMAGE = re.compile(r"(?:cid:|data:image/(?:png|gif|jpe?g|webp|bmp);base64,)", re.IGNORECASE)


def clean(html: str) -> str:
    """Return the HTML with nothing in it that runs, submits, or is fetched from elsewhere.

    An allow list: no script, style, form or frame; images only from the mail itself.
    """
    html = html[:LONGEST].replace("\x00", "")
    if html.count("&") > _MOST_REFERENCES or (
        html.count("<") > _MANY_TAGS and _depth(html) > _DEEPEST
    ):  # html5ever takes quadratic time for both
        return f"<pre>{markup.escape(to_text(html), quote=False)}</pre>"
    return nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags=_NOT_SHOWN & {"script", "style", "title", "template", "iframe"},
        attributes=_ATTRIBUTES,
        attribute_filter=_filter,
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        link_rel="noopener noreferrer nofollow",
    )


def _depth(html: str) -> int:
    """Estimate how deep the elements are nested."""
    depth = deepest = 0
    for tag in _ANY_TAG.finditer(html):
        if tag[1]:
            depth = max(0, depth - 1)
        elif tag[2].lower() not in _VOID:
            depth += 1
            deepest = max(deepest, depth)
    return deepest


def _filter(_tag: str, name: str, value: str) -> str | None:
    if name == "src":
        return value if _IMAGE.match(value.strip()) else None
    if name == "href":
        return value if value.strip().lower().startswith(_LINKS) else None
    return value


_BLOCKS = _words(
    "address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 "
    "h3 h4 h5 h6 header hr html li main nav ol p pre section table tbody tfoot thead tr ul"
)
_APART = _words("p h1 h2 h3 h4 h5 h6 blockquote pre table ul ol dl")
_SKIPPED = _words("script style title template head xml svg math select textarea")
_TAG = re.compile(r"<[A-Za-z/!?]")
"""A `<` before anything else is text."""
_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:]{0,40})")
_QUOTED_TAG = re.compile(r"""[^"'<>]*(?:"[^"<]*"[^"'<>]*|'[^'<]*'[^"'<>]*)*>""")
_CITED = re.compile(
    r"(?:type\s*=\s*[\"']?cite|(?:class|id)\s*=\s*[\"']?[\w -]*"
    r"(?:(?:gmail|protonmail|tutanota)_quote|moz-cite|blockquote_zmail|isReplyContent))"
    r"|(?:border-left|BORDER-LEFT)\s*:"
)
_ANNOUNCED = re.compile(r"(?=.*\d)[^@]*[^\s<>@]@[^\s<>@].*[:：]$")
"""A line with an address, a date and a colon announces a quote that its program marks by nothing
but the element."""
_LONGEST_ANNOUNCEMENT = 400
_INDENTED = re.compile(r"margin:\s*0(?:px)? 0(?:px)? 0(?:px)? 40px;\s*border:\s*none")
"""How browsers indent, which Gmail marks as a quote all the same."""
_PROGRAM = re.compile(
    r"""(yahoo_quoted|messageReplySection)|divRplyFwdMsg|mobile-signature|composer_signature
    |name\s*=\s*["']?quote\b|history-quote-wrapper|border-(?:top|left)\s*:\s*solid""",
    re.VERBOSE,
)
"""Attributes of the blocks that mail programs put around what they quote, and mobiles add."""
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9A-Fa-f]{7,});?")
_BLANK_LINES = re.compile(r"\n{3,}")


def to_text(html: str) -> str:
    """Return what a person would read, a line for each block; quoted mails are marked with `>`."""
    reader = _Text(html[:LONGEST])
    return readable(reader.read()).strip("\n")


class _Text:
    """One pass over the tags. A search that failed once is not made again: it stays linear."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.lines: list[str] = []
        self.line: list[str] = []
        self.cited: list[bool] = []  # of the open blockquotes: is it a quoted mail?
        self.depth = 0  # how many of them are
        self.quotes = False  # was one of them announced, by its program's "On … Desk wrote:"?
        self.divs = 0  # open ones in Yahoo's quote, itself included
        self.preformatted = 0
        self.unclosed: set[str] = set()

    def read(self) -> str:
        html, position = self.html, 0
        self.preformatted = int(_TAG.search(html) is None)  # text that is only labelled as a page
        while found := _TAG.search(html, position):
            self._text(html[position : found.start()])
            position = self._tag(found.start())
        self._text(html[position:])
        self._break()
        return _BLANK_LINES.sub("\n\n", "\n".join(self.lines))

    def _tag(self, start: int) -> int:
        """Act on the tag at `start` and return where the text goes on."""
        html = self.html
        found = _NAME.match(html, start)
        if found is None:
            if html.startswith("<!--", start):
                return self._after("-->", start)
            if html.startswith(("<!", "<?", "</"), start):
                return self._after(">", start)
            self.line.append("<")
            return start + 1
        name = found[1].lower()
        quoted = _QUOTED_TAG.match(html, found.end(), found.end() + 20_000)
        end = quoted.end() if quoted else self._after(">", start)
        closing = html[start + 1] == "/"
        if name in _SKIPPED and not closing and html[end - 2 : end] != "/>":
            return self._after_element(name, end)
        self._act(name, closing, html[found.end() : min(end, found.end() + 400)])
        return end

    def _act(self, name: str, closing: bool, attributes: str) -> None:
        if name == "br":
            self._break(blank=True)
        elif name in ("td", "th"):
            self.line.append(" ")
        elif name in _BLOCKS:
            self._break()
            if name in _APART and self.lines and self.lines[-1] and name != "table":
                self.lines.append("")
            if name == "li" and not closing:
                self.line.append("- ")
            elif name == "hr":
                self.lines.append("-" * 20)
            elif name == "pre":
                self.preformatted = max(0, self.preformatted + (-1 if closing else 1))
            elif name == "blockquote":
                self._quote(closing, attributes)
            elif name == "div":
                self._div(closing, attributes)
        elif name == "span" and "OLK_SRC_BODY" in attributes:  # Outlook for Mac
            self._break()
            self.lines.append("")

    def _quote(self, closing: bool, attributes: str) -> None:
        if not closing:
            is_cited = _CITED.search(attributes) is not None or self._is_announced()
            self.cited.append(is_cited and _INDENTED.search(attributes) is None)
            self.depth += self.cited[-1]
        elif self.cited:
            self.depth -= self.cited.pop()

    def _is_announced(self) -> bool:
        if not self.depth and not self.quotes:
            line = next((line for line in reversed(self.lines[-4:]) if line), "")
            is_short = len(line) <= _LONGEST_ANNOUNCEMENT
            self.quotes = is_short and _ANNOUNCED.match(line) is not None
        return self.quotes

    def _div(self, closing: bool, attributes: str) -> None:
        """Set a mail program's own block apart; Yahoo quotes in one instead of a blockquote."""
        if self.divs:
            self.divs += -1 if closing else 1
            self.depth -= not self.divs
        elif not closing and attributes and (found := _PROGRAM.search(attributes)):
            if self.lines and self.lines[-1]:
                self.lines.append("")
            if found[1]:
                self.divs = 1
                self.depth += 1

    def _text(self, text: str) -> None:
        if not text:
            return
        if "&" in text:
            text = unescape(_LONG_NUMBER.sub("\ufffd", text))
        if self.preformatted:
            *whole, last = text.replace("\r\n", "\n").split("\n")
            for line in whole:
                self.line.append(line)
                self._break(blank=True)
            self.line.append(last)
            return
        words = " ".join(text.split())
        if words:
            before = " " if text[0].isspace() else ""
            self.line.append(before + words + (" " if text[-1].isspace() else ""))
        elif self.line:
            self.line.append(" ")

    def _break(self, *, blank: bool = False) -> None:
        """End the line; an empty one only counts where it was asked for."""
        text = "".join(self.line)
        self.line = []
        if not self.preformatted:
            text = " ".join(text.split(" ")) if "  " not in text else " ".join(text.split())
            text = text.strip(" ")
        if text or blank:
            depth = min(self.depth, 5)
            self.lines.append(("> " * depth + text).rstrip() if depth else text)

    def _after(self, mark: str, start: int) -> int:
        """Return the place after `mark`; where it never comes, only the `<` is passed over."""
        if mark not in self.unclosed:
            end = self.html.find(mark, start)
            if end >= 0:
                return end + len(mark)
            self.unclosed.add(mark)
        if mark == "-->":
            return self._after(">", start)
        return start + 1

    def _after_element(self, name: str, start: int) -> int:
        if name not in self.unclosed:
            found = re.compile(f"</{name}", re.IGNORECASE).search(self.html, start)
            if found is not None:
                return self._after(">", found.start())
            self.unclosed.add(name)
        return start
