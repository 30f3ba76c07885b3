"""A connection as bytes: lines out, answers in, each with a deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from postroom.api import TransientError, codes

from postroom_smtp.errors import interruption, translated, translated_handshake
from postroom_smtp.reply import (
    MAX_LINE,
    MAX_LINES,
    MalformedReply,
    Reply,
    is_last_line,
    parsed,
)

PIECE: Final = 1 << 16
"""Bytes written under one timeout."""
Endpoint = tuple[Any, ...]
"""What `socket.getaddrinfo` yields."""


class Wire:
    """One TCP connection, in clear or in TLS. Everything it raises is of the contract.

    Used by one thread; only `shut` comes from another. Logs nothing: passwords pass here.
    """

    def __init__(self, host: str, port: int, *, timeout: float, interrupted: threading.Event):
        self._host = host
        self._timeout = timeout
        self._interrupted = interrupted
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self.where = f"{host}:{port}"

    @property
    def is_open(self) -> bool:
        """Whether there is a connection as far as we know."""
        return self._socket is not None

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The TLS layer, None in clear."""
        return self._socket if isinstance(self._socket, ssl.SSLSocket) else None

    def connect(self, endpoints: Sequence[Endpoint]) -> str:
        """Connect to the first endpoint that accepts; return its address.

        :raises TransientError: none accepts; the last one's reason
        """
        deadline = time.monotonic() + self._timeout
        with translated(self.where, "connecting", self._interrupted):
            for position, (family, kind, protocol, _, address) in enumerate(endpoints, start=1):
                try:
                    connection = socket.socket(family, kind, protocol)
                    self._install(connection)
                    connection.settimeout(max(deadline - time.monotonic(), 0.001))
                    connection.connect(address)
                    self._install(connection)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    self.close()
                    if position == len(endpoints) or self._interrupted.is_set():
                        raise
                else:
                    return str(address[0])
        raise TransientError(codes.HOST_UNKNOWN, f"The host {self._host} has no address.")

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Put TLS on the connection.

        What the server already said in clear beyond its last answer is an injection (USENIX
        Security 2021, "Why TLS is better without STARTTLS") and ends the connection.

        :raises SettingsError: certificate not valid, no common version, no TLS at all
        """
        self._require_silence("the TLS handshake")
        with translated_handshake(self.where, self._interrupted):
            wrapped = context.wrap_socket(
                self._connected(), server_hostname=self._host, do_handshake_on_connect=False
            )
            self._install(wrapped)
            wrapped.settimeout(self._timeout)
            wrapped.do_handshake()

    def exchange(self, line: str, *, at: str, timeout: float | None = None) -> Reply:
        """Send one command line and return its answer.

        :param line: without line end; a CR, LF or NUL in it is a bug of the caller
        :param at: what is shown in errors, never an argument that may be secret
        """
        if any(c in line for c in "\r\n\0"):
            raise ValueError("a command is one line")
        self._require_silence(at)
        self.write(line.encode() + b"\r\n", at=at)
        return self.read_reply(at=at, timeout=timeout)

    def write(self, piece: bytes | memoryview, *, at: str) -> None:
        """Send bytes; each `PIECE` of them has the timeout."""
        with translated(self.where, at, self._interrupted):
            connection = self._connected()
            connection.settimeout(self._timeout)
            view = memoryview(piece)
            for start in range(0, len(view), PIECE):
                connection.sendall(view[start : start + PIECE])

    def read_reply(self, *, at: str, timeout: float | None = None) -> Reply:
        """Return the next answer; `timeout` in seconds is for the whole of it."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        with translated(self.where, at, self._interrupted):
            lines = [self._read_line(deadline)]
            while not is_last_line(lines[-1]):
                if len(lines) == MAX_LINES:
                    raise MalformedReply("an answer without an end")
                lines.append(self._read_line(deadline))
            return parsed(lines)

    def has_spoken(self, *, at: str) -> bool:
        """Say, without waiting, whether the server said something that was not asked for.

        :raises TransientError: it closed the connection
        """
        with translated(self.where, at, self._interrupted):
            connection = self._connected()
            connection.settimeout(0)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                self._receive(connection)
        return bool(self._buffer)

    def local_address(self) -> str:
        """Return this end's IP address."""
        with translated(self.where, "connecting", self._interrupted):
            return str(self._connected().getsockname()[0])

    def shut(self) -> None:
        """Unblock a call of another thread, at once. From any thread."""
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would switch to clear text under the other thread's feet
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """Drop the connection without a word."""
        connection, self._socket = self._socket, None
        self._buffer.clear()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _install(self, connection: socket.socket) -> None:
        """Make `connection` the one that `shut` ends; it may have been called just before."""
        self._socket = connection
        if self._interrupted.is_set():
            self.close()
            raise interruption(self.where)

    def _connected(self) -> socket.socket:
        if self._interrupted.is_set():
            raise interruption(self.where)
        if self._socket is None:
            raise ConnectionAbortedError("not connected")
        return self._socket

    def _require_silence(self, at: str) -> None:
        """Refuse to go on when an answer came that nothing asked for: it would be taken for the
        answer to the next command."""
        if self._buffer:
            sentence = f"{self.where} said more than was asked, before {at}."
            raise TransientError(codes.PROTOCOL, sentence)

    def _read_line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise MalformedReply("a line without an end")
            connection = self._connected()
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            self._receive(connection)
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        return line

    def _receive(self, connection: socket.socket) -> None:
        received = connection.recv(4096)
        if not received:
            raise ConnectionAbortedError("closed by the server")
        self._buffer += received
