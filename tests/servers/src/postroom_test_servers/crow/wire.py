"""The connection of a session."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from postroom.api import (
    AuthError,
    CheckStep,
    Rejected,
    TransientError,
    TransportError,
    codes,
)


class Wire:
    """Connects and logs in when it is first used."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.where = f"{settings.host}:{settings.port}"
        self._socket: socket.socket | None = None
        self._stream: BinaryIO | None = None
        self.is_interrupted = False
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._stream is not None

    def ask(self, *words: object) -> list[str]:
        """Send a request; return the words of the answer's first line.

        :raises TransportError:
        """
        with self.errors():
            self.write(" ".join(map(str, words)).encode() + b"\n")
            return self.answer()

    def answer(self) -> list[str]:
        """Read a line of the answer."""
        line = self.opened().readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("closed")
        words = line.decode().split()
        self._raise_if_refused(words)
        return words

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        with self.errors():
            raw = self.opened().read(size)
            if len(raw) < size:
                raise ConnectionResetError("closed")
            return raw

    def write(self, raw: bytes) -> None:
        """Send bytes."""
        self.opened()
        assert self._socket is not None
        self._socket.sendall(raw)

    def opened(self) -> BinaryIO:
        """Return the stream, connected and logged in."""
        if self._stream is None:
            self._connect()
        assert self._stream is not None
        return self._stream

    def _connect(self) -> None:
        made = socket.socket()
        with self._lock:
            if self.is_interrupted:
                made.close()
                raise ConnectionAbortedError("interrupted")
            self._socket = made
        made.settimeout(self.settings.timeout_seconds)
        made.connect((self.settings.host, self.settings.port))
        self._stream = made.makefile("rb")
        password = self.settings.password.get_secret_value()
        self.write(f"LOGIN {self.settings.username} {password}\n".encode())
        self.answer()

    def _raise_if_refused(self, words: list[str]) -> None:
        if words[0] == "REFUSED":
            raise AuthError(codes.AUTH_REFUSED, f"{self.where} refused the password.")
        if words[0] == "BUSY":
            sentence = f"{self.where} is busy."
            raise TransientError(codes.SERVER_BUSY, sentence, retry_after=float(words[1]))
        if words[0] == "REJECTED":
            raise Rejected(codes.MESSAGE_REFUSED, f"{self.where} refused the message: {words[1]}.")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Translate what the network says."""
        try:
            yield
        except TimeoutError as error:
            self.drop()
            raise TransientError(codes.TIMEOUT, f"{self.where} does not answer.") from error
        except (OSError, ValueError) as error:
            self.drop()
            raise TransientError(codes.CONNECTION_LOST, f"{self.where} hung up.") from error

    def check(self) -> Iterator[CheckStep]:
        """Log in."""
        try:
            self.ask("NOOP")
        except TransportError as error:
            yield CheckStep("log in", "fail", error.sentence, error.next_step)
        else:
            yield CheckStep("log in", "ok")

    def interrupt(self) -> None:
        """Break the connection for good."""
        with self._lock:
            self.is_interrupted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Close the connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
