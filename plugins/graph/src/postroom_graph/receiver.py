"""The receiver: lists folders by delta queries, downloads what is wanted, settles."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
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
    Unsettled,
)
from postroom.api.transport import Delivery, Wanted

from postroom_graph.client import Client
from postroom_graph.cursor import Progress, Reached, format_cursor, parse_cursor
from postroom_graph.download import Downloads
from postroom_graph.errors import GraphError
from postroom_graph.folders import Folder, Folders, missing
from postroom_graph.listing import Item, Page, describe, list_pages
from postroom_graph.settings import GraphReceiverSettings
from postroom_graph.settlement import Settlement

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 15.0
"""Seconds between two looks while waiting: 40 requests in the 10 minutes that allow 10,000."""
_CLOCKS_APART: Final = timedelta(hours=1)


class GraphReceiver(Receiver):
    """Retrieves from the folders of one mailbox."""

    def __init__(self, settings: GraphReceiverSettings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._client = Client(settings, context)
        self._folders = Folders(self._client)
        self._watch: str | None = None

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Retrieve folder by folder; one that is missing is reported after the others."""
        base = self._client.base
        before, progress = parse_cursor(cursor, base), Progress()
        downloads, seen = Downloads(self._client, limits), set[int]()
        trouble: SettingsError | None = None
        for name in self._settings.folders:
            try:
                folder = self._find(name)
                for page in self._pages(folder, before.pop(name, None)):
                    with self._client.doing(f"list the folder {name}"):
                        chosen = self._choose(_new(page.items, seen), wanted)
                    yield from downloads.run(chosen)
                    progress.pop(name, None)
                    if page.link is not None:
                        progress[name] = Reached(folder.id, page.link)
                    yield Checkpoint(format_cursor({**before, **progress}, base))
            except _FolderMissingError as error:
                trouble = trouble or error.explained
        yield Checkpoint(format_cursor(progress, base))
        if trouble:
            raise trouble

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Apply the disposition; an immutable id stays the message's through all of them."""
        if disposition.action == "leave":
            yield from (Settled(ref) for ref in refs)
        elif refs:
            with self._client.doing(f"find the folder {disposition.folder}"):
                settlement = Settlement(
                    self._client, self._folders, disposition, self._settings.folders
                )
            yield from settlement.run(refs)

    def list_refs(self) -> Iterator[Listed]:
        """Yield what the folders hold, by a new round of delta queries.

        Not by a plain listing: its pages are counted off, and shift while messages go.
        """
        seen = set[int]()
        for name in self._settings.folders:
            try:
                for page in self._pages(self._find(name), None):
                    with self._client.doing(f"list the folder {name}"):
                        items = [self._dated(item) for item in _new(page.items, seen)]
                    yield from (Listed(item.ref, item.received_at) for item in items if item)
            except _FolderMissingError as error:
                raise error.explained from error

    def wait(self, timeout: float) -> bool:
        """Look for news in the first folder every few seconds: an empty look is one request."""
        deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
        if self._watch is None:
            self._look()
        while (left := deadline - time.monotonic()) > 0:
            if self._client.interrupted.wait(min(pause, left)):
                raise self._client.interruption()
            if self._look():
                return True
            pause = min(pause * 2, _LONGEST_PAUSE)
        return False

    def check(self) -> Iterator[CheckStep]:
        """Get a token; look at the mailbox and its folders; try reading and writing."""
        from postroom_graph.check import receiver_steps

        yield from receiver_steps(self._client, self._folders, self._settings.folders)

    def interrupt(self) -> None:
        """Break the connections."""
        self._client.interrupt()

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _find(self, name: str) -> Folder:
        with self._client.doing(f"find the folder {name}"):
            try:
                return self._folders.find(name)
            except SettingsError as error:
                raise _FolderMissingError(error) from error

    def _pages(self, folder: Folder, reached: Reached | None) -> Iterator[Page]:
        link = None
        if reached is not None and reached.folder_id == folder.id:
            link = reached.link if self._client.is_ours(reached.link) else None
        try:
            yield from list_pages(self._client, folder, link)
        except GraphError as error:
            if error.is_missing:
                raise _FolderMissingError(missing(self._client, folder.name)) from error
            raise self._client.explained(error, f"list the folder {folder.name}") from error

    def _choose(self, items: list[Item], wanted: Wanted) -> list[Item]:
        """Return what is wanted, in order; what came without a date is asked about again with."""
        chosen = _ask(items, wanted)
        if all(item.received_at for item in chosen):
            return chosen
        dated = [(item, self._dated(item)) for item in chosen]
        again = _ask([new for old, new in dated if new and not old.received_at], wanted)
        refs = {item.ref for item in again}
        return [new for old, new in dated if new and (old.received_at or new.ref in refs)]

    def _dated(self, item: Item) -> Item | None:
        """Return the item with its date, None if it is gone: a delta may name what changed only."""
        return item if item.received_at else describe(self._client, item.ref)

    def _look(self) -> bool:
        """Say whether something came since the last look; the first look only begins."""
        folder, is_first = self._find(self._settings.folders[0]), self._watch is None
        since = f"{self._context.now() - _CLOCKS_APART:%Y-%m-%dT%H:%M:%SZ}"
        start = self._client.url(
            f"{folder.path}/messages/delta",
            select="id",
            filter=f"receivedDateTime ge {since}",
        )
        found = 0
        with self._client.doing(f"list the folder {folder.name}"):
            for page in list_pages(self._client, folder, self._watch, start=start):
                found += len(page.items)
                self._watch = page.link
        return found > 0 and not is_first


class _FolderMissingError(Exception):
    def __init__(self, explained: SettingsError) -> None:
        super().__init__(explained.sentence)
        self.explained = explained


def _new(items: list[Item], seen: set[int]) -> list[Item]:
    """Return the items that were not listed yet in this run, and note them."""
    new = []
    for item in items:
        if (mark := hash(item.ref)) not in seen:
            seen.add(mark)
            new.append(item)
    return new


def _ask(items: list[Item], wanted: Wanted) -> list[Item]:
    if not items:
        return []
    chosen: Collection[str] = wanted([Listed(item.ref, item.received_at) for item in items])
    refs = set(chosen)
    return [item for item in items if item.ref in refs]
