"""A TCP relay that breaks connections: for harnesses of transports that speak over TCP."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Self

from postroom.testing.harness import Harness, ReceiverHarness, SenderHarness

_PIECE = 1 << 16


class Relay:
    """Passes bytes between clients and a server on loopback, until a fault is set.

    Faults hold for connections made from then on, `is_silent` for all. Use it as a context manager,
    or call `close`.

    :param port: where the server listens on 127.0.0.1
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.cut_after_said: int | None = None
        """Cut once the server has said so many bytes in a connection."""
        self.cut_after_told: int | None = None
        """Cut once the server was told so many bytes in a connection."""
        self.delay = 0.0
        """Seconds that each piece of the server's waits."""
        self.is_silent = False
        """The server's words are held back, for as long as the connection lasts."""
        self.said = 0
        self.told = 0
        self.connections = 0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def heal(self) -> None:
        """End every fault."""
        self.cut_after_said = self.cut_after_told = None
        self.delay = 0.0
        self.is_silent = False

    def cut_all(self) -> None:
        """Break every connection that is open now."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop, and end every connection."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                client, _ = self._listener.accept()
                self.connections += 1
                self._start(self._serve, client, self.cut_after_said, self.cut_after_told)

    def _serve(self, client: socket.socket, said_left: int | None, told_left: int | None) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                return
            with server, self._registered(client, server), contextlib.suppress(OSError):
                _Pair(self, client, server, said_left, told_left).run()

    @contextlib.contextmanager
    def _registered(self, *pair: socket.socket):  # type: ignore[no-untyped-def]
        for one in pair:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # what is under way counts as said: it must not pile up here while nobody reads
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
        with self._lock:
            self._open.update(pair)
        try:
            yield
        finally:
            with self._lock:
                self._open.difference_update(pair)

    def pause(self, seconds: float | None) -> None:
        """Wait, or for None until the relay is closed."""
        self._ended.wait(seconds)


class _Pair:
    """One connection."""

    def __init__(
        self,
        relay: Relay,
        client: socket.socket,
        server: socket.socket,
        said_left: int | None,
        told_left: int | None,
    ) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._left = {server: said_left, client: told_left}

    def run(self) -> None:
        """Pass bytes on until one end closes or the connection is to be cut."""
        if 0 in self._left.values():
            return
        with selectors.DefaultSelector() as selector:
            for one in (self._client, self._server):
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source = self._client if key.fileobj is self._client else self._server
                    if not self._pass_on(source):
                        return

    def _pass_on(self, source: socket.socket) -> bool:
        piece = source.recv(_PIECE)
        if not piece:
            return False
        left = self._left[source]
        if left is not None:
            piece = piece[:left]
            self._left[source] = left - len(piece)
        if source is self._server:
            if self._relay.is_silent:
                return True
            if self._relay.delay:
                self._relay.pause(self._relay.delay)
            self._relay.said += len(piece)
            self._client.sendall(piece)
        else:
            self._relay.told += len(piece)
            self._server.sendall(piece)
        return self._left[source] != 0


class Relayed(Harness):
    """A harness whose settings lead through `relay`, which then plays the network's faults. What
    the harnesses of both sides of a transport share may inherit from it."""

    relay: Relay

    def heal(self) -> None:
        """End the relay's faults; extend it by your own."""
        self.relay.heal()

    def be_slow(self, seconds: float) -> None:
        """Delay in the relay."""
        self.relay.delay = seconds

    def be_silent(self) -> None:
        """Hold the server's words back in the relay."""
        self.relay.is_silent = True


class RelayedReceiver(Relayed, ReceiverHarness):
    """What a receiver waits for is what the server says."""

    def cut_connection(self, after_bytes: int) -> None:
        """Cut in the relay."""
        self.relay.cut_after_said = after_bytes

    def cut_other_way(self, after_bytes: int) -> None:
        """Cut in the relay."""
        self.relay.cut_after_told = after_bytes

    def traffic(self) -> int:
        """Return what the relay has counted."""
        return self.relay.said

    def traffic_other_way(self) -> int:
        """Return what the relay has counted."""
        return self.relay.told


class RelayedSender(Relayed, SenderHarness):
    """What matters in sending is what the server is told."""

    def cut_connection(self, after_bytes: int) -> None:
        """Cut in the relay."""
        self.relay.cut_after_told = after_bytes

    def drop_connections(self) -> None:
        """Break what is open in the relay."""
        self.relay.cut_all()

    def cut_other_way(self, after_bytes: int) -> None:
        """Cut in the relay."""
        self.relay.cut_after_said = after_bytes

    def connections(self) -> int:
        """Return what the relay has counted."""
        return self.relay.connections

    def traffic(self) -> int:
        """Return what the relay has counted."""
        return self.relay.told

    def traffic_other_way(self) -> int:
        """Return what the relay has counted."""
        return self.relay.said
