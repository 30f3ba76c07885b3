"""Retrieving the messages of one open folder, in batches, each message handed on as it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from postroom.api import (
    Fetched,
    Limits,
    Listed,
    Oversized,
    Spool,
    TransientError,
    TransportError,
    Unavailable,
    codes,
)
from postroom.api.transport import Wanted

from postroom_pop_imap.errors import Refused, SaidGoodbye, explain_code
from postroom_pop_imap.imap_folders import (
    LISTING_PAGE,
    Folder,
    describe_messages,
    parse_uid,
    present,
    search_uids,
)
from postroom_pop_imap.imap_names import uid_set
from postroom_pop_imap.imap_wire import Answer, Bounds, Literal, Wire
from postroom_pop_imap.line import Skipped

_FIRST_PAGE: Final = 256
_MOST_SUSPECTS: Final = 3
_MOST_BREAKS: Final = 600
"""In a page of a listing: some thirty damaged messages, and not a folder of nothing else."""
_BODY = re.compile(rb'\bBODY\[\] (NIL|\{\d+\}|"(?:[^"\\]|\\.)*")', re.I | re.S)


def _list_by_uid(wire: Wire, folder: Folder, uids: list[int]) -> Iterator[tuple[int, Listed]]:
    refs = folder.refs(present(wire, folder, uids))
    return ((uid, Listed(ref)) for uid, ref in refs.items())


_WAYS_TO_DESCRIBE: Final = (describe_messages, partial(describe_messages, with_sizes=False))
_WAYS_TO_DESCRIBE_ONE: Final = (*_WAYS_TO_DESCRIBE, _list_by_uid, _list_by_uid)
"""The last one twice: Dovecot may end that session, too, while it repairs its index."""


class Reached(NamedTuple):
    """Every message below this UID was handed on, or is not wanted."""

    uid: int


Item = Fetched | Unavailable | Oversized
Reopen = Callable[[Folder], Wire]
"""Returns a wire on which the folder is open again, after the connection broke."""


def describe_page(
    wire: Wire,
    folder: Folder,
    uids: list[int],
    reopen: Reopen,
    breaks: list[TransientError] | None = None,
) -> tuple[Wire, list[tuple[int, Listed]]]:
    """Return the wire to go on with, and what `describe_messages` yields.

    Dovecot (2.3) ends the session when it cannot read a message to tell its size: then without
    sizes, which the reader of bodies does not depend on. With its dbox formats it cannot tell the
    date either, of that message alone: it is looked for by halves, and listed by its UID.

    :param breaks: of the connection, so far in this page
    :raises TransientError: it broke too often
    """
    breaks = [] if breaks is None else breaks
    for describe in _WAYS_TO_DESCRIBE if len(uids) > 1 else _WAYS_TO_DESCRIBE_ONE:
        try:
            return wire, list(describe(wire, folder, uids))
        except TransientError as error:
            if error.code not in (codes.CONNECTION_LOST, codes.PROTOCOL) or error.retry_after:
                raise
            breaks.append(error)
            if len(breaks) > _MOST_BREAKS:
                raise
        wire = reopen(folder)
    if len(uids) == 1:
        raise breaks[-1]
    middle = len(uids) // 2
    wire, some = describe_page(wire, folder, uids[:middle], reopen, breaks)
    wire, others = describe_page(wire, folder, uids[middle:], reopen, breaks)
    return wire, some + others


def _pages(uids: list[int]) -> Iterator[list[int]]:
    """Yield the pages of a listing, short ones first: a server may read whole messages for their
    sizes, and while the next page is listed there are messages to understand and to store."""
    start, size = 0, _FIRST_PAGE
    while page := uids[start : start + size]:
        yield page
        start, size = start + size, min(2 * size, LISTING_PAGE)


class FolderFetch:
    """Retrieves what is wanted of one folder, over a wire on which that folder is open."""

    def __init__(
        self,
        wire: Wire,
        folder: Folder,
        limits: Limits,
        wanted: Wanted,
        reopen: Reopen,
    ) -> None:
        self._wire, self._folder, self._reopen = wire, folder, reopen
        self._limits, self._wanted = limits, wanted
        self._bounds = Bounds(limits.spool_above, limits.max_message_bytes)
        self._doing = f"read messages of the folder {folder.name}"

    def run(self, first: int) -> Iterator[Item | Reached]:
        """Yield messages from the UID `first` on, ascending, and after each page how far it got."""
        uids = search_uids(self._wire, self._folder, first)
        for page in _pages(uids):
            self._wire, described = describe_page(self._wire, self._folder, page, self._reopen)
            listed = dict(described)
            chosen = set(self._wanted(list(listed.values()))) if listed else set()
            yield from self._download(
                {uid: item for uid, item in listed.items() if item.ref in chosen}
            )
            yield Reached(page[-1] + 1)

    def _download(self, listed: dict[int, Listed]) -> Iterator[Item]:
        small: dict[int, Listed] = {}
        for uid, item in listed.items():
            if item.size is not None and item.size > self._limits.max_message_bytes:
                yield Oversized(item.ref, item.size, item.received_at)
            else:
                small[uid] = item
        for batch in self._limits.batches(small.items(), lambda one: one[1].size or 0):
            yield from self._fetch_batch(dict(batch))

    def _fetch_batch(self, batch: dict[int, Listed]) -> Iterator[Item]:
        """Fetch with one command; what did not come is looked at once more, one by one."""
        left = dict(batch)
        try:
            yield from self._receive(left)
        except Refused as refused:
            self._raise_if_passing(refused)
        except TransientError as error:
            if not left:
                raise
            self._go_on_after(error)
        yield from self._fetch_one_by_one(left)

    def _fetch_one_by_one(self, left: dict[int, Listed]) -> Iterator[Item]:
        """Fetch what a batch left; a message that ends every session must not stop the mailbox.

        Dovecot (2.3) says BYE when it cannot read a message's file. A connection that just breaks
        may be the network's fault, so such a message counts as unreadable only once a later one
        was fetched, and only a few in a row.
        """
        suspects: list[Unavailable] = []
        for uid, item in list(left.items()):
            try:
                yield from self._fetch_again_after_break(uid, item)
            except TransientError as error:
                suspects.append(self._unavailable(item, error.sentence))
                if not isinstance(error.__cause__, SaidGoodbye) and len(suspects) > _MOST_SUSPECTS:
                    raise
                last = error
                self._go_on_after(error)
                if not isinstance(error.__cause__, SaidGoodbye):
                    continue
            yield from suspects
            suspects.clear()
        if suspects:
            raise last

    def _fetch_again_after_break(self, uid: int, item: Listed) -> Iterator[Item]:
        """Fetch one message; once more where the session ended over it: while Dovecot repairs its
        index, for the sake of another message, it ends every session, and a network breaks some."""
        came = False
        try:
            for one in self._fetch_alone(uid, item):
                came = True
                yield one
        except TransientError as error:
            self._go_on_after(error)
            if not came:
                yield from self._fetch_alone(uid, item)

    def _go_on_after(self, error: TransientError) -> None:
        """Open a new session after one that broke.

        :raises TransientError: it was no mere break, or there is no new session
        """
        if error.code is not codes.CONNECTION_LOST:
            raise error
        self._wire = self._reopen(self._folder)

    def _receive(self, left: dict[int, Listed]) -> Iterator[Item]:
        """Yield what the server hands out of `left`, and take that out of `left`."""
        command = b"UID FETCH %s (UID BODY.PEEK[])" % uid_set(left)
        for answer in self._wire.run(command, self._doing, bounds=self._bounds):
            uid, body = parse_body(answer)
            item = left.get(uid) if uid is not None else None
            if body is None or item is None or uid is None:
                _discard(answer)
                continue
            del left[uid]
            if isinstance(body, Skipped):
                yield Oversized(item.ref, body.size, item.received_at)
            else:
                yield Fetched(item.ref, body, item.received_at)

    def _fetch_alone(self, uid: int, item: Listed) -> Iterator[Item]:
        reason = "it gave no content"
        left = {uid: item}
        try:
            yield from self._receive(left)
        except Refused as refused:
            self._raise_if_passing(refused)
            reason = refused.text or "it gave no reason"
        if left and self._is_there(uid):
            yield self._unavailable(item, reason)

    def _is_there(self, uid: int) -> bool:
        answers = self._wire.must(b"UID FETCH %d (UID)" % uid, self._doing)
        return any(parse_uid(answer.text) == uid for answer in answers)

    def _raise_if_passing(self, refused: Refused) -> None:
        """Raise where the refusal is about the session; SERVERBUG may be about one message."""
        if refused.code == "SERVERBUG":
            return
        sentence = self._wire.explain(refused, self._doing).sentence
        if known := explain_code(refused, sentence):
            raise known from refused

    def _unavailable(self, item: Listed, reason: str) -> Unavailable:
        where = f"{self._wire.line.where}, folder {self._folder.name}"
        error = TransportError(codes.MESSAGE_UNREADABLE, f"{where}: not readable: {reason}")
        return Unavailable(item.ref, error, item.received_at, item.size)


def parse_body(answer: Answer) -> tuple[int | None, Literal | None]:
    """Return UID and content of a FETCH answer; no content where the server gave NIL or none."""
    match = _BODY.search(answer.text)
    if match is None:
        return parse_uid(answer.text), None
    without = answer.text[: match.start()] + answer.text[match.end() :]
    return parse_uid(without), _content(match[1], answer.literals)


def _content(written: bytes, literals: Sequence[Literal]) -> Literal | None:
    if written.upper() == b"NIL":
        return None
    if written.startswith(b"{"):
        return literals[0] if len(literals) == 1 else None
    return re.sub(rb"\\(.)", rb"\1", written[1:-1], flags=re.S)


def _discard(answer: Answer) -> None:
    for literal in answer.literals:
        if isinstance(literal, Spool):
            literal.close()
