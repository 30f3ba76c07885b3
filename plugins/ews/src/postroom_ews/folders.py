"""Folders by well-known name or path of display names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from exchangelib import errors as ews
from postroom.api import SettingsError, codes

from postroom_ews.elements import (
    NAMES,
    Element,
    M,
    T,
    fields,
    id_under,
    is_true,
    text,
)
from postroom_ews.exchange import Exchange, failure, raise_failure

TOP: Final = "msgfolderroot"
WELL_KNOWN: Final = frozenset(
    ("inbox", "drafts", "sentitems", "deleteditems", "junkemail", "outbox", TOP, "archiveinbox",
     "archivemsgfolderroot", "archivedeleteditems", "recoverableitemsdeletions")
)  # fmt: skip
_PAGE: Final = 500


class Folder(NamedTuple):
    """A folder as requests name it."""

    name: str
    """As it stands in the settings."""
    id: str = ""
    """"" for one that is known by its well-known name."""


class Folders:
    """Finds folders of one mailbox; what was found is remembered for the session."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._found: dict[str, Folder] = {}
        self._ids: dict[str, str] = {}

    def element(self, folder: Folder) -> Element:
        """Return what names the folder in a request."""
        if folder.id:
            return T.FolderId(Id=folder.id)
        name = folder.name.lower()
        if self._exchange.settings.impersonates:
            return T.DistinguishedFolderId(Id=name)
        mailbox = T.Mailbox(T.EmailAddress(self._exchange.mailbox))
        return T.DistinguishedFolderId(mailbox, Id=name)

    def find(self, name: str) -> Folder:
        """Return a folder.

        :raises SettingsError: FOLDER_MISSING
        """
        found = self._look_up(name)
        if found is None:
            raise SettingsError(
                codes.FOLDER_MISSING,
                f"{self._exchange.mailbox} has no folder {name} on "
                f"{self._exchange.explainer.where}.",
            )
        return found

    def find_or_make(self, name: str) -> Folder:
        """Return a folder; what is missing of its path is made."""
        found = self._look_up(name)
        if found is not None:
            return found
        here, parts = self._start_of(name)
        for part in parts:
            here = self._child(here, part) or self._make(here, part)
        self._found[name] = here
        return here

    def id_of(self, folder: Folder) -> str:
        """Return the folder's id, asked for where only its well-known name is known."""
        if folder.id:
            return folder.id
        if folder.name not in self._ids:
            shape = M.FolderShape(T.BaseShape("IdOnly"))
            payload = M.GetFolder(shape, M.FolderIds(self.element(folder)))
            [message] = self._exchange.call("GetFolder", payload, f"open the folder {folder.name}")
            try:
                raise_failure(message)
            except ews.EWSError as error:
                doing = f"open the folder {folder.name}"
                raise self._exchange.explain(error, doing) from error
            self._ids[folder.name] = id_under(message, ".//t:FolderId") or ""
        return self._ids[folder.name]

    def forget(self) -> None:
        """Look everything up anew from now on."""
        self._found.clear()
        self._ids.clear()

    def names(self) -> list[str]:
        """Return the paths of the folders at the top, for whoever looks for one."""
        return [name for name, _ in self._children(Folder(TOP))]

    # ------------------------------------------------------------------ paths

    def _look_up(self, name: str) -> Folder | None:
        if name not in self._found:
            here, parts = self._start_of(name)
            for part in parts:
                child = self._child(here, part)
                if child is None:
                    return None
                here = child
            self._found[name] = here
        return self._found[name]

    @staticmethod
    def _start_of(name: str) -> tuple[Folder, list[str]]:
        first, *rest = name.split("/")
        if first.lower() in WELL_KNOWN:
            return Folder(first.lower()), rest
        return Folder(TOP), [first, *rest]

    def _child(self, parent: Folder, name: str) -> Folder | None:
        """Return a folder in another one, by its name in any case."""
        wanted = name.casefold()
        found = [
            (shown, one) for shown, one in self._children(parent) if shown.casefold() == wanted
        ]
        exact = [one for shown, one in found if shown == name]
        folder_id = exact[0] if exact else found[0][1] if found else None
        return None if folder_id is None else Folder(f"{parent.name}/{name}", folder_id)

    def _children(self, parent: Folder) -> Iterator[tuple[str, str]]:
        offset, is_last = 0, False
        while not is_last:
            payload = M.FindFolder(
                M.FolderShape(T.BaseShape("IdOnly"), fields("folder:DisplayName")),
                M.IndexedPageFolderView(
                    MaxEntriesReturned=str(_PAGE), Offset=str(offset), BasePoint="Beginning"
                ),
                M.ParentFolderIds(self.element(parent)),
                Traversal="Shallow",
            )
            root = self._root_folder(payload, f"list the folders in {parent.name}")
            page = list(root.find("t:Folders", NAMES)) if root is not None else []
            for element in page:
                if folder_id := id_under(element, "t:FolderId"):
                    yield text(element, "t:DisplayName"), folder_id
            offset += len(page)
            last = root.get("IncludesLastItemInRange", "") if root is not None else ""
            is_last = is_true(last, default=True) or not page

    def _root_folder(self, payload: Element, doing: str) -> Element:
        [message] = self._exchange.call("FindFolder", payload, doing)
        if error := failure(message):
            raise self._exchange.explain(error, doing) from error
        return message.find("m:RootFolder", NAMES)

    def _make(self, parent: Folder, name: str) -> Folder:
        doing = f"make the folder {name}"
        made = T.Folder(T.FolderClass("IPF.Note"), T.DisplayName(name))
        payload = M.CreateFolder(M.ParentFolderId(self.element(parent)), M.Folders(made))
        [message] = self._exchange.call("CreateFolder", payload, doing)
        error = failure(message)
        if error is not None and not isinstance(error, ews.ErrorFolderExists):
            raise self._exchange.explain(error, doing) from error
        folder = self._child(parent, name)
        if folder is None:
            sentence = f"{self._exchange.explainer.where} made the folder {name} and hides it."
            raise SettingsError(codes.FOLDER_MISSING, sentence)
        return folder
