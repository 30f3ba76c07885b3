"""One command at a time over IMAP, its answers read as they come.

imapclient makes the connection and logs in; what runs afterwards goes through here, because
imapclient (4.1) holds all of an answer in memory, three times over for a large message, and
loses response codes. Here a literal is read straight into the bytes, or the `Spool`, that are
handed on, so that memory stays flat whatever size the server had announced.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from postroom.api import Spool, TransientError, TransportError, codes

from postroom_pop_imap.errors import Refused, SaidGoodbye, explain_refusal, quote_reply
from postroom_pop_imap.line import Line, Skipped, read_pieces

# An answer to UID SEARCH with 3,000,000 UIDs, in one line; imaplib's own limit is 1,000,000 bytes
LONGEST_LINE: Final = 32 << 20
_LITERAL = re.compile(rb"\{(\d{1,18})\}\r\n\Z")
_STATUS = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: |\r\n)", re.I)
_CODE = re.compile(r"\[([A-Za-z0-9/-]+)(?: ([^\]]*))?\] ?")
_IN_REV2 = frozenset({"IDLE", "MOVE", "NAMESPACE", "UIDPLUS"})
"""What IMAP4rev2 has of what is asked for here (RFC 9051 appendix E)."""

Literal = bytes | Spool | Skipped


@dataclass(slots=True)
class Answer:
    """An untagged response: `text` without the star, each literal in it standing as ``{size}``."""

    text: bytes
    literals: list[Literal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A literal above `spool_above` bytes goes to a file, one above `most` is thrown away."""

    spool_above: int = 1 << 20
    most: int = 4 << 20


_SMALL: Final = Bounds()


class Wire:
    """A logged-in connection. `usable` is False once an answer was left half read."""

    def __init__(
        self, line: Line, reader: io.BufferedReader, capabilities: frozenset[str], secret: str
    ) -> None:
        self.line, self.capabilities = line, capabilities
        self.usable = True
        self.completion = ""
        """The text of the last tagged OK, with its response code."""
        self._reader, self._secret = reader, secret
        self._count = 0

    def run(self, command: bytes, doing: str, *, bounds: Bounds = _SMALL) -> Iterator[Answer]:
        """Send a command and yield the untagged responses as they arrive.

        :param doing: what it is for, for errors: ``open the folder INBOX``
        :raises Refused: the server said NO or BAD; the connection can be used further
        :raises TransientError: the connection is lost
        """
        tag = self._start(command)
        while not (answer := self._next(tag, doing, bounds)).text.startswith(tag):
            yield answer
        self._complete(answer.text[len(tag) :])

    def idle(self, seconds: float, is_news: Callable[[Answer], bool]) -> bool:
        """Let the server tell what happens in the open folder (IDLE, RFC 2177), for a while.

        :returns: True as soon as an answer is news
        :raises Refused: the server would not
        """
        doing = "wait for news"
        tag = self._start(b"IDLE")
        news = False
        while not (answer := self._next(tag, doing, _SMALL)).text.startswith(b"+"):
            if answer.text.startswith(tag):
                self._complete(answer.text[len(tag) :])
                return news
            news = news or is_news(answer)
        end = time.monotonic() + seconds
        while not news and self.line.wait_for_bytes(self._reader, end - time.monotonic()):
            news = is_news(self._next(tag, doing, _SMALL))
        self.line.send(b"DONE\r\n")
        while not (answer := self._next(tag, doing, _SMALL)).text.startswith(tag):
            news = news or is_news(answer)
        self._complete(answer.text[len(tag) :])
        return news

    def _start(self, command: bytes) -> bytes:
        self._count += 1
        tag = b"p%d " % self._count
        self.usable = False
        self.line.send(tag + command + b"\r\n")
        return tag

    def _next(self, tag: bytes, doing: str, bounds: Bounds) -> Answer:
        """Return the next response, the tagged one included."""
        try:
            answer = self._read_answer(tag, bounds)
        except (OSError, EOFError, ValueError) as error:  # as Line.errors, for each message faster
            raise self.line.explain(error) from error
        if answer.text[:4].upper() == b"BYE ":
            self._raise_goodbye(answer.text[4:], doing)
        return answer

    def ask(self, command: bytes, doing: str) -> list[Answer]:
        """Send a command and return the untagged responses.

        :raises Refused: the server said NO or BAD
        """
        return list(self.run(command, doing))

    def must(self, command: bytes, doing: str) -> list[Answer]:
        """Send a command that has to succeed; a refusal becomes one of the contract's errors."""
        try:
            return self.ask(command, doing)
        except Refused as refused:
            raise self.explain(refused, doing) from refused

    def explain(self, refused: Refused | SaidGoodbye, doing: str) -> TransportError:
        """Return the contract's error for a refusal."""
        return explain_refusal(refused, self.line.where, doing)

    def has(self, capability: str) -> bool:
        """Tell whether the server offers an extension, by itself or as a part of IMAP4rev2."""
        if capability in self.capabilities:
            return True
        return capability in _IN_REV2 and "IMAP4REV2" in self.capabilities

    # ------------------------------------------------------------------ reading

    def _read_line(self) -> bytes:
        text = self._reader.readline(LONGEST_LINE)
        if not text.endswith(b"\n"):
            if len(text) < LONGEST_LINE:
                raise EOFError
            raise self._nonsense("a line without end")
        return text

    def _read_answer(self, tag: bytes, bounds: Bounds) -> Answer:
        text = self._read_line()
        if not text.startswith(b"* "):
            if text.startswith(tag):
                return Answer(text.rstrip())
            return self._odd_line(text)
        if not text.endswith(b"}\r\n"):  # as most do, of the thousands of a listing
            return Answer(text[2:].rstrip(b"\r\n"))
        answer = Answer(b"")
        start = 2
        while text.endswith(b"}\r\n") and (match := _LITERAL.search(text)):
            if start and _STATUS.match(text, start):
                break  # words for people, which may look like a literal
            answer.text += text[start : match.end()].rstrip()
            start = 0
            answer.literals.append(self._read_literal(int(match[1]), bounds))
            text = self._read_line()
        answer.text += text[start:].rstrip(b"\r\n")
        return answer

    def _odd_line(self, text: bytes) -> Answer:
        """Let a continuation that nobody asked for pass; anything else is no IMAP."""
        if text.startswith(b"+"):
            return Answer(text.rstrip())
        raise self._nonsense(quote_reply(text, self._secret))

    def _read_literal(self, size: int, bounds: Bounds) -> Literal:
        if size <= bounds.spool_above:
            raw = self._reader.read(size)
            if len(raw) < size:
                raise EOFError
            return raw
        if size > bounds.most:
            for _ in read_pieces(self._reader, size):
                pass
            return Skipped(size)
        spool = Spool()
        try:
            for piece in read_pieces(self._reader, size):
                spool.write(piece)
        except BaseException:
            spool.close()
            raise
        return spool

    # ------------------------------------------------------------------ endings

    def _complete(self, text: bytes) -> None:
        self.usable = True
        status, _, words = text.partition(b" ")
        if status.upper() == b"OK":
            self.completion = words.decode("ascii", "replace")
            return
        code, said = split_code(quote_reply(words, self._secret))
        raise Refused(status.decode("ascii", "replace").upper(), code, said)

    def _raise_goodbye(self, words: bytes, doing: str) -> None:
        code, said = split_code(quote_reply(words, self._secret))
        goodbye = SaidGoodbye(code, said)
        raise self.explain(goodbye, doing) from goodbye

    def _nonsense(self, words: str) -> TransientError:
        return TransientError(codes.PROTOCOL, f"{self.line.where} does not speak IMAP: {words}")


def split_code(text: str) -> tuple[str, str]:
    """Part a response code from the words: ``[INUSE] Wait`` → ``("INUSE", "Wait")``."""
    if match := _CODE.match(text):
        return match[1].upper(), text[match.end() :]
    return "", text


def code_argument(text: str, code: str) -> str | None:
    """Return the argument of a response code at the start of `text`, None if it is another."""
    match = _CODE.match(text)
    return (match[2] or "") if match and match[1].upper() == code else None
