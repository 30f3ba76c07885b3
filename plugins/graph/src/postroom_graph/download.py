"""The MIME original of messages, by ``$value``: several at once, large ones through a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final
from urllib.parse import quote

import httpx
from postroom.api import (
    Fetched,
    Limits,
    Oversized,
    Spool,
    TransportError,
    Unavailable,
    codes,
)

from postroom_graph.client import Client, LostError, Request
from postroom_graph.errors import GraphError
from postroom_graph.listing import Item
from postroom_graph.parallel import Parallel

Delivered = Fetched | Unavailable | Oversized
_PIECE: Final = 1 << 16
_MOST_SUSPECTS: Final = 3


class _TooLargeError(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Downloads:
    """Downloads messages of one mailbox, in order."""

    def __init__(self, client: Client, limits: Limits) -> None:
        self._client, self._limits = client, limits

    def run(self, items: Sequence[Item]) -> Iterator[Delivered]:
        """Yield each message that is still there.

        A message whose download breaks the connection may be unreadable, or the network may be
        down: it counts as unreadable once a later one was had, and only a few in a row.
        """
        suspects: list[tuple[Item, LostError]] = []
        with closing(Parallel(self._client, self._one, _close).run(items)) as results:
            for item, result in results:
                if isinstance(result, LostError):
                    suspects.append((item, result))
                    if len(suspects) > _MOST_SUSPECTS or self._client.interrupted.is_set():
                        raise result
                    continue
                for suspect, lost in suspects:
                    yield self._unavailable(suspect, lost.sentence)
                suspects.clear()
                if result is not None:
                    yield result
        if suspects:
            raise suspects[-1][1]

    def _one(self, item: Item) -> Delivered | None:
        body = _Body(self._limits)
        request = Request(
            "GET",
            self._client.url(f"/messages/{quote(item.ref, safe='')}/$value"),
            headers={"Accept": "*/*", "Accept-Encoding": "identity"},
        )
        try:
            self._client.attempt(request, body.read)
        except _TooLargeError as error:
            return Oversized(item.ref, error.size, item.received_at)
        except GraphError as error:
            return self._refused(item, error)
        return Fetched(item.ref, body.take(), item.received_at, item.conversation)

    def _refused(self, item: Item, error: GraphError) -> Unavailable | None:
        """Tell a message that is gone, or cannot be read, from trouble with the whole mailbox.

        None: it is gone.
        """
        if error.is_throttling:
            raise self._client.explained(error, "hand out a message") from error
        path = f"/messages/{quote(item.ref, safe='')}"
        try:
            self._client.attempt(Request("GET", self._client.url(path, select="id")))
        except GraphError as other:
            if other.is_missing:
                return None
            raise self._client.explained(other, "describe a message") from error
        reason = self._client.explained(error, "hand out a message")
        return self._unavailable(item, reason.sentence)

    def _unavailable(self, item: Item, sentence: str) -> Unavailable:
        error = TransportError(codes.MESSAGE_UNREADABLE, sentence)
        return Unavailable(item.ref, error, item.received_at)


class _Body:
    """Reads a message: into memory, or into a spool once it is large."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._small = bytearray()
        self._spool: Spool | None = None

    def read(self, response: httpx.Response) -> bytes:
        """Read the body of a response; what an earlier try left is dropped."""
        self._small.clear()
        self._drop()
        self._check(_told_size(response))
        try:
            size = 0
            for piece in response.iter_bytes(_PIECE):
                size += len(piece)
                self._check(size)
                self._add(piece, size)
        except BaseException:
            self._drop()
            raise
        return b""

    def take(self) -> bytes | Spool:
        """Hand over what was read."""
        return self._spool or bytes(self._small)

    def _check(self, size: int) -> None:
        if size > self._limits.max_message_bytes:
            raise _TooLargeError(size)

    def _add(self, piece: bytes, size: int) -> None:
        if self._spool is None and size > self._limits.spool_above:
            self._spool = Spool()
            self._spool.write(bytes(self._small))
            self._small.clear()
        if self._spool is None:
            self._small += piece
        else:
            self._spool.write(piece)

    def _drop(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None


def _told_size(response: httpx.Response) -> int:
    length = response.headers.get("Content-Length", "")
    is_plain = response.headers.get("Content-Encoding", "identity") == "identity"
    return int(length) if is_plain and length.isascii() and length.isdigit() else 0


def _close(result: Delivered | None) -> None:
    if isinstance(result, Fetched) and isinstance(result.raw, Spool):
        result.raw.close()
