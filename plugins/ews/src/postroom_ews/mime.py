"""Reading messages out of a GetItem answer as it comes: no answer is ever in memory whole.

Through exchangelib a message of 30 MB would be there four times over: as bytes, as a tree, as text
and decoded. Here its base64 is decoded on the way to a temporary file.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.parsers import expat

from exchangelib import errors as ews
from postroom.api import Limits, Spool

from postroom_ews.exchange import error_of, raise_fault

_PIECE: Final = 1 << 16
_BLANKS: Final = b" \t\r\n"
_HEAD: Final = 1 << 16
_LONGEST_TEXT: Final = 4000


@dataclass
class Got:
    """What the server answered for one item."""

    ref: str = ""
    raw: bytes | Spool | None = None
    size: int = 0
    """Bytes of the message, also of one that is too large to be kept."""
    conversation: str | None = None
    error: Exception | None = None

    def close(self) -> None:
        """Let go of what was not handed on."""
        if isinstance(self.raw, Spool):
            self.raw.close()


class _Sink:
    """Decodes base64 that comes in pieces; large messages go to a spool, too large ones nowhere."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pending = b""
        self._kept = bytearray()
        self._spool: Spool | None = None
        self.size = 0

    def feed(self, text: str) -> None:
        data = self._pending + text.encode("ascii", "ignore").translate(None, _BLANKS)
        whole = len(data) - len(data) % 4
        self._pending = data[whole:]
        self._write(binascii.a2b_base64(data[:whole]))

    def _write(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._limits.max_message_bytes:
            self.close()
        elif self._spool is not None:
            self._spool.write(piece)
        else:
            self._kept += piece
            if self.size > self._limits.spool_above:
                self._spool = Spool()
                self._spool.write(bytes(self._kept))
                self._kept.clear()

    def result(self) -> bytes | Spool | None:
        """Return the message, None if it is too large.

        :raises ValueError: the base64 ends early
        """
        if self._pending:
            raise ValueError("incomplete base64")
        if self.size > self._limits.max_message_bytes:
            return None
        return self._spool or bytes(self._kept)

    def close(self) -> None:
        """Let go of all."""
        self._kept.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None


class ItemReader:
    """Reads one answer. Elements are known by their local names, whatever their prefixes."""

    def __init__(self, refs: Sequence[str], limits: Limits) -> None:
        self._refs, self._limits = refs, limits
        self.done: list[Got] = []
        """Complete ones, in the server's order."""
        self._now: Got | None = None
        self._sink: _Sink | None = None
        self._text: list[str] | None = None
        self._values: dict[str, str] = {}
        self._value_name = ""
        self._class = ""
        self._has_fault = False
        self._is_complete = False
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.buffer_size = _PIECE
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = _refuse_doctype

    def read(self, response: Any) -> list[Got]:
        """Read to the end; what an answer that broke off holds is in `done`.

        :raises Exception: exchangelib's for a fault, requests' for a broken connection
        """
        head = b""
        try:
            for piece in response.iter_content(_PIECE):
                if len(head) < _HEAD:
                    head += piece
                self._parser.Parse(piece)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise ews.MalformedResponseError(f"no XML ({error})") from error
        finally:
            self._abandon()
        if self._has_fault or not self._is_complete:
            raise_fault("GetItem", head)
        return self.done

    def close(self) -> None:
        """Let go of everything that was not handed on."""
        self._abandon()
        for got in self.done:
            got.close()

    def _abandon(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    # ------------------------------------------------------------------ what the parser tells

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if local == "GetItemResponseMessage":
            position = len(self.done)
            ref = self._refs[position] if position < len(self._refs) else ""
            self._now, self._values = Got(ref), {}
            self._class = attributes.get("ResponseClass", "")
        elif local == "Fault":
            self._has_fault = True
        elif local == "ItemId" and self._now is not None and attributes.get("Id") in self._refs:
            self._now.ref = attributes["Id"]
        elif local == "ConversationId" and self._now is not None:
            self._now.conversation = attributes.get("Id")
        elif local == "MimeContent" and self._now is not None:
            self._sink = _Sink(self._limits)
        elif local in ("ResponseCode", "MessageText", "Value"):
            self._text, self._value_name = [], attributes.get("Name", "")

    def _characters(self, text: str) -> None:
        if self._sink is not None:
            self._sink.feed(text)
        elif self._text is not None and len(self._text) < _LONGEST_TEXT:
            self._text.append(text)

    def _end(self, name: str) -> None:
        local = name.rpartition(" ")[2]
        if local == "MimeContent" and self._now is not None and self._sink is not None:
            self._now.raw, self._now.size = self._sink.result(), self._sink.size
            self._sink = None
        elif local in ("ResponseCode", "MessageText", "Value") and self._text is not None:
            self._values[self._value_name or local] = "".join(self._text).strip()
            self._text = None
        elif local == "GetItemResponseMessage" and self._now is not None:
            self._now.error = self._error()
            self.done.append(self._now)
            self._now = None
        elif local == "GetItemResponse":
            self._is_complete = True

    def _error(self) -> Exception | None:
        code = self._values.get("ResponseCode", "")
        if self._class == "Success" or code == "NoError":
            return None
        code = self._values.get("InnerErrorResponseCode") or code
        error = error_of(code, self._values.get("MessageText", ""))
        back_off = self._values.get("BackOffMilliseconds", "")
        if isinstance(error, ews.ErrorServerBusy) and back_off.isdigit():
            error.back_off = int(back_off) / 1000
        return error


def _refuse_doctype(*_: object) -> None:
    raise ews.MalformedResponseError("a DOCTYPE in an answer")


Reader = Callable[[Any], list[Got]]
