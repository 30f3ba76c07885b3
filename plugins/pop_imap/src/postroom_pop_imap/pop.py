"""The POP3 receiver: a connection for each run, because the maildrop is locked meanwhile."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from postroom.api import (
    AuthError,
    Checkpoint,
    CheckStep,
    Context,
    Disposition,
    Limits,
    Listed,
    Receiver,
    SettingsError,
    Settled,
    TransientError,
    TransportError,
    Unsettled,
    codes,
)
from postroom.api.transport import Delivery, Wanted

from postroom_pop_imap.check import session_steps
from postroom_pop_imap.errors import Refused, explain_unsettled
from postroom_pop_imap.line import Line
from postroom_pop_imap.pop_connect import PopClient, open_client
from postroom_pop_imap.pop_fetch import MaildropFetch
from postroom_pop_imap.pop_listing import Entry, list_maildrop, windows
from postroom_pop_imap.settings import PopSettings

_PAUSES: Final = (0, 0.2, 1, 5, 20)
"""Seconds before each try to open a session after another."""
_NOT_YET: Final = (codes.SERVER_BUSY, codes.AUTH_REFUSED)


class PopReceiver(Receiver):
    """Retrieves one maildrop."""

    def __init__(self, settings: PopSettings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._line = Line(settings.host, settings.effective_port(), settings.timeout_seconds)
        self._client: PopClient

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:  # noqa: ARG002
        """Retrieve what is wanted of the whole maildrop; POP3 knows no cursor."""
        with self._session() as client:
            fetch = MaildropFetch(client, limits, wanted, self._reopen)
            yield from fetch.run()
            if fetch.refused:
                there = {entry.ref for entry in list_maildrop(self._reopen())}
                yield from (item for ref, item in fetch.refused.items() if ref in there)
        yield Checkpoint("")

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Delete in a session of its own: deletions happen at QUIT (RFC 1939 section 6)."""
        if disposition.action == "leave":
            yield from (Settled(ref) for ref in refs)
            return
        if disposition.action != "delete":
            sentence = f"POP3 cannot do this with messages: {disposition.action}."
            raise SettingsError(codes.DISPOSITION_UNSUPPORTED, sentence)
        if refs:
            yield from self._delete(refs)

    def _delete(self, refs: Sequence[str]) -> Iterator[Settled | Unsettled]:
        client = self._open()
        try:
            entries = list_maildrop(client)
            there = {entry.ref: entry for entry in entries}
            chosen, unclear = _deletable(entries, set(refs))
            refused = self._mark(client, chosen)
            refused |= {ref: _ambiguous(client) for ref in unclear}
            try:
                client.ask(b"QUIT")
            except Refused as answer:  # some may be removed, nobody knows which: look next time
                error = explain_unsettled(answer, client.line.where, "delete messages")
                refused |= {entry.ref: error for entry in chosen}
        finally:
            self._line.close()
        for ref in refs:
            if ref in there and ref in refused:
                yield Unsettled(ref, refused[ref])
            else:
                yield Settled(ref)

    @staticmethod
    def _mark(client: PopClient, chosen: Sequence[Entry]) -> dict[str, TransportError]:
        refused: dict[str, TransportError] = {}
        for group in windows(client, chosen):
            client.send(*(b"DELE %d" % entry.number for entry in group))
            for entry in group:
                try:
                    client.read_reply()
                except Refused as answer:
                    error = explain_unsettled(answer, client.line.where, "delete a message")
                    refused[entry.ref] = error
        return refused

    def list_refs(self) -> Iterator[Listed]:
        """Yield what the maildrop holds."""
        with self._session() as client:
            entries = list_maildrop(client)
        yield from (Listed(entry.ref, None, entry.size) for entry in entries)

    def check(self) -> Iterator[CheckStep]:
        """Connect, log in, list."""
        names = ["resolve", "connect", "tls", "log in", "list"]
        if self._settings.security == "none":
            names.remove("tls")
        done: list[str] = []
        details: dict[str, str] = {}
        error: TransportError | None = None
        try:
            with self._session(done.append) as client:
                details["list"] = f"{len(list_maildrop(client))} messages"
                done.append("list")
        except TransportError as raised:
            error = raised
        yield from session_steps(names, done, error, details)

    def interrupt(self) -> None:
        """Break the connection."""
        self._line.interrupt()

    def close(self) -> None:
        """Close the connection; what was not yet confirmed by QUIT is undone by the server."""
        self._line.close()

    @contextlib.contextmanager
    def _session(self, report: Callable[[str], None] = lambda _: None) -> Iterator[PopClient]:
        """Lend a connection; say QUIT where the block went well, so that the lock is gone."""
        self._client = self._open(report)
        try:
            yield self._client
            self._quit()
        finally:
            self._line.close()

    def _open(self, report: Callable[[str], None] = lambda _: None) -> PopClient:
        return open_client(self._settings, self._context, self._line, report)

    def _quit(self) -> None:
        with contextlib.suppress(Refused, TransientError):
            self._client.ask(b"QUIT")

    def _reopen(self) -> PopClient:
        """Return a client in a session that follows another.

        A server may need a moment to see that the other one broke, and hold the maildrop locked
        until then, or want a pause between two of them: [IN-USE], [LOGIN-DELAY] (RFC 2449 section
        8.1). Some say so without a code, as if the password were wrong that was good just before.

        :raises TransientError: there is no new session
        """
        self._quit()
        for pause in _PAUSES:
            self._line.interrupted.wait(pause)
            self._line.close()
            try:
                self._client = self._open()
            except (AuthError, TransientError) as error:
                if error.code not in _NOT_YET or getattr(error, "retry_after", None):
                    raise
                last = error
            else:
                return self._client
        raise TransientError(codes.SERVER_BUSY, last.sentence) from last


def _deletable(entries: Sequence[Entry], refs: set[str]) -> tuple[list[Entry], set[str]]:
    """Return which messages may be deleted, and which refs are unclear.

    Messages that share a unique id cannot be told apart in the next session, so they are deleted
    together or not at all; those without one are not deleted.
    """
    present = Counter(entry.unique_id for entry in entries)
    asked = Counter(entry.unique_id for entry in entries if entry.ref in refs)
    chosen, unclear = [], set()
    for entry in entries:
        if entry.ref in refs:
            if entry.unique_id and asked[entry.unique_id] == present[entry.unique_id]:
                chosen.append(entry)
            else:
                unclear.add(entry.ref)
    return chosen, unclear


def _ambiguous(client: PopClient) -> TransportError:
    sentence = f"{client.line.where} gives several messages the same unique id (UIDL), or none."
    step = "Delete them by hand, and have the server give each message an id of its own."
    return TransientError(codes.DISPOSITION_REFUSED, sentence, next_step=step)
