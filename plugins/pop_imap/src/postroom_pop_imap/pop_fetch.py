"""Retrieving messages of a maildrop: RETR, several under way at once where the server allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from postroom_pop_imap.pop_listing import Entry, OutOfStep, received_dates

PAGE: Final = 1000
Item = Fetched | Unavailable | Oversized


class MaildropFetch:
    """Retrieves what is wanted in one session."""

    def __init__(self, client: PopClient, limits: Limits, wanted: Wanted) -> None:
        self._client, self._limits, self._wanted = client, limits, wanted
        self._dates: dict[str, datetime | None] = {}
        self.refused: list[Unavailable] = []
        """What the server lists in this session and would not hand out. Dovecot (2.3) goes on
        listing what another session removed, so only a later listing tells which are there."""

    def run(self, entries: Sequence[Entry]) -> Iterator[Item]:
        """Yield messages in the server's order.

        :raises TransientError: the answers are out of step; next time that message is known
        """
        try:
            yield from self._run(entries)
        except OutOfStep as found:
            yield self._unreadable(found.entry, "its end cannot be told from its text")
            sentence = f"{self._client.line.where} lost the thread over one message."
            raise TransientError(codes.PROTOCOL, sentence) from found

    def _run(self, entries: Sequence[Entry]) -> Iterator[Item]:
        for start in range(0, len(entries), PAGE):
            chosen = self._choose(entries[start : start + PAGE])
            fetchable: list[Entry] = []
            for entry in chosen:
                if entry.size is not None and entry.size > self._limits.max_message_bytes:
                    yield Oversized(entry.ref, entry.size, self._dates.get(entry.ref))
                else:
                    fetchable.append(entry)
            most = None if "PIPELINING" in self._client.offered else 1
            for batch in self._limits.batches(fetchable, lambda one: one.size or 0, most=most):
                yield from self._fetch_batch(batch)

    def _choose(self, page: Sequence[Entry]) -> Sequence[Entry]:
        """Ask which are wanted; where dates matter, again with the dates of those."""
        chosen = self._ask(page)
        if chosen and self._limits.received_dates:
            self._dates = received_dates(self._client, chosen)
            chosen = self._ask(chosen)
        return chosen

    def _ask(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        listed = [Listed(one.ref, self._dates.get(one.ref), one.size) for one in entries]
        refs = set(self._wanted(listed))
        return [entry for entry in entries if entry.ref in refs]

    def _fetch_batch(self, batch: Sequence[Entry]) -> Iterator[Item]:
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
        if isinstance(text, Skipped):
            return Oversized(entry.ref, text.size, date)
        return Fetched(entry.ref, text, date)

    def _note(self, entry: Entry, answer: Refused) -> None:
        """Note a message that is still listed; raise where the session is what is refused."""
        error = self._client.explain(answer, "hand out a message")
        if known := explain_code(answer, error.sentence):
            raise known from answer
        try:
            self._client.ask(b"UIDL %d" % entry.number)
        except Refused:
            return
        self.refused.append(self._unreadable(entry, answer.text or "no reason given"))

    def _unreadable(self, entry: Entry, reason: str) -> Unavailable:
        sentence = f"{self._client.line.where}: not readable, {reason}."
        error = TransportError(codes.MESSAGE_UNREADABLE, sentence)
        return Unavailable(entry.ref, error, self._dates.get(entry.ref), entry.size)
