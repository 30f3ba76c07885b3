"""A TCP proxy that breaks connections where a test wants it."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal

_PIECE = 65536
Fault = Literal["cut", "reset", "stall"]


@dataclasses.dataclass(slots=True)
class _Budget:
    """How many bytes may still pass in one direction of one connection."""

    left: int | None
    passed: list[int]
    place: int
    """Where in `passed` this direction is counted."""


class Proxy:
    """Passes bytes on to a server on loopback until a fault is due.

    Set `after_received` (bytes from the server) or `after_sent` (bytes to it), counted in each
    connection alone; then the connection is closed (`cut`), reset, or goes silent (`stall`).
    `faults` counts down if it is set: connections beyond that many faults are left whole.
    """

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.fault: Fault = "cut"
        self.after_received: int | None = None
        self.after_sent: int | None = None
        self.faults: int | None = None
        self.connections = 0
        self.passed: list[list[int]] = []
        """For each connection: the bytes from the server, and those to it."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._released = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def break_after(
        self, *, received: int | None = None, sent: int | None = None, fault: Fault = "cut",
        faults: int | None = None,
    ) -> None:  # fmt: skip
        """Arm the proxy for connections made from now on; without arguments: disarm it."""
        self.after_received, self.after_sent = received, sent
        self.fault, self.faults = fault, faults

    def cut_all(self) -> None:
        """Close every connection that is open now."""
        with self._lock:
            open_now = list(self._open)
        for one in open_now:
            self._shut(one)

    def close(self) -> None:
        """Stop, and end every connection."""
        self._released.set()
        with contextlib.suppress(OSError):  # wakes accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(("127.0.0.1", self.server_port), 5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                with self._lock:
                    self._open |= {client, server}
                ends = [2]
                self.passed.append([0, 0])
                down = _Budget(self.after_received, self.passed[-1], 0)
                up = _Budget(self.after_sent, self.passed[-1], 1)
                self._start(self._pump, server, client, down, ends)
                self._start(self._pump, client, server, up, ends)

    def _pump(
        self, source: socket.socket, target: socket.socket, budget: _Budget, ends: list[int]
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                if budget.left is not None and len(piece) >= budget.left and self._take_fault():
                    target.sendall(piece[: budget.left])
                    self._break(source, target)
                    break
                target.sendall(piece)
                budget.passed[budget.place] += len(piece)
                if budget.left is not None:
                    budget.left -= len(piece)
        self._shut(source)
        self._shut(target)
        with self._lock:
            ends[0] -= 1
            if ends[0] == 0:
                self._open -= {source, target}
                source.close()
                target.close()

    def _take_fault(self) -> bool:
        if self.faults is None:
            return True
        self.faults -= 1
        return self.faults >= 0

    def _break(self, source: socket.socket, target: socket.socket) -> None:
        if self.fault == "stall":
            self._released.wait()
        elif self.fault == "reset":
            for one in (source, target):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _shut(self, one: socket.socket) -> None:
        """Wake whoever reads; before a reset say no goodbye, so that closing it sends RST."""
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RD if self.fault == "reset" else socket.SHUT_RDWR)


@contextlib.contextmanager
def running_proxy(server_port: int) -> Iterator[Proxy]:
    """Start a proxy in front of a port for the block."""
    proxy = Proxy(server_port)
    try:
        yield proxy
    finally:
        proxy.close()
