"""The connection of a session: made in steps, with a timeout, and interruptible at any time."""

from __future__ import annotations

import contextlib
import io
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from postroom.api import Context, TransientError, TransportError, codes
from postroom.api.network import explain_network_error

if TYPE_CHECKING:
    from postroom.api.settings import ServerSettings

_BUFFER = 256 << 10
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Skipped:
    """A message that was too large to keep and was read past; `size` in bytes."""

    size: int


Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]


class Line:
    """Owns the socket, so that another thread can break the connection while one waits in it.

    :param timeout: seconds that connecting, and each wait for bytes, may take
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self.where = f"{host}:{port}"
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._interrupted = threading.Event()
        self._is_secured = False
        self._readers: list[io.BufferedReader] = []

    @property
    def interrupted(self) -> threading.Event:
        """Set once `interrupt` was called; waiting on it is an interruptible sleep."""
        return self._interrupted

    def open(
        self, settings: ServerSettings, context: Context, report: Callable[[str], None]
    ) -> socket.socket:
        """Connect, with TLS where the settings want it from the first byte; return the socket.

        :param report: told the name of each step that succeeded: resolve, connect, tls
        """
        addresses = self.resolve()
        report("resolve")
        made = self.connect(addresses)
        report("connect")
        if settings.security == "tls":
            made = self.secure(context.tls(settings))
            report("tls")
        return made

    def resolve(self) -> list[Address]:
        """Look the host up. The system's resolver sets the time limit.

        :raises TransientError: HOST_UNKNOWN
        """
        with self.errors():
            try:
                return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)  # type: ignore[return-value]
            except UnicodeError as error:  # "a..b": no host name at all (IDNA)
                raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error

    def connect(self, addresses: list[Address] | None = None) -> socket.socket:
        """Connect to the first address that answers, and return the socket."""
        last: OSError | None = None
        with self.errors():
            for family, kind, protocol, _, address in addresses or self.resolve():
                made = socket.socket(family, kind, protocol)
                try:
                    made.settimeout(self.timeout)
                    self._adopt(made)
                    made.connect(address)
                except OSError as error:
                    last = error
                    self.close()
                else:
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return made
            raise last or ConnectionRefusedError()

    def secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Do the TLS handshake on the connection, and return the new socket."""
        plain = self._socket
        if plain is None:
            raise self._lost()
        with self.errors():
            wrapped = context.wrap_socket(
                plain, server_hostname=self.host, do_handshake_on_connect=False
            )
            self._adopt(wrapped)
            wrapped.do_handshake()
            self._is_secured = True
            return wrapped

    def reader(self) -> io.BufferedReader:
        """Return a reader on the socket as it is now."""
        if self._socket is None:
            raise self._lost()
        made = cast(io.BufferedReader, self._socket.makefile("rb", buffering=_BUFFER))
        self._readers.append(made)
        return made

    def has_unread(self, reader: io.BufferedReader) -> bool:
        """Tell whether the server said more than it was asked, without waiting.

        What came in clear before TLS began may be an attacker's (CVE-2021-33515): whoever finds
        some has to give up the connection.
        """
        if self._socket is None:
            return False
        self._socket.settimeout(0)
        try:
            return bool(reader.peek(1))
        except OSError:
            return False
        finally:
            self._socket.settimeout(self.timeout)

    def send(self, piece: bytes) -> None:
        """Send all of it."""
        if self._socket is None:
            raise self._lost()
        with self.errors():
            self._socket.sendall(piece)

    def acknowledge_at_once(self) -> None:
        """Have the system acknowledge what comes next without delay, where it can (Linux).

        A server that writes an answer in two small pieces sends the second one only after that
        (Nagle's algorithm), and the system delays it by 40 ms.
        """
        quickly = getattr(socket, "TCP_QUICKACK", None)
        if quickly is not None and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, quickly, 1)

    def wait_for_bytes(self, reader: io.BufferedReader, seconds: float) -> bool:
        """Wait up to `seconds` until there is something to read, the connection's end included."""
        if seconds <= 0:
            return False
        if self.has_unread(reader):  # the reader's own buffer, and TLS's, no selector sees
            return True
        if self._socket is None:
            raise self._lost()
        with self.errors(), selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def hurry(self) -> None:
        """Let nothing take longer than two seconds from now on."""
        with contextlib.suppress(OSError), self._lock:
            if self._socket is not None:
                self._socket.settimeout(2)

    def interrupt(self) -> None:
        """Break the connection for good. Called from any thread."""
        self._interrupted.set()
        with self._lock:
            if self._socket is not None:
                _shut_down(self._socket)

    def close(self) -> None:
        """Close the socket. Safe to call twice; the line can be connected again."""
        with self._lock:
            held, self._socket = self._socket, None
            self._is_secured = False
            if held is not None:
                _shut_down(held)
                with contextlib.ExitStack() as stack:
                    stack.callback(held.close)  # last: it stays open while a reader holds it
                    for reader in self._readers:
                        stack.callback(reader.close)
            self._readers.clear()

    def _adopt(self, made: socket.socket) -> None:
        with self._lock:
            self._socket = made
            if self._interrupted.is_set():
                raise ConnectionAbortedError("interrupted")

    def _lost(self) -> TransientError:
        word = "was interrupted" if self._interrupted.is_set() else "is closed"
        return TransientError(codes.CONNECTION_LOST, f"The connection with {self.where} {word}.")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise what the block meets on the network as the contract's errors."""
        try:
            yield
        except TransportError:
            raise
        except (OSError, EOFError, ValueError) as error:
            raise self.explain(error) from error

    def explain(self, error: OSError | EOFError | ValueError) -> TransportError:
        """Return the contract's error. A mere ValueError comes from a file closed meanwhile."""
        if self._interrupted.is_set() or not isinstance(error, OSError | EOFError):
            return self._lost()
        if self._is_secured and isinstance(error, ssl.SSLError):  # no setting mends a broken record
            return TransientError(codes.CONNECTION_LOST, f"The connection with {self.where} broke.")
        return explain_network_error(error, self.where)


def _shut_down(one: socket.socket) -> None:
    # SSLSocket.shutdown() would drop the TLS layer under the feet of a reader in another thread,
    # which would then take ciphertext for text
    with contextlib.suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)


def read_pieces(reader: io.BufferedReader, size: int) -> Iterator[bytes]:
    """Yield `size` bytes in pieces of at most 1 MiB.

    :raises EOFError: they end early
    """
    while size:
        piece = reader.read(min(size, _PIECE))
        if not piece:
            raise EOFError
        size -= len(piece)
        yield piece
