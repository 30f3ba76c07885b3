"""An invented mail service over HTTP, for the tests: put the real one, or a stand-in for it, here.

========================  ==========================================================
GET /messages?after=N     up to 100 messages with a number above N, and the generation
GET /messages/ID          the bytes; 404 gone, 500 cannot be read
POST /messages/ID/seen    204; 404 gone
DELETE /messages/ID       204; 404 gone
GET /account              200
POST /drafts              201 and an id; 413 too large
POST /drafts/ID/send      200 and what became of each recipient; 422 refused; 404 no such draft
========================  ==========================================================

Each needs the key (else 401), and is answered with 429 and Retry-After when there is too much.
"""

from __future__ import annotations

import json
import socket
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 100


@dataclass
class Stored:
    """A message in the mailbox."""

    number: int
    raw: bytes
    received_at: datetime
    seen: bool = False
    readable: bool = True
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Sent:
    """A message that was accepted, for these recipients."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes


class MailService:
    """The service with one mailbox; use it as a context manager."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.generation = uuid.uuid4().hex
        self.messages: list[Stored] = []
        self.drafts: dict[str, bytes] = {}
        self.sent: list[Sent] = []
        self.heal()
        self._count = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def heal(self) -> None:
        """End every fault."""
        self.refuses_key = False
        self.retry_after: int | None = None
        self.refused: set[str] = set()
        self.deferred: set[str] = set()
        self.refuses_messages = False
        self.largest = 1 << 30
        self.at_draft = ""
        self.at_send = ""
        """``cut`` or ``silent``, once; with `takes` what was sent is taken before that."""
        self.takes = True

    def put(self, raw: bytes, received_at: datetime | None = None) -> None:
        """Deliver a message."""
        self._count += 1
        self.messages.append(Stored(self._count, raw, received_at or datetime.now(UTC)))

    def find(self, ref: str) -> Stored | None:
        """Return the message with an id."""
        return next((one for one in self.messages if one.id == ref), None)

    def reset(self) -> None:
        """Give every message a new number and id."""
        self.generation = uuid.uuid4().hex
        for number, message in enumerate(self.messages, 1):
            message.number, message.id = number, uuid.uuid4().hex
        self._count = len(self.messages)

    def __enter__(self) -> MailService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    service: MailService

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ended = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        service = self.server.service
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True
        elif service.retry_after is not None:
            self._answer(429, headers={"Retry-After": str(service.retry_after)})
        elif service.refuses_key or self.headers["Authorization"] != f"Bearer {service.key}":
            self._answer(401)
        else:
            url = urlsplit(self.path)
            words = [method, *url.path.strip("/").split("/")]
            self._work(service, words, parse_qs(url.query), body)

    def _work(
        self, service: MailService, words: list[str], query: dict[str, list[str]], body: bytes
    ) -> None:
        match words:
            case ["GET", "account"]:
                self._answer(200)
            case ["GET", "messages"]:
                self._answer(200, _page(service, int(query["after"][0])))
            case ["GET", "messages", ref]:
                message = service.find(ref)
                if message is None or not message.readable:
                    self._answer(404 if message is None else 500)
                else:
                    self._answer(200, message.raw)
            case ["POST", "messages", ref, "seen"]:
                message = service.find(ref)
                if message is not None:
                    message.seen = True
                self._answer(204 if message else 404)
            case ["DELETE", "messages", ref]:
                message = service.find(ref)
                if message is not None:
                    service.messages.remove(message)
                self._answer(204 if message else 404)
            case ["POST", "drafts"]:
                self._take_draft(service, body)
            case ["POST", "drafts", ref, "send"]:
                self._send(service, ref, json.loads(body))
            case _:
                self._answer(404)

    def _take_draft(self, service: MailService, raw: bytes) -> None:
        if self._breaks(service, "at_draft"):
            return
        if len(raw) > service.largest:
            self._answer(413)
            return
        ref = uuid.uuid4().hex
        service.drafts[ref] = raw
        self._answer(201, ref.encode())

    def _send(self, service: MailService, ref: str, envelope: dict[str, Any]) -> None:
        if ref not in service.drafts:
            self._answer(404)
            return
        if service.refuses_messages:
            self._answer(422)
            return
        wanted = envelope["recipients"]
        accepted = [one for one in wanted if one not in service.refused | service.deferred]
        if accepted and service.takes:
            sent = Sent(envelope["sender"], tuple(accepted), service.drafts[ref])
            service.sent.append(sent)
        if self._breaks(service, "at_send"):
            return
        answer = {
            "accepted": accepted,
            "refused": {one: "no such person" for one in wanted if one in service.refused},
            "deferred": {one: "mailbox busy" for one in wanted if one in service.deferred},
        }
        self._answer(200, answer)

    def _breaks(self, service: MailService, place: str) -> bool:
        """Cut the connection or say nothing, if that is to happen here; once."""
        how = getattr(service, place)
        setattr(service, place, "")
        if how == "silent":
            self.server.ended.wait(30)
        if how:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        return bool(how)

    def _answer(
        self, status: int, content: Any = b"", headers: dict[str, str] | None = None
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _page(service: MailService, after: int) -> dict[str, Any]:
    found = [one for one in service.messages if one.number > after][:PAGE]
    return {
        "generation": service.generation,
        "messages": [
            {
                "id": one.id,
                "number": one.number,
                "received_at": one.received_at.isoformat(),
                "size": len(one.raw),
            }
            for one in found
        ],
    }
