"""Reading POP3's answers: status lines, and texts that end with a line holding a full stop.

poplib (3.11) reads line by line into a list, which costs more than all the rest of retrieving, and
gives up at a line of 2,048 bytes. This reader cuts at CRLF.CRLF, keeps the bytes as they are and,
for a large message, hands them to a `Spool` piece by piece. RFC 1939 section 3.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from postroom.api import Spool

from postroom_pop_imap.line import Line, Skipped

_PIECE: Final = 256 << 10
_LONGEST_STATUS: Final = 64 << 10
_END: Final = b"\r\n.\r\n"


Text = bytes | Spool | Skipped


class PopReader:
    """Reads from a connection; everything goes through its buffer."""

    def __init__(self, line: Line, file: io.BufferedReader) -> None:
        self._line, self._file = line, file
        self._buffer = bytearray()

    @property
    def has_unread(self) -> bool:
        """Whether the server said more than what was read, without waiting for it."""
        return bool(self._buffer) or self._line.has_unread(self._file)

    def read_status(self) -> bytes:
        """Return the next line without its end.

        :raises TransientError: the connection is lost
        """
        with self._line.errors():
            while (end := self._buffer.find(b"\n")) < 0:
                if len(self._buffer) > _LONGEST_STATUS:
                    raise ConnectionAbortedError("endless line")
                self._fill()
        status = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return status

    def read_text(self, *, spool_above: int, most: int) -> Text:
        """Return the text that follows a status line, dots unstuffed, line ends as they came.

        :param spool_above: a text above this size goes to a file
        :param most: one above this is read and thrown away
        :raises TransientError: the connection is lost
        """
        self._buffer[:0] = b"\r\n"  # so that a full stop in the first line looks like any other
        with self._line.errors():
            searched = 0
            while (end := self._buffer.find(_END, searched)) < 0:
                if len(self._buffer) > spool_above:
                    return self._spool(most)
                searched = max(0, len(self._buffer) - len(_END))
                self._fill()
        text = bytes(self._buffer[2 : end + 2])
        del self._buffer[: end + len(_END)]
        if text.startswith(b".."):
            text = text[1:]
        return text.replace(b"\r\n..", b"\r\n.")

    def _spool(self, most: int) -> Spool | Skipped:
        spool = Spool()
        size = -2  # the line end that was put before the text
        try:
            for piece in self._pieces():
                if size + len(piece) <= most:
                    spool.write(piece[2:] if size < 0 else piece)
                size += len(piece)
        except BaseException:
            spool.close()
            raise
        if size <= most:
            return spool
        spool.close()
        return Skipped(size)

    def _pieces(self) -> Iterator[bytes]:
        """Yield the text with what was put before it, unstuffed."""
        while (end := self._buffer.find(_END)) < 0:
            kept = _unfinished(self._buffer)
            piece = bytes(self._buffer[: len(self._buffer) - kept])
            del self._buffer[: len(piece)]
            yield piece.replace(b"\r\n..", b"\r\n.")
            self._fill()
        piece = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(_END)]
        yield piece.replace(b"\r\n..", b"\r\n.")

    def _fill(self) -> None:
        piece = self._file.read1(_PIECE)
        if not piece:
            raise EOFError
        self._buffer += piece


def _unfinished(buffer: bytearray) -> int:
    """Return how many of the last bytes may begin the end mark, or a stuffed dot."""
    for length in range(len(_END) - 1, 0, -1):
        if buffer.endswith(_END[:length]):
            return length
    return 0
