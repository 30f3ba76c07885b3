"""What is in a folder, by SyncFolderItems; and the cursor that goes on from there.

A synchronisation tells the newest first, so everything is listed before the oldest is handed on;
only what is new since a state was given is listed the next time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from exchangelib import errors as ews
from postroom.api import Listed, TransientError, codes

from postroom_ews.elements import NAMES, Element, M, T, fields, id_under, instant, is_true, text
from postroom_ews.exchange import Exchange, failure
from postroom_ews.folders import Folder, Folders

_MOST_CHANGES: Final = 512
_AT_ONCE: Final = 20_000
"""So many changes are sorted at once: bounds memory in a mailbox of any size."""
_LONGEST_CURSOR: Final = 60 << 10
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_DATED: Final = ("item:DateTimeReceived", "item:Size", "item:DateTimeCreated")


@dataclass(frozen=True, slots=True)
class Found:
    """An item that a listing shows. `size` is what it takes up on the server, not its bytes."""

    ref: str
    received_at: datetime | None
    size: int | None

    def listed(self) -> Listed:
        """Return it without the size, which changes with every category that people set."""
        return Listed(self.ref, self.received_at)


@dataclass(slots=True)
class Part:
    """A part of a folder's changes, and the state after it."""

    found: list[Found]
    state: str


@dataclass(slots=True)
class _Page:
    found: list[Found] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    state: str = ""
    is_last: bool = True


class _StateLostError(Exception):
    """The server does not know a sync state any more."""


class Listing:
    """Lists folders of one mailbox."""

    def __init__(self, exchange: Exchange, folders: Folders) -> None:
        self._exchange, self._folders = exchange, folders

    def parts(self, folder: Folder, state: str | None) -> Iterator[Part]:
        """Yield what came since a state, the oldest first; everything if the state is unusable."""
        try:
            yield from self._parts(folder, state)
            return
        except _StateLostError as error:
            self._exchange.context.logger.info("The list of %s begins anew: %s", folder.name, error)
        try:
            yield from self._parts(folder, None)
        except _StateLostError as error:
            sentence = f"{self._exchange.explainer.where} forgets how far {folder.name} was listed."
            raise TransientError(codes.PROTOCOL, sentence) from error

    def _parts(self, folder: Folder, state: str | None) -> Iterator[Part]:
        is_first, is_last, is_begun = not state, False, False
        while not is_last:
            collected: dict[str, Found] = {}
            while not is_last and len(collected) < _AT_ONCE:
                page = self._page(folder, state, is_begun=is_begun)
                collected.update((one.ref, one) for one in page.found)
                for ref in page.gone:
                    collected.pop(ref, None)
                is_last = page.is_last
                if not is_last and page.state == state:
                    sentence = f"{self._exchange.explainer.where} lists {folder.name} without end."
                    raise TransientError(codes.PROTOCOL, sentence)
                state = page.state
            found = list(collected.values())
            if is_first:
                found.reverse()  # of one second, too, the oldest first
            found.sort(key=lambda one: one.received_at or _FIRST)
            is_begun = True
            yield Part(found, state or "")

    def _page(self, folder: Folder, state: str | None, *, is_begun: bool) -> _Page:
        """Return a page.

        :param is_begun: a part was handed on already, so beginning anew has to wait
        :raises _StateLostError: the server does not take the state
        """
        doing = f"list the folder {folder.name}"
        messages = self._exchange.call("SyncFolderItems", self._payload(folder, state), doing)
        error = failure(messages[0]) if messages else ews.MalformedResponseError("no answer")
        if error is None:
            return _read_page(messages[0])
        if state and isinstance(error, _STATE_ERRORS):
            if is_begun:
                sentence = f"{self._exchange.explainer.where} lost how far {folder.name} was read."
                raise TransientError(codes.PROTOCOL, sentence) from error
            raise _StateLostError(type(error).__name__) from error
        raise self._exchange.explain(error, doing) from error

    def _payload(self, folder: Folder, state: str | None) -> Element:
        return M.SyncFolderItems(
            M.ItemShape(T.BaseShape("IdOnly"), fields(*_DATED)),
            M.SyncFolderId(self._folders.element(folder)),
            *([M.SyncState(state)] if state else []),
            M.MaxChangesReturned(str(_MOST_CHANGES)),
        )


_STATE_ERRORS: Final = (
    ews.ErrorInvalidSyncStateData,
    ews.ErrorSyncFolderNotFound,
)


def _read_page(message: Element) -> _Page:
    page = _Page(state=text(message, "m:SyncState"))
    page.is_last = is_true(text(message, "m:IncludesLastItemInRange"), default=True)
    for change in message.findall("m:Changes/*", NAMES):
        kind = change.tag.rpartition("}")[2]
        if kind == "Delete":
            page.gone.add(id_under(change, "t:ItemId") or "")
        elif kind in ("Create", "Update") and (found := _found(change)) is not None:
            page.gone.discard(found.ref)
            page.found.append(found)
    return page


def _found(change: Element) -> Found | None:
    """Return the item of a change, whatever kind of item it is."""
    ref = id_under(change, "*/t:ItemId")
    if not ref:
        return None
    dates = (text(change, f"*/t:{name}") for name in ("DateTimeReceived", "DateTimeCreated"))
    received = next(filter(None, map(instant, dates)), None)
    size = text(change, "*/t:Size")
    return Found(ref, received, int(size) if size.isdigit() else None)


# ---------------------------------------------------------------------------- the cursor


def parse_cursor(cursor: str | None, address: str) -> dict[str, str]:
    """Return states by folder; none if the cursor is unusable or another mailbox's."""
    try:
        values = json.loads(cursor or "{}")
        if values.get("mailbox") != address.lower():
            return {}
        states = values["folders"]
        return {name: state for name, state in states.items() if isinstance(state, str)}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def format_cursor(address: str, states: dict[str, str]) -> str:
    """Return a cursor of at most 60 KiB: the longest states are left out if it has to be."""
    kept = dict(states)
    while True:
        cursor = json.dumps({"mailbox": address.lower(), "folders": kept})
        if len(cursor) <= _LONGEST_CURSOR or not kept:
            return cursor
        del kept[max(kept, key=lambda name: len(kept[name]))]
