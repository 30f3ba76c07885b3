"""The sockets behind an HTTP client, so that another thread can end what waits on them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Final

_WINDOW: Final = 1 << 17
"""Bytes that the system may take in before we read them: so a message that turns out to be too
large is not downloaded by the system although we stop reading."""


class Sockets:
    """Learns of connections from httpcore's trace extension, and ends them.

    See https://www.encode.io/httpcore/extensions/#trace. While a TLS handshake is under way its
    socket cannot be had from there, so a duplicate is kept for as long.
    """

    def __init__(self, *, encrypted: bool) -> None:
        self._encrypted = encrypted
        self.interrupted = threading.Event()
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._in_handshake: dict[int, socket.socket] = {}

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Hear what httpcore does; called in the thread that does it."""
        what = event.partition(".")[2]
        if what == "connect_tcp.complete":
            self._connected(info["return_value"].get_extra_info("socket"))
        elif what in ("start_tls.complete", "start_tls.failed"):
            self._end_handshake()
            if what == "start_tls.complete":
                self._add(info["return_value"].get_extra_info("socket"))

    def interrupt(self) -> None:
        """End whatever waits, now and from now on. From any thread."""
        self.interrupted.set()
        with self._lock:
            for one in [*self._open, *self._in_handshake.values()]:
                _shut(one)

    def close(self) -> None:
        """Let go of what a handshake may have left."""
        with self._lock:
            left = list(self._in_handshake.values())
            self._in_handshake.clear()
        for one in left:
            one.close()

    def _connected(self, connection: socket.socket) -> None:
        self._add(connection)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
            if not self._encrypted:
                return
            duplicate = socket.socket(fileno=os.dup(connection.fileno()))
            with self._lock:
                self._in_handshake[threading.get_ident()] = duplicate

    def _end_handshake(self) -> None:
        with self._lock:
            duplicate = self._in_handshake.pop(threading.get_ident(), None)
        if duplicate is not None:
            duplicate.close()

    def _add(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            if self.interrupted.is_set():
                _shut(connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # SSLSocket.shutdown would switch to clear text under the other thread's feet
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
