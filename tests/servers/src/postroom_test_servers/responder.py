"""A server that answers command by command from a table: IMAP or POP3 as no honest server speaks.

Tests replace single answers; all the rest is what a plain server with one folder would say.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

CUT = b"<cut>"
"""In an answer: send what stands before it, then close the connection."""
STALL = b"<stall>"
"""In an answer: send what stands before it, then say nothing more."""
TLS = b"<tls>"
"""In an answer: send what stands before it, then do a TLS handshake."""
Reply = bytes | Callable[[bytes], bytes]

_ACTION = re.compile(rb"<(?:cut|stall|tls)>")

IMAP: dict[str, Reply] = {
    "CAPABILITY": b"* CAPABILITY IMAP4rev1 UIDPLUS MOVE\r\nTAG OK done\r\n",
    "LOGIN": b"TAG OK logged in\r\n",
    "EXAMINE|SELECT": (
        b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 3] ok\r\nTAG OK opened\r\n"
    ),
    "UID SEARCH": b"* SEARCH 1 2\r\nTAG OK done\r\n",
    r"UID FETCH \S+ \(UID RFC822.SIZE": (
        b"* 1 FETCH (UID 1 RFC822.SIZE 9)\r\n* 2 FETCH (UID 2 RFC822.SIZE 9)\r\nTAG OK done\r\n"
    ),
    r"UID FETCH \S+ \(UID BODY.PEEK": (
        b"* 1 FETCH (UID 1 BODY[] {9}\r\nS: a\r\n\r\n1)\r\n"
        b"* 2 FETCH (UID 2 BODY[] {9}\r\nS: b\r\n\r\n2)\r\nTAG OK done\r\n"
    ),
    "UID ": b"TAG OK done\r\n",
    "LIST": b'* LIST () "/" INBOX\r\nTAG OK done\r\n',
    "LOGOUT": b"* BYE bye\r\nTAG OK done\r\n" + CUT,
    "": b"TAG BAD what?\r\n",
}
"""Commands as regular expressions of their beginnings; TAG stands for the command's tag."""
POP: dict[str, Reply] = {
    "CAPA": b"+OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\n.\r\n",
    "USER|PASS|DELE|NOOP|RSET": b"+OK\r\n",
    r"UIDL\r\n": b"+OK\r\n1 first\r\n2 second\r\n.\r\n",
    r"UIDL \d": b"+OK\r\n",
    "LIST": b"+OK\r\n1 9\r\n2 9\r\n.\r\n",
    "RETR 1": b"+OK\r\nS: a\r\n\r\n1\r\n.\r\n",
    "RETR 2": b"+OK\r\nS: b\r\n\r\n2\r\n.\r\n",
    "TOP": b"+OK\r\nS: a\r\n\r\n.\r\n",
    "QUIT": b"+OK bye\r\n" + CUT,
    "": b"-ERR what?\r\n",
}


class Responder:
    """Listens on loopback and answers; any number of connections.

    :param changes: answers that differ from the table, looked at first
    """

    def __init__(
        self,
        table: Mapping[str, Reply],
        changes: Mapping[str, Reply] | None = None,
        *,
        greeting: bytes = b"",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = [
            (re.compile(pattern.encode(), re.I), reply)
            for pattern, reply in [*(changes or {}).items(), *table.items()]
        ]
        self._is_tagged = table is IMAP
        self._greeting = greeting or (b"* OK hello\r\n" if self._is_tagged else b"+OK hello\r\n")
        self._tls = tls
        self.heard: list[bytes] = []
        """Every command of every connection, tags included."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._released = threading.Event()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._released.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(self._greeting)
            buffer = b""
            while True:
                while b"\n" not in buffer:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    buffer += piece
                line, _, buffer = buffer.partition(b"\n")
                self.heard.append(line + b"\n")
                answer = self._answer(line + b"\n")
                connection.sendall(_ACTION.split(answer)[0])
                if CUT in answer:
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                    return
                if STALL in answer:
                    self._released.wait()
                if TLS in answer:
                    assert self._tls is not None
                    connection = self._tls.wrap_socket(connection, server_side=True)
                    self._open.append(connection)

    def _answer(self, line: bytes) -> bytes:
        tag, command = b"", line
        if self._is_tagged and b" " in line:
            tag, _, command = line.partition(b" ")
        reply = next(reply for pattern, reply in self._rules if pattern.match(command))
        answer = reply if isinstance(reply, bytes) else reply(command)
        return answer.replace(b"TAG", tag)
