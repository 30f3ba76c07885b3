"""The connection of one session: its own TLS settings, bounded, and interruptible at any time.

exchangelib keeps adapter, cache and time limits on its classes, for the whole process. So each
session gets an adapter of its own here, and nothing is set on a class of the library's.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import requests
from postroom.api.throttling import Gate as Pause
from postroom.api.throttling import give_back, retry_after
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from postroom_ews.gate import Gate, gate_of

_BUSY: Final = (429, 503)


class NoSlotError(OSError):
    """There are too many connections with the server already, or the session was interrupted."""


class Link:
    """Owns what is open, so that another thread can break it while one waits in it.

    :param timeout: seconds that connecting, and each wait for bytes, may take
    :param pause: what all sessions of the account keep where the server asks for a pause
    """

    def __init__(self, host: str, port: int, timeout: float, pause: Pause | None = None) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self._pause = pause
        self.interrupted = threading.Event()
        self.has_asked = False
        """Whether the last request was handed to the network, its body included."""
        self.connections = 0
        """How many were made so far."""
        self.waits = False
        """Whether the session only waits for notifications."""
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}

    def interrupt(self) -> None:
        """Break what is open, and what will be. From any thread."""
        self.interrupted.set()
        with self._lock:
            for one in self._open.values():
                _shut(one)

    def gate(self) -> Gate:
        """Return the gate that a new connection has to pass."""
        return gate_of(self.host, self.port, waiting=self.waits)

    def adopt(self, made: socket.socket) -> socket.socket:
        """Return a twin of a socket: it stays usable while TLS takes the other one over."""
        twin = socket.socket(fileno=os.dup(made.fileno()))
        with self._lock:
            self._open[id(twin)] = twin
            self.connections += 1
        if self.interrupted.is_set():
            _shut(twin)
        return twin

    def drop(self, twin: socket.socket) -> None:
        """Forget a connection that was closed."""
        with self._lock:
            self._open.pop(id(twin), None)
        _shut(twin)
        twin.close()

    def begin(self) -> None:
        """Say that a request is written now, on a connection that stands.

        :raises PausedError: the server asked for a pause meanwhile, of any session
        """
        if self._pause is not None:
            self._pause.check()

    def pause(self, seconds: float) -> None:
        """Let no session of the account ask for so long."""
        if self._pause is not None:
            self._pause.pause(seconds)

    def paused_for(self) -> float:
        """Return for how many seconds no session may ask."""
        return self._pause.remaining() if self._pause is not None else 0.0

    def let_go(self) -> None:
        """Leave the pause to the other sessions."""
        pause, self._pause = self._pause, None
        if pause is not None:
            give_back(pause)

    def set_timeout(self, connection: Any, seconds: float) -> None:
        """Let the next wait for bytes take so long at most."""
        if connection is not None and getattr(connection, "sock", None) is not None:
            connection.sock.settimeout(max(0.01, seconds))


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


class _Linked:
    """What a connection of urllib3 has to tell its link."""

    link: ClassVar[Link]
    sock: Any
    _twin: socket.socket | None = None
    _gate: Gate | None = None
    _hands_over = False
    """Whether a close now leaves the socket to the answer that is read from it."""

    def _new_conn(self) -> socket.socket:
        self._let_go()
        gate = self.link.gate()
        if not gate.enter(self.link.interrupted, self.link.timeout):
            raise NoSlotError("no connection is free")
        self._gate = gate
        try:
            return self._connect_to(self._dns_host, self.port)  # type: ignore[attr-defined]
        except BaseException:
            self._leave()
            raise

    def _connect_to(self, host: str, port: int) -> socket.socket:
        last: OSError = ConnectionRefusedError()
        for family, kind, protocol, _, address in _resolve(host, port):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self.link.timeout)
                self._twin = self.link.adopt(made)
                made.connect(address)
            except OSError as error:
                last = error
                self._forget_twin()
                made.close()
            else:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made
        raise last

    def request(self, *args: Any, **more: Any) -> Any:
        """Send a request; whoever asks later knows whether its body was handed over."""
        self.link.has_asked = False
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self.link.begin()
        return super().request(*args, **more)  # type: ignore[misc]

    def endheaders(self, *args: Any, **more: Any) -> Any:
        """Send the headers: what follows is the body, without which nothing is done."""
        done = super().endheaders(*args, **more)  # type: ignore[misc]
        self.link.has_asked = True
        return done

    def getresponse(self) -> Any:
        """Return the answer. Where the server closes after it, http.client closes this object as
        soon as the headers are there, while the body is still to come from the socket."""
        self._hands_over = True
        try:
            response = super().getresponse()  # type: ignore[misc]
        except BaseException:
            self._let_go()
            raise
        finally:
            self._hands_over = False
        seconds = retry_after(response.headers, datetime.now(UTC))
        if seconds is not None and response.status in _BUSY:
            self.link.pause(seconds)
        return response

    def close(self) -> None:
        """Close the connection, and give back what it held."""
        super().close()  # type: ignore[misc]
        if not self._hands_over:
            self._let_go()

    def _let_go(self) -> None:
        self._forget_twin()
        self._leave()

    def _forget_twin(self) -> None:
        twin, self._twin = self._twin, None
        if twin is not None:
            self.link.drop(twin)

    def _leave(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave()


def _resolve(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # "a..b": no host name at all (IDNA)
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error


class _SecurePool(HTTPSConnectionPool):
    def _validate_conn(self, conn: Any) -> None:
        """Connect, without urllib3's warning where an administrator set verify_tls = false."""
        if conn.is_closed:
            conn.connect()


class Adapter(HTTPAdapter):
    """An adapter with a TLS context of its own, whose connections belong to a link."""

    def __init__(self, link: Link, tls: ssl.SSLContext) -> None:
        self._tls = tls
        plain = type("Plain", (_Linked, HTTPConnection), {"link": link})
        secure = type("Secure", (_Linked, HTTPSConnection), {"link": link})
        self._pools = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SecurePool", (_SecurePool,), {"ConnectionCls": secure}),
        }
        super().__init__(pool_connections=1, pool_maxsize=1, pool_block=True, max_retries=0)

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Make the pool with the session's own context."""
        super().init_poolmanager(*args, ssl_context=self._tls, **more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """The same behind a proxy."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._tls, **more)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def close(self) -> None:
        """Close the connections now; urllib3 would leave it to the garbage collection."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - urllib3's container is no dict
                manager.pools[key].close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context as it is: requests would add certifi's authorities to it."""


def new_http(link: Link, tls: ssl.SSLContext, *, verify: bool, url: str) -> requests.Session:
    """Return a session of requests that takes proxies from the environment, and nothing else."""
    made = requests.Session()
    made.trust_env = False  # REQUESTS_CA_BUNDLE and .netrc would win over the settings
    made.verify = verify
    made.proxies.update(requests.utils.get_environ_proxies(url))
    for prefix in ("http://", "https://"):
        made.mount(prefix, Adapter(link, tls))
    return made
