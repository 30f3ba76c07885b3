"""A server that follows a script, for what no honest server does.

::

    server = ScriptedServer([
        Say("220 hello"),
        Expect("EHLO"), Say("250-x", "250 STARTTLS"),
        Expect("STARTTLS"), Say("220 go", "250 injected"),
    ])

Each list is one connection; a connection ends with its list. Line protocols only.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self


class Say:
    """Send lines, in one write; `raw` sends bytes as they are."""

    def __init__(self, *lines: str, raw: bytes | None = None) -> None:
        self.sent = raw if raw is not None else b"".join(f"{line}\r\n".encode() for line in lines)


@dataclass(frozen=True, slots=True)
class Expect:
    """Read one line; its beginning must be this, case ignored. "" takes any line."""

    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ReadUntil:
    """Read up to and with these bytes; ``b"\\r\\n.\\r\\n"`` ends a message."""

    end: bytes


@dataclass(frozen=True, slots=True)
class Encrypt:
    """Do the server's part of a TLS handshake."""

    context: ssl.SSLContext


class Stall:
    """Say nothing until the client goes."""


class Reset:
    """End the connection with a TCP reset instead of a close."""


Step = Say | Expect | ReadUntil | Encrypt | Stall | Reset


class ScriptedServer:
    """Follows one script for each connection, then refuses more."""

    def __init__(self, *scripts: list[Step]) -> None:
        self.host = "127.0.0.1"
        self._scripts = scripts
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        """What each connection said, in clear or decrypted."""
        self.problems: list[str] = []
        """Where a client left the script; looked at by `finish`."""
        self.connections = 0
        self._open: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="scripted", daemon=True)

    def finish(self, timeout: float = 10.0) -> None:
        """Wait until all scripts have run.

        :raises AssertionError: one has not, or a client left it
        """
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "a script still waits"
        assert not self.problems, self.problems

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for open_socket in (self._listener, self._open):
            if open_socket is not None:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        for script in self._scripts:
            try:
                self._open, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self.heard.append(b"")
            conversation = _Conversation(self, self._open, len(self.heard) - 1)
            try:
                conversation.follow(script)
            except (OSError, AssertionError) as error:
                self.problems.append(f"{type(error).__name__}: {error}")
            finally:
                conversation.end()
        self._listener.close()


class _Conversation:
    def __init__(self, server: ScriptedServer, connection: socket.socket, number: int) -> None:
        self._server, self._socket, self._number = server, connection, number
        self._buffer = b""
        connection.settimeout(30)

    def follow(self, script: list[Step]) -> None:
        for step in script:
            match step:
                case Say():
                    self._socket.sendall(step.sent)
                case Expect():
                    line = self._read_until(b"\n")
                    beginning = line[: len(step.prefix)].decode(errors="replace")
                    assert beginning.upper() == step.prefix.upper(), f"{step}, but {line!r}"
                case ReadUntil():
                    self._read_until(step.end)
                case Encrypt():
                    self._socket = step.context.wrap_socket(self._socket, server_side=True)
                    self._server._open = self._socket
                case Stall():
                    with contextlib.suppress(OSError):
                        while self._receive():
                            pass
                case Reset():
                    linger = struct.pack("ii", 1, 0)
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _read_until(self, end: bytes) -> bytes:
        while (position := self._buffer.find(end)) < 0:
            if not self._receive():
                raise AssertionError(f"the client went; expected {end!r} after {self._buffer!r}")
        position += len(end)
        line, self._buffer = self._buffer[:position], self._buffer[position:]
        return line

    def _receive(self) -> bytes:
        piece = self._socket.recv(65536)
        self._server.heard[self._number] += piece
        self._buffer += piece
        return piece
