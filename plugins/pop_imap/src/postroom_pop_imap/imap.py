"""The IMAP receiver: one session, one connection, opened when it is first needed."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from postroom.api import (
    Checkpoint,
    CheckStep,
    Context,
    Disposition,
    Limits,
    Listed,
    Receiver,
    SettingsError,
    Settled,
    TransportError,
    Unsettled,
)
from postroom.api.transport import Delivery, Wanted

from postroom_pop_imap.errors import Refused
from postroom_pop_imap.imap_connect import open_wire
from postroom_pop_imap.imap_fetch import FolderFetch, Reached, describe_page
from postroom_pop_imap.imap_folders import (
    LISTING_PAGE,
    Folder,
    open_folder,
    reopen_folder,
    search_uids,
)
from postroom_pop_imap.imap_names import Progress, format_cursor, parse_cursor
from postroom_pop_imap.imap_settle import Settlement
from postroom_pop_imap.imap_wire import Answer, Wire
from postroom_pop_imap.line import Line
from postroom_pop_imap.settings import ImapSettings

REISSUE_SECONDS: Final = 9 * 60
"""Routers and some servers forget a silent connection long before IDLE's 29 minutes."""
_NEWS = re.compile(rb"\d+ (EXISTS|RECENT)\b", re.I)


class ImapReceiver(Receiver):
    """Retrieves from the folders of one account."""

    def __init__(self, settings: ImapSettings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._line = Line(settings.host, settings.effective_port(), settings.timeout_seconds)
        self._opened: Wire | None = None
        self._waits_on: Wire | None = None
        """On it the folder to wait for is open: opening it anew would swallow the news since."""

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Retrieve folder by folder; one that is missing is reported after the others."""
        before, progress = parse_cursor(cursor), dict[str, Progress]()
        trouble: SettingsError | None = None
        for name in self._settings.folders:
            wire = self._wire()
            try:
                folder = open_folder(wire, name)
            except SettingsError as error:
                trouble = trouble or error
                continue
            first = _first_uid(before.get(folder.name), folder)
            progress[folder.name] = Progress(folder.validity, first)
            for item in FolderFetch(wire, folder, limits, wanted, self._reopen).run(first):
                if isinstance(item, Reached):
                    progress[folder.name] = Progress(folder.validity, item.uid)
                    yield Checkpoint(format_cursor({**before, **progress}))
                else:
                    yield item
        yield Checkpoint(format_cursor(progress))
        if trouble:
            raise trouble

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Apply the disposition folder by folder."""
        if disposition.action == "leave":
            yield from (Settled(ref) for ref in refs)
        elif refs:
            yield from Settlement(self._wire, disposition, self._settings.folders).run(refs)

    def list_refs(self) -> Iterator[Listed]:
        """Yield what the folders hold, in the order of the settings and of the UIDs."""
        for name in self._settings.folders:
            wire = self._wire()
            folder = open_folder(wire, name)
            uids = search_uids(wire, folder, 1)
            for start in range(0, len(uids), LISTING_PAGE):
                uid_page = uids[start : start + LISTING_PAGE]
                wire, page = describe_page(wire, folder, uid_page, self._reopen)
                yield from (item for _, item in page)

    def wait(self, timeout: float) -> bool:
        """Wait for news in the first folder with IDLE (RFC 2177), else just wait."""
        deadline = time.monotonic() + timeout
        if self._waits_on is None or not self._waits_on.usable:
            wire = self._wire()
            open_folder(wire, self._settings.folders[0])
            self._waits_on = wire
        wire = self._waits_on
        if not wire.has("IDLE"):
            self._line.interrupted.wait(timeout)
            return True
        while (left := deadline - time.monotonic()) > 0:
            if self._idle(wire, min(left, REISSUE_SECONDS)):
                return True
        return False

    def _idle(self, wire: Wire, seconds: float) -> bool:
        try:
            return wire.idle(seconds, _is_news)
        except Refused as refused:
            raise wire.explain(refused, "wait for news") from refused

    def check(self) -> Iterator[CheckStep]:
        """Connect, log in, open each folder to read and to write."""
        from postroom_pop_imap.imap_check import check_steps

        yield from check_steps(self._settings, self._connect)

    def interrupt(self) -> None:
        """Break the connection."""
        self._line.interrupt()

    def close(self) -> None:
        """Say goodbye where the connection is in order, and close it."""
        wire, self._opened = self._opened, None
        try:
            if wire is not None and wire.usable:
                self._line.hurry()
                with contextlib.suppress(TransportError):
                    self._line.send(b"bye LOGOUT\r\n")
        finally:
            self._line.close()

    def _wire(self) -> Wire:
        """Return the connection, made anew where the last one broke or was left half read."""
        self._waits_on = None
        if self._opened is None or not self._opened.usable:
            self._opened = self._connect()
        return self._opened

    def _reopen(self, folder: Folder) -> Wire:
        """Return a connection on which the folder is open again."""
        wire = self._wire()
        reopen_folder(wire, folder)
        return wire

    def _connect(self, report: Callable[[str], None] = lambda _: None) -> Wire:
        self._opened = None
        self._line.close()
        return open_wire(self._settings, self._context, self._line, report)


def _is_news(answer: Answer) -> bool:
    return _NEWS.match(answer.text) is not None


def _first_uid(before: Progress | None, folder: Folder) -> int:
    """Return where to go on. A new UIDVALIDITY makes every message a new one; and where UIDNEXT is
    lower than what was seen, the server was restored from a backup, and gives out UIDs again."""
    if before is None or before.validity != folder.validity:
        return 1
    if folder.next_uid is not None and folder.next_uid < before.next_uid:
        return 1
    return max(1, before.next_uid)
