"""The service: lines of words over TCP, messages after a line with their size.

::

    LOGIN name password         OK
    LIST                        OK 2 / 7-1 512 1764000000 / 7-2 …
    GET 7-1                     OK 512 / bytes             GONE, UNREADABLE
    SEEN 7-1, MOVE 7-1 Done,
    COPY 7-1 Done, DELETE 7-1   OK                         GONE
    WAIT 30                     NEWS                       NONE
    DRAFT                       OK d1
    SEND d1 size sender to…     GO, then bytes, then OK addresses that are refused or deferred
    FIND d1 message-id          SENT, DRAFT, NONE

Any request may be answered ``BUSY 117``: come back in so many seconds.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO, Any


@dataclass(slots=True)
class Stored:
    """A message in a mailbox."""

    raw: bytes
    received_at: int
    seen: bool = False
    folder: str = ""
    unreadable: bool = False


class CrowServer:
    """Listens on loopback; one account."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.messages: dict[str, Stored] = {}
        self.received: list[tuple[str, tuple[str, ...], bytes]] = []
        self.drafts: set[str] = set()
        self.sent_ids: set[str] = set()
        self.changed = threading.Condition()
        self.validity = 7
        self._numbers = itertools.count(1)
        self.heal()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def heal(self) -> None:
        """Do as usual again."""
        self.is_refusing = False
        self.busy_for: float | None = None
        self.refused: set[str] = set()
        self.deferred: set[str] = set()
        self.rejects = False
        self.largest = 100 << 20
        self.at_data = ""
        self.at_end = ""

    def close(self) -> None:
        """Stop listening, end every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)  # else it might accept for whoever gets the number of the socket
        self._listener.close()
        self.drop()
        with self.changed:
            self.changed.notify_all()

    def drop(self) -> None:
        """End every connection."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def put(self, raw: bytes, received_at: datetime | None) -> None:
        """Deliver."""
        instant = int((received_at or datetime.now(UTC)).timestamp())
        with self.changed:
            self.messages[self._new_id()] = Stored(raw, instant)
            self.changed.notify_all()

    def reset_ids(self) -> None:
        """Give every message another id."""
        self.validity += 1
        self._numbers = itertools.count(1)
        self.messages = {self._new_id(): one for one in self.messages.values()}

    def _new_id(self) -> str:
        return f"{self.validity}-{next(self._numbers)}"

    # ------------------------------------------------------------------ connections

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        stream: Any
        with contextlib.suppress(OSError, _HangUp), client, client.makefile("rwb") as stream:
            user = ""
            while (line := stream.readline()).endswith(b"\n"):  # half a request is none
                verb, *words = line.decode().split()
                answer = self._answer(stream, verb, words, user)
                if verb == "LOGIN" and answer == b"OK\n":
                    user = words[0]
                stream.write(answer)
                stream.flush()
        self._open.discard(client)

    def _answer(self, stream: IO[bytes], verb: str, words: list[str], user: str) -> bytes:
        if self.busy_for is not None:
            return b"BUSY %d\n" % self.busy_for
        if verb == "LOGIN":
            right = words[1] == self.password and not self.is_refusing
            return b"OK\n" if right else b"REFUSED\n"
        if not user or self.is_refusing:
            return b"REFUSED\n"
        found: bytes = getattr(self, f"_do_{verb.lower()}")(stream, *words)
        return found

    # ------------------------------------------------------------------ receiving

    def _do_list(self, _: IO[bytes]) -> bytes:
        here = [(name, one) for name, one in self.messages.items() if not one.folder]
        lines = [f"{name} {len(one.raw)} {one.received_at}\n" for name, one in here]
        return f"OK {len(here)}\n{''.join(lines)}".encode()

    def _do_get(self, _: IO[bytes], name: str) -> bytes:
        found = self._there(name)
        if found is None:
            return b"GONE\n"
        return b"UNREADABLE\n" if found.unreadable else b"OK %d\n%s" % (len(found.raw), found.raw)

    def _do_seen(self, _: IO[bytes], name: str) -> bytes:
        found = self._there(name)
        if found is not None:
            found.seen = True
        return b"OK\n" if found else b"GONE\n"

    def _do_move(self, _: IO[bytes], name: str, folder: str) -> bytes:
        found = self._there(name)
        if found is not None:
            found.folder = folder
        return b"OK\n" if found else b"GONE\n"

    def _do_copy(self, _: IO[bytes], name: str, folder: str) -> bytes:
        found = self._there(name)
        if found is not None:
            self.messages[self._new_id()] = replace(found, folder=folder)
        return b"OK\n" if found else b"GONE\n"

    def _do_delete(self, _: IO[bytes], name: str) -> bytes:
        return b"OK\n" if self._there(name) and self.messages.pop(name) else b"GONE\n"

    def _do_wait(self, _: IO[bytes], known: str, seconds: str) -> bytes:
        with self.changed:
            news = self.changed.wait_for(lambda: self._latest() != known, float(seconds))
        return b"NEWS\n" if news else b"NONE\n"

    def _do_latest(self, _: IO[bytes]) -> bytes:
        return f"{self._latest()}\n".encode()

    def _latest(self) -> str:
        return next(reversed(self.messages), "none")

    def _there(self, name: str) -> Stored | None:
        found = self.messages.get(name)
        return found if found is not None and not found.folder else None

    # ------------------------------------------------------------------ sending

    def _do_noop(self, _: IO[bytes]) -> bytes:
        return b"OK\n"

    def _do_draft(self, _: IO[bytes]) -> bytes:
        name = f"d{next(self._numbers)}"
        self.drafts.add(name)
        return f"OK {name}\n".encode()

    def _do_send(self, stream: IO[bytes], draft: str, size: str, *envelope: str) -> bytes:
        sender, *recipients = envelope
        if self.rejects:
            return b"REJECTED spam\n"
        if int(size) > self.largest:
            return b"REJECTED too-large\n"
        if self.at_data == "cut":
            raise _HangUp
        stream.write(b"GO\n")
        stream.flush()
        raw = stream.read(int(size))
        if len(raw) < int(size):
            raise _HangUp
        taken = [to for to in recipients if to not in self.refused | self.deferred]
        if taken and not self.at_end.endswith("lost"):
            self._take(draft, sender.strip("<>"), taken, raw)
        if self.at_end.startswith("silent"):
            stream.read(1)
        if self.at_end:
            raise _HangUp
        marks = [f"-{to}" for to in recipients if to in self.refused]
        marks += [f"?{to}" for to in recipients if to in self.deferred]
        return f"OK {' '.join(marks)}\n".encode()

    def _take(self, draft: str, sender: str, recipients: list[str], raw: bytes) -> None:
        self.drafts.discard(draft)
        self.received.append((sender, tuple(recipients), raw))
        self.sent_ids.add(raw.partition(b"Message-ID: <")[2].partition(b">")[0].decode())

    def _do_find(self, _: IO[bytes], draft: str, message_id: str) -> bytes:
        if message_id in self.sent_ids:
            return b"SENT\n"
        return b"DRAFT\n" if draft in self.drafts else b"NONE\n"


class _HangUp(Exception):  # noqa: N818 - no fault
    """The server ends the connection."""


@contextmanager
def running_crow(password: str) -> Iterator[CrowServer]:
    """Run a server for the block."""
    server = CrowServer(password)
    try:
        yield server
    finally:
        server.close()
