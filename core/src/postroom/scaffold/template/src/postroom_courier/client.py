"""One HTTP connection to the service. Every error of the library is translated here."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from postroom.api import AuthError, CheckStep, Context, TransientError, TransportError, codes
from postroom.api.network import network_errors

from postroom_courier.settings import CourierSettings


class Client:
    """Makes requests, one at a time; the connection is kept and replaced when it was closed."""

    def __init__(self, settings: CourierSettings, context: Context) -> None:
        self._settings = settings
        self._context = context
        parts = urlsplit(settings.url)
        self._is_secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_secure else 80)
        self.where = f"{self._host}:{self._port}"
        self._connection: HTTPConnection | None = None
        self._interrupted = threading.Event()

    @contextmanager
    def request(self, method: str, path: str, body: bytes | None = None) -> Iterator[HTTPResponse]:
        """Make a request and lend the response, to be read to its end.

        :raises AuthError: the service refuses the key
        :raises TransientError: connection, time or server; or the session was interrupted
        """
        with self._translated():
            connection = self._connected()
            key = self._settings.api_key.get_secret_value()
            connection.request(method, path, body, {"Authorization": f"Bearer {key}"})
            response = connection.getresponse()
            if response.status in (401, 403, 429) or response.status >= 502:
                response.read()
                raise self._refusal(response)
            if response.status != 204 and response.getheader("Content-Length") is None:
                # http.client takes a connection that ends within the headers for the end of these
                response.close()
                sentence = f"{self.where} broke off its answer."
                raise TransientError(codes.CONNECTION_LOST, sentence)
            yield response
            response.read()  # what the caller left, so that the connection can be used again

    def call(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Make a request with JSON both ways; return the status and what came, None for nothing."""
        body = None if document is None else json.dumps(document).encode()
        with self.request(method, path, body) as response:
            answer = response.read()
            try:
                return response.status, json.loads(answer) if answer else None
            except ValueError as error:
                raise self.unexpected(response.status) from error

    def check(self, ask: Callable[[], object]) -> Iterator[CheckStep]:
        """Yield the steps of connecting and logging in, by asking for something."""
        try:
            ask()
        except AuthError as error:
            yield CheckStep("connect", "ok", self.where)
            yield CheckStep("log in", "fail", error.sentence, error.next_step)
        except TransportError as error:
            yield CheckStep("connect", "fail", error.sentence, error.next_step)
        else:
            yield CheckStep("connect", "ok", self.where)
            yield CheckStep("log in", "ok")

    def unexpected(self, status: int) -> TransientError:
        """Return the error for an answer that does not fit."""
        return TransientError(codes.PROTOCOL, f"{self.where} answered with {status} unexpectedly.")

    def interrupt(self) -> None:
        """End what runs, and let nothing begin; from any thread."""
        self._interrupted.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.close()

    # ------------------------------------------------------------------ the connection

    def _connected(self) -> HTTPConnection:
        if self._connection is not None and _is_closed(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._new_connection()
            self._connection.connect()
        if self._interrupted.is_set():
            raise TransientError(codes.CONNECTION_LOST, f"{self.where}: it was interrupted.")
        return self._connection

    def _new_connection(self) -> HTTPConnection:
        timeout = self._settings.timeout_seconds
        if self._is_secure:
            tls = self._context.tls(self._settings)
            return HTTPSConnection(self._host, self._port, timeout=timeout, context=tls)
        return HTTPConnection(self._host, self._port, timeout=timeout)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise what the library raises as an error that says what the core does next."""
        try:
            with network_errors(self.where):
                yield
        except HTTPException as error:
            self.close()
            sentence = f"{self.where} did not answer as HTTP has it ({type(error).__name__})."
            raise TransientError(codes.PROTOCOL, sentence) from error
        except BaseException as error:
            if not isinstance(error, AuthError):
                self.close()  # nobody knows what is still on its way
            raise

    def _refusal(self, response: HTTPResponse) -> TransportError:
        if response.status in (401, 403):
            return AuthError(codes.AUTH_REFUSED, f"{self.where} refused the key.")
        seconds = response.getheader("Retry-After", "")
        retry_after = float(seconds) if seconds.isdigit() else None
        sentence = f"{self.where} asks to come back later."
        return TransientError(codes.SERVER_BUSY, sentence, retry_after=retry_after)


def _is_closed(connection: HTTPConnection) -> bool:
    """Say whether the server has closed an idle connection: then there is an end to be read."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])
