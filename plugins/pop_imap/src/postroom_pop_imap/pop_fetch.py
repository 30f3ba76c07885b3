"""Retrieving messages of a maildrop: RETR, several under way at once where the server allows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from postroom.api import (
    Fetched,
    Limits,
    Listed,
    Oversized,
    TransientError,
    TransportError,
    Unavailable,
    codes,
)
from postroom.api.transport import Wanted

from postroom_pop_imap.errors import Refused, explain_code
from postroom_pop_imap.line import Skipped
from postroom_pop_imap.pop_connect import PopClient
from postroom_pop_imap.pop_listing import Entry, OutOfStep, list_maildrop, received_dates

PAGE: Final = 1000
_MOST_PROOFS: Final = 5
_MAY_BE_ONE_MESSAGES_FAULT: Final = (
    codes.CONNECTION_LOST,
    codes.SERVER_BUSY,  # [SYS/TEMP]
    codes.AUTH_NOT_ALLOWED,  # [SYS/PERM]
)
Item = Fetched | Unavailable | Oversized
Reopen = Callable[[], PopClient]
Attempt = Callable[[Sequence[Entry]], Iterable[Item]]


class MaildropFetch:
    """Retrieves what is wanted, in one session where none breaks.

    A message over which every session ends must not stop the mailbox: Dovecot (2.3) dies of an
    empty file in a dbox. After a break, what is left is taken one by one in a new session, in which
    numbers may be others. A connection that breaks may be the network's fault, so a message counts
    as unreadable only if it broke a session in which nothing was read before, and another one can
    be read in the next.

    :param reopen: returns a client in a new session
    """

    def __init__(self, client: PopClient, limits: Limits, wanted: Wanted, reopen: Reopen) -> None:
        self._client, self._limits, self._wanted, self._reopen = client, limits, wanted, reopen
        self._there: dict[str, Entry] = {}
        self._dates: dict[str, datetime | None] = {}
        self._breakers: set[str] = set()
        self._smallest: Entry | None = None
        """Of those that were read."""
        self._is_fresh = False
        """Whether the session is one after a break, in which nothing was read yet."""
        self.refused: dict[str, Unavailable] = {}
        """What the server lists in this session and would not hand out. Dovecot (2.3) goes on
        listing what another session removed, so only a later listing tells which are there."""

    def run(self) -> Iterator[Item]:
        """Yield messages in the server's order.

        :raises TransientError: the answers are out of step; next time that message is known
        """
        try:
            yield from self._run(self._list())
        except OutOfStep as found:
            yield self._unreadable(found.entry, "its end cannot be told from its text")
            sentence = f"{self._client.line.where} lost the thread over one message."
            raise TransientError(codes.PROTOCOL, sentence) from found

    def _list(self) -> Sequence[Entry]:
        entries = list_maildrop(self._client)
        self._there = {entry.ref: entry for entry in entries}
        return entries

    def _run(self, entries: Sequence[Entry]) -> Iterator[Item]:
        for start in range(0, len(entries), PAGE):
            chosen = yield from self._choose(entries[start : start + PAGE])
            fetchable: list[Entry] = []
            for entry in chosen:
                if entry.size is not None and entry.size > self._limits.max_message_bytes:
                    yield Oversized(entry.ref, entry.size, self._dates.get(entry.ref))
                elif not entry.unique_id:
                    yield self._without_id(entry)
                else:
                    fetchable.append(entry)
            most = None if "PIPELINING" in self._client.offered else 1
            for batch in self._limits.batches(fetchable, lambda one: one.size or 0, most=most):
                yield from self._fetch_batch(batch)

    def _choose(self, page: Sequence[Entry]) -> Generator[Item, None, Sequence[Entry]]:
        """Ask which are wanted; where dates matter, again with the dates of those."""
        chosen = self._ask(page)
        if chosen and self._limits.received_dates:
            yield from self._find_dates(chosen)
            # one whose date broke the session is not asked about: without a date it would be old
            chosen = self._ask([entry for entry in chosen if entry.ref in self._dates])
        return chosen

    def _ask(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        listed = [Listed(one.ref, self._dates.get(one.ref), one.size) for one in entries]
        refs = set(self._wanted(listed))
        return [entry for entry in entries if entry.ref in refs]

    # ------------------------------------------------------------------ all at once

    def _find_dates(self, entries: Sequence[Entry]) -> Iterator[Item]:
        self._dates = {}
        try:
            self._read_dates(self._now(entries))
        except TransportError as error:
            self._go_on_after(error)
            for entry in entries:
                if entry.ref not in self._dates:
                    yield from self._try_alone(entry, b"TOP %d 0", self._read_dates)

    def _read_dates(self, entries: Sequence[Entry]) -> Sequence[Item]:
        for ref, date in received_dates(self._client, entries):
            self._dates[ref] = date
        return ()

    def _fetch_batch(self, batch: Sequence[Entry]) -> Iterator[Item]:
        left = {entry.ref: entry for entry in batch}
        try:
            for item in self._receive(self._now(batch)):
                left.pop(item.ref, None)
                yield item
        except TransportError as error:
            self._go_on_after(error)
            for entry in left.values():
                yield from self._try_alone(entry, b"RETR %d", self._receive)

    def _now(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return those that are there, with their numbers in this session."""
        return [self._there[entry.ref] for entry in entries if entry.ref in self._there]

    def _receive(self, batch: Sequence[Entry]) -> Iterator[Item]:
        self._client.send(*(b"RETR %d" % entry.number for entry in batch))
        refused: list[tuple[Entry, Refused]] = []
        for entry in batch:
            try:
                self._client.read_reply()
            except Refused as answer:
                refused.append((entry, answer))
            else:
                yield self._read(entry)
        for entry, refusal in refused:
            self._note(entry, refusal)

    def _read(self, entry: Entry) -> Item:
        date = self._dates.get(entry.ref)
        text = self._client.reader.read_text(
            spool_above=self._limits.spool_above, most=self._limits.max_message_bytes
        )
        if not text and entry.size:
            raise OutOfStep(entry)
        if self._smallest is None or (entry.size or 0) < (self._smallest.size or 0):
            self._smallest = entry
        if isinstance(text, Skipped):
            return Oversized(entry.ref, text.size, date)
        return Fetched(entry.ref, text, date)

    def _note(self, entry: Entry, answer: Refused) -> None:
        """Note a message that is still listed; raise where the session is what is refused."""
        error = self._client.explain(answer, "hand out a message")
        if known := explain_code(answer, error.sentence):
            raise known from answer
        if self._is_listed(entry):
            item = self._unreadable(entry, answer.text or "no reason given")
            self.refused[entry.ref] = item

    def _is_listed(self, entry: Entry) -> bool:
        try:
            for now in self._now([entry]):
                self._client.ask(b"UIDL %d" % now.number)
        except Refused:
            return False
        except TransientError as error:  # it refused the message, and ended the session as well
            self._go_on_after(error)
        return entry.ref in self._there

    # ------------------------------------------------------------------ after a break

    def _go_on_after(self, error: TransportError) -> None:
        """Open a new session after one that broke.

        :raises TransportError: it is no message's fault, or there is no new session
        """
        if error.code not in _MAY_BE_ONE_MESSAGES_FAULT or getattr(error, "retry_after", None):
            raise error
        self._open_anew()

    def _open_anew(self) -> None:
        self._client = self._reopen()
        self._is_fresh = True
        self._list()

    def _try_alone(self, entry: Entry, command: bytes, do: Attempt) -> Iterator[Item]:
        """Do with one message what broke the session with several.

        :param command: reads another message in the same way
        :raises TransportError: it breaks again, and other messages fare no better
        """
        was_fresh = self._is_fresh
        try:
            yield from do(self._now([entry]))
            self._is_fresh = False
        except TransportError as error:
            self._go_on_after(error)
            if not was_fresh:
                yield from self._try_alone(entry, command, do)
                return
            self._breakers.add(entry.ref)
            if not self._can_read_another(command):
                raise
            if entry.ref in self._there:
                yield self._unreadable(entry, error.sentence)

    def _can_read_another(self, command: bytes) -> bool:
        others = [one for one in self._there.values() if one.ref not in self._breakers]
        some = others[:: len(others) // _MOST_PROOFS + 1]
        some.sort(key=lambda one: one.size or 0)
        if self._smallest is not None:
            some.insert(0, self._smallest)
        return any(self._can_read(one, command) for one in some)

    def _can_read(self, entry: Entry, command: bytes) -> bool:
        """Read a message and throw it away."""
        try:
            for now in self._now([entry]):
                self._client.ask(command % now.number)
                if self._client.reader.read_text(spool_above=self._limits.spool_above, most=0):
                    self._is_fresh = False
                    return True
        except Refused:
            pass
        except TransientError as error:
            self._breakers.add(entry.ref)
            self._go_on_after(error)
            return False
        self._open_anew()  # this one may be out of step, or about to end
        return False

    def _without_id(self, entry: Entry) -> Unavailable:
        """It is not retrieved: what was stored could not be told from what comes next."""
        sentence = f"{self._client.line.where} gave a message no unique id (UIDL)."
        return self._unavailable(entry, TransportError(codes.MESSAGE_WITHOUT_ID, sentence))

    def _unreadable(self, entry: Entry, reason: str) -> Unavailable:
        sentence = f"{self._client.line.where}: not readable, {reason}."
        return self._unavailable(entry, TransportError(codes.MESSAGE_UNREADABLE, sentence))

    def _unavailable(self, entry: Entry, error: TransportError) -> Unavailable:
        return Unavailable(entry.ref, error, self._dates.get(entry.ref), entry.size)
