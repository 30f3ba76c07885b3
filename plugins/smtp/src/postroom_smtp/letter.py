"""The bytes of a message as they go on the wire."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from postroom.api import Outgoing

from postroom_smtp.head import without_international_recipients

_LINE_END = re.compile(rb"\r\n|\r|\n")
_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Letter:
    """A message ready to send: `raw` has no line end but CRLF, and ends with one."""

    message_id: str
    raw: bytes = field(repr=False)

    @classmethod
    def of(cls, outgoing: Outgoing) -> Letter:
        """Take a message; its bytes stay as they are where they are as promised.

        A lone CR or LF becomes CRLF: some servers take ``LF.LF`` for the end of the message, and
        what follows for commands (SMTP smuggling, CVE-2023-51764; RFC 5321 section 2.3.8).
        """
        raw = outgoing.raw
        if not raw.count(b"\r\n") == raw.count(b"\r") == raw.count(b"\n"):
            raw = _LINE_END.sub(b"\r\n", raw)
        if raw and not raw.endswith(b"\r\n"):
            raw += b"\r\n"
        return cls(outgoing.message_id, raw)

    @property
    def size(self) -> int:
        """Bytes as RFC 1870 section 5 counts them: with line ends, without stuffed dots."""
        return len(self.raw)

    @property
    def is_eight_bit(self) -> bool:
        """Whether it needs 8BITMIME (RFC 6152)."""
        return not self.raw.isascii()

    @property
    def has_eight_bit_header(self) -> bool:
        """Whether it needs SMTPUTF8 (RFC 6531, RFC 6532)."""
        end = self.raw.find(b"\r\n\r\n")
        return not self.raw[: len(self.raw) if end < 0 else end].isascii()

    def fitted(self, offered: Collection[str]) -> Letter:
        """Return what is sent over a server that offers this: without SMTPUTF8, international
        addresses are left out of To and Cc."""
        if "SMTPUTF8" in offered or not self.has_eight_bit_header:
            return self
        return replace(self, raw=without_international_recipients(self.raw))

    def stuffed(self) -> bytes:
        """Return the bytes for DATA, without the final dot (RFC 5321 section 4.5.2)."""
        if self.raw.startswith(b".") or b"\n." in self.raw:
            return _LEADING_DOT.sub(b"..", self.raw)
        return self.raw
