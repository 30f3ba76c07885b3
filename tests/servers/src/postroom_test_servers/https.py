"""A small HTTPS server for stand-ins: threads, HTTP/1.1 with kept connections, a private CA."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `path` is without the query; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        """Return the fields of a form; of one given twice, the last."""
        return {name: values[-1] for name, values in parse_qs(self.body.decode(), True).items()}


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, document: Any, **headers: str) -> Response:
        """Return a JSON answer; `headers` with underscores for hyphens."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        content = {"Content-Type": "application/json; charset=utf-8", **names}
        return cls(status, json.dumps(document).encode(), content)


class HttpsServer:
    """Answers requests on 127.0.0.1 with `answer`, each connection in a thread; a context manager.

    :param context: the server's TLS context, for ``localhost``
    :param answer: called from many threads; None: the connection is cut without an answer
    """

    def __init__(
        self, context: ssl.SSLContext, answer: Callable[[Request], Response | None]
    ) -> None:
        self._server = _Server(("127.0.0.1", 0), _handler(answer))
        self._server.tls = context
        self.port = self._server.server_address[1]
        self.url = f"https://localhost:{self.port}"
        self.handshakes = self._server.handshakes
        """While it is not set, new connections wait for their TLS handshake."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> HttpsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.handshakes.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext

    def __init__(self, *arguments: Any) -> None:
        self.handshakes = threading.Event()
        self.handshakes.set()
        super().__init__(*arguments)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        # The handshake is done when the connection's own thread first reads.
        wrapped = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        wrapped.settimeout(30)
        return wrapped, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that trust nobody, or go away, are part of the tests."""


def _handler(
    answer: Callable[[Request], Response | None],
) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet
        server: _Server

        def handle(self) -> None:
            self.server.handshakes.wait(60)
            super().handle()

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            request = Request(
                self.command,
                parts.path,
                parse_qs(parts.query, True),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
            )
            response = answer(request)
            if response is None:
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if "Content-Length" in response.headers:  # a false one: the body breaks off
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _answer  # noqa: N815 - the base's names

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            """Say nothing."""

    return Handler
