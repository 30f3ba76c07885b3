"""Getting messages in batches that are bounded by count and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from exchangelib import errors as ews
from postroom.api import (
    Fetched,
    Limits,
    Oversized,
    TransientError,
    TransportError,
    Unavailable,
    codes,
)

from postroom_ews.elements import M, T, fields, item_ids
from postroom_ews.errors import GONE, UNCERTAIN, HttpRefused, code_of, quote
from postroom_ews.exchange import MOST_WAITS, Exchange
from postroom_ews.listing import Found
from postroom_ews.mime import Got, ItemReader

_AT_ONCE: Final = 20
"""Microsoft advises about 10; each is charged for alone."""
_UNKNOWN_SIZE: Final = 1 << 18
_CERTAINLY_LARGER: Final = 3
"""What takes up so many times the limit on the server is larger than the limit as MIME too."""
_MOST_SUSPECTS: Final = 3
_DOING: Final = "read messages"

Item = Fetched | Unavailable | Oversized


class _BusyError(Exception):
    """The server was too busy for some messages of a batch."""

    def __init__(self, explained: TransportError) -> None:
        super().__init__(explained)
        self.explained = explained


class Download:
    """Gets what was chosen of a listing."""

    def __init__(self, exchange: Exchange, limits: Limits) -> None:
        self._exchange, self._limits = exchange, limits
        self._suspects: list[Unavailable] = []

    def run(self, chosen: Iterable[Found]) -> Iterator[Item]:
        """Yield each message, or why it cannot be had; nothing for one that is gone."""
        small = []
        for one in chosen:
            if (one.size or 0) > self._limits.max_message_bytes * _CERTAINLY_LARGER + (1 << 20):
                yield Oversized(one.ref, one.size or 0, one.received_at)
            else:
                small.append(one)
        for batch in self._limits.batches(small, _weight, most=_AT_ONCE):
            yield from self._get(batch)
        yield from self._judge_suspects()

    def _get(self, batch: list[Found]) -> Iterator[Item]:
        """Get a batch; what it did not bring is asked for one by one."""
        left = {one.ref: one for one in batch}
        try:
            yield from self._request_patiently(left)
        except TransientError as error:
            if not _may_be_one_message(error):
                raise
        for one in list(left.values()):
            yield from self._get_alone(one)

    def _get_alone(self, one: Found) -> Iterator[Item]:
        """Get one message. That a server fails on it may be the server's trouble: it counts as the
        message's only once the server did well otherwise, and only for a few in a row."""
        left = {one.ref: one}
        trouble: object = "it fails on this message"
        try:
            yield from self._request_patiently(left)
        except TransientError as error:
            if not _may_be_one_message(error) or len(self._suspects) >= _MOST_SUSPECTS:
                raise
            trouble = error
        if left:
            self._suspects.append(self._unavailable(one, trouble))
        else:
            yield from self._clear_suspects()

    def _clear_suspects(self) -> Iterator[Item]:
        yield from self._suspects
        self._suspects.clear()

    def _judge_suspects(self) -> Iterator[Item]:
        """At the end: the server is well if it finds them, only not their content."""
        if self._suspects:
            shape = M.ItemShape(T.BaseShape("IdOnly"))
            ids = item_ids(one.ref for one in self._suspects)
            self._exchange.call("GetItem", M.GetItem(shape, ids), _DOING)
            yield from self._clear_suspects()

    def _request_patiently(self, left: dict[str, Found]) -> Iterator[Item]:
        """Yield what requests bring; what the server was too busy for is asked for again after the
        short time that it names."""
        for _ in range(MOST_WAITS):
            try:
                yield from self._request(left)
                return
            except _BusyError as busy:
                error, cause = busy.explained, busy.__cause__
            if not self._exchange.has_waited(error):
                break
        raise error from cause

    def _request(self, left: dict[str, Found]) -> Iterator[Item]:
        """Yield what one request brings, and take that out of `left`."""
        refs = list(left)
        readers: list[ItemReader] = []

        def read(response: object) -> list[Got]:
            if readers:
                readers[-1].close()
            readers.append(ItemReader(refs, self._limits))
            return readers[-1].read(response)

        trouble: TransportError | None = None
        try:
            self._exchange.read("GetItem", _payload(refs), read, _DOING)
        except TransientError as error:
            trouble = error
        except BaseException:
            for reader in readers:
                reader.close()
            raise
        yield from self._hand_on(readers[-1].done if readers else [], left)
        if trouble is not None:
            raise trouble

    def _hand_on(self, done: list[Got], left: dict[str, Found]) -> Iterator[Item]:
        waiting = list(reversed(done))
        try:
            while waiting:
                got = waiting.pop()
                if isinstance(got.error, ews.ErrorServerBusy):
                    raise _BusyError(self._exchange.explain(got.error, _DOING)) from got.error
                if got.error is not None and code_of(got.error) in UNCERTAIN:
                    continue  # left for a try of its own
                one = left.pop(got.ref, None)
                if one is None:
                    got.close()
                elif (item := self._item(one, got)) is not None:
                    yield item
        finally:
            for got in waiting:
                got.close()

    def _item(self, one: Found, got: Got) -> Item | None:
        if got.error is not None:
            if code_of(got.error) in GONE:
                return None
            return self._unavailable(one, got.error)
        if got.raw is None and got.size:
            return Oversized(one.ref, got.size, one.received_at)
        if got.raw is None:
            return self._unavailable(one, "it has no MIME content")
        return Fetched(one.ref, got.raw, one.received_at, got.conversation)

    def _unavailable(self, one: Found, reason: object) -> Unavailable:
        code = f" ({code_of(reason)})" if isinstance(reason, ews.EWSError) else ""
        sentence = f"{self._exchange.explainer.where} would not hand out a message: "
        error = TransientError(codes.MESSAGE_UNREADABLE, f"{sentence}{quote(reason)}{code}")
        return Unavailable(one.ref, error, one.received_at)


def _payload(refs: list[str]) -> object:
    shape = M.ItemShape(
        T.BaseShape("IdOnly"), T.IncludeMimeContent("true"), fields("item:ConversationId")
    )
    return M.GetItem(shape, item_ids(refs))


def _may_be_one_message(error: TransientError) -> bool:
    """A server that fails on one message may do well otherwise; one that is busy, and a network
    that breaks, say nothing of messages."""
    cause = error.__cause__
    if isinstance(cause, HttpRefused):
        return cause.status == 500 and error.retry_after is None
    is_busy = isinstance(cause, ews.ErrorServerBusy)
    return not is_busy and error.code in (codes.SERVER_BUSY, codes.PROTOCOL)


def _weight(one: Found) -> int:
    return one.size if one.size is not None else _UNKNOWN_SIZE
