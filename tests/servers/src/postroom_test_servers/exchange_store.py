"""What the stand-in of Exchange keeps: mailboxes, folders, items, and the log of their changes.

Ids are those of one place: a moved item gets another. The bytes that are served are rebuilt.
"""

from __future__ import annotations

import base64
import email
import email.policy
import email.utils
import hashlib
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from postroom_test_servers.exchange_mime import rebuild
from postroom_test_servers.exchange_soap import Refused

WELL_KNOWN: Final = {
    "msgfolderroot": "Top of Information Store", "inbox": "Inbox", "drafts": "Drafts",
    "sentitems": "Sent Items", "deleteditems": "Deleted Items", "outbox": "Outbox",
    "junkemail": "Junk Email", "calendar": "Calendar", "contacts": "Contacts", "tasks": "Tasks",
}  # fmt: skip
_CLASSES: Final = {"calendar": "IPF.Appointment", "contacts": "IPF.Contact", "tasks": "IPF.Task"}
_numbers = itertools.count(1)


def _new_id(*parts: object) -> str:
    seed = repr((next(_numbers), *parts)).encode()
    digest = hashlib.sha512(seed).digest() + hashlib.sha384(seed).digest()
    return "AAMk" + base64.b64encode(digest[:111]).decode()


@dataclass(eq=False)
class Folder:
    """A folder; `name` is also its path's last part."""

    name: str
    parent: Folder | None = None
    distinguished: str = ""
    kind: str = "IPF.Note"
    id: str = field(default_factory=lambda: _new_id("folder"))
    change_key: int = 1


@dataclass(eq=False)
class Item:
    """A message in one place."""

    folder: Folder
    mime: bytes = field(repr=False)
    received_at: datetime
    number: int = 0
    """Grows with arrival in the folder, as PR_INTERNET_ARTICLE_NUMBER."""
    is_read: bool = False
    is_draft: bool = False
    id: str = field(default_factory=lambda: _new_id("item"))
    change_key: int = 1
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    extended: dict[str, Any] = field(default_factory=dict)
    is_unreadable: bool = False

    def __post_init__(self) -> None:
        head = self.mime.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        self.header = email.message_from_bytes(head, policy=email.policy.compat32)
        self.digest = hashlib.sha256(self.mime).hexdigest()

    @property
    def key(self) -> str:
        """The ChangeKey."""
        return base64.b64encode(b"CQAAAB" + self.change_key.to_bytes(4, "big")).decode()

    def addresses(self, name: str) -> list[tuple[str, str]]:
        """Return names and addresses in a header field."""
        return email.utils.getaddresses([str(one) for one in self.header.get_all(name, [])])


@dataclass(frozen=True)
class _Change:
    number: int
    folder: Folder
    kind: str
    item_id: str


Synced = tuple[list[tuple[str, str]], str, bool]


class Mailbox:
    """One mailbox. Every method is to be called under `lock`, which notifies of changes."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lock = threading.Condition(threading.RLock())
        self.items: dict[str, Item] = {}
        self.changes: list[_Change] = []
        self.epoch = 1
        """Sync states of another epoch are invalid."""
        self.is_full = False
        self.root = Folder("Root", distinguished="root")
        self.folders: dict[str, Folder] = {}
        self._add(self.root)
        top = self._add(Folder(WELL_KNOWN["msgfolderroot"], self.root, "msgfolderroot"))
        for name, shown in WELL_KNOWN.items():
            if name != "msgfolderroot":
                self._add(Folder(shown, top, name, _CLASSES.get(name, "IPF.Note")))

    def _add(self, folder: Folder) -> Folder:
        self.folders[folder.id] = folder
        return folder

    # ------------------------------------------------------------------ folders

    def well_known(self, name: str) -> Folder:
        """Return a folder by its distinguished name."""
        for folder in self.folders.values():
            if folder.distinguished == name:
                return folder
        raise Refused("ErrorFolderNotFound", f"There is no folder {name} in this stand-in.")

    def folder(self, path: str, *, make: bool = True) -> Folder:
        """Return a folder by its path under the top, made if it is missing."""
        found = self.well_known("msgfolderroot")
        for name in path.split("/"):
            found = self._child(found, name) or self.create_folder(found, name)
        return found

    def _child(self, parent: Folder, name: str) -> Folder | None:
        return next((one for one in self.children(parent) if one.name == name), None)

    def children(self, parent: Folder, *, deep: bool = False) -> Iterator[Folder]:
        """Yield the folders under one."""
        for folder in list(self.folders.values()):
            if folder.parent is parent:
                yield folder
                if deep:
                    yield from self.children(folder, deep=True)

    def create_folder(self, parent: Folder, name: str, kind: str = "IPF.Note") -> Folder:
        """Make a folder."""
        if self._child(parent, name):
            raise Refused("ErrorFolderExists", "A folder with the specified name already exists.")
        return self._add(Folder(name, parent, kind=kind))

    def remove_folder(self, folder: Folder) -> None:
        """Remove a folder with what is in it."""
        for item in list(self.items_in(folder)):
            self.remove(item)
        del self.folders[folder.id]

    # ------------------------------------------------------------------ items

    def items_in(self, folder: Folder) -> Iterator[Item]:
        """Yield what is in a folder, oldest first."""
        return (item for item in list(self.items.values()) if item.folder is folder)

    def deliver(
        self, raw: bytes, received_at: datetime | None = None, *, folder: str = "inbox"
    ) -> Item:
        """Receive a message; what is served from now on is in `Item.mime`."""
        with self.lock:
            place = self.well_known(folder) if folder in WELL_KNOWN else self.folder(folder)
            served = rebuild(raw, salt=self.address)
            return self.add(place, served, received_at or datetime.now(UTC))

    def add(self, folder: Folder, mime: bytes, received_at: datetime, **more: Any) -> Item:
        """Put an item into a folder, its bytes as they are."""
        item = Item(folder, mime, received_at, number=next(_numbers), **more)
        self.items[item.id] = item
        self.note(folder, "Create", item.id)
        return item

    def move(self, item: Item, folder: Folder) -> Item:
        """Move an item: it is another one then."""
        self.remove(item)
        return self.add(
            folder, item.mime, item.received_at, is_read=item.is_read,
            is_draft=item.is_draft, extended=dict(item.extended), created_at=item.created_at,
            is_unreadable=item.is_unreadable,
        )  # fmt: skip

    def remove(self, item: Item) -> None:
        """Remove an item for good."""
        if self.items.pop(item.id, None) is None:
            raise Refused("ErrorItemNotFound", "The specified object was not found in the store.")
        self.note(item.folder, "Delete", item.id)

    def touch(self, item: Item, kind: str = "Update") -> None:
        """Note that an item was changed."""
        item.change_key += 1
        item.modified_at = datetime.now(UTC)
        self.note(item.folder, kind, item.id)

    def note(self, folder: Folder, kind: str, item_id: str) -> None:
        """Add to the log of changes, and wake who waits for them."""
        with self.lock:
            self.changes.append(_Change(len(self.changes) + 1, folder, kind, item_id))
            self.lock.notify_all()

    def reset_ids(self) -> None:
        """Give everything another id, as a mailbox that was restored or moved has."""
        with self.lock:
            items, self.items = list(self.items.values()), {}
            for item in items:
                item.id = _new_id("item")
                self.items[item.id] = item
            self.epoch += 1

    # ------------------------------------------------------------------ SyncFolderItems

    def sync(self, folder: Folder, state: str, most: int) -> Synced:
        """Return changes (kind and item id), the new state, and whether that was all.

        A first synchronisation tells the newest first, as Exchange does.
        """
        mark = self._read_state(folder, state) if state else self._first_mark()
        if mark["below"] is not None:
            return self._sync_first(folder, mark, most)
        return self._sync_changes(folder, mark, most)

    def _first_mark(self) -> dict[str, Any]:
        return {"seen": len(self.changes), "below": 1 << 62}

    def _read_state(self, folder: Folder, state: str) -> dict[str, Any]:
        try:
            mark: dict[str, Any] = json.loads(base64.b64decode(state))
        except ValueError:
            mark = {}
        if mark.get("folder") != folder.id or mark.get("epoch") != self.epoch:
            raise Refused("ErrorInvalidSyncStateData", "Synchronization state data is corrupt.")
        return mark

    def _state(self, folder: Folder, seen: int, below: int | None) -> str:
        mark = {"folder": folder.id, "epoch": self.epoch, "seen": seen, "below": below}
        return base64.b64encode(json.dumps(mark).encode()).decode()

    def _sync_first(self, folder: Folder, mark: dict[str, Any], most: int) -> Synced:
        items = [one for one in self.items_in(folder) if one.number < mark["below"]]
        items.sort(key=lambda one: -one.number)
        page, is_last = items[:most], len(items) <= most
        below = None if is_last else page[-1].number
        changes = [("Create", one.id) for one in page]
        return changes, self._state(folder, mark["seen"], below), is_last

    def _sync_changes(self, folder: Folder, mark: dict[str, Any], most: int) -> Synced:
        found: dict[str, str] = {}
        seen = mark["seen"]
        for change in self.changes[mark["seen"] :]:
            if change.folder is folder:
                if change.item_id not in found and len(found) == most:
                    return list(_pairs(found)), self._state(folder, seen, None), False
                kind = change.kind
                if found.get(change.item_id) == "Create" and kind != "Delete":
                    kind = "Create"
                found[change.item_id] = kind
            seen = change.number
        return list(_pairs(found)), self._state(folder, seen, None), True


def _pairs(found: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((kind, item_id) for item_id, kind in found.items())
