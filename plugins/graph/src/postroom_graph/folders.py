"""Folders by well-known name or by path of display names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from postroom.api import Problem, SettingsError, TransientError, codes

from postroom_graph.client import Client, Request
from postroom_graph.errors import GraphError

# https://learn.microsoft.com/graph/api/resources/mailfolder
WELL_KNOWN: Final = frozenset(
    "archive clutter conflicts conversationhistory deleteditems drafts inbox junkemail "
    "localfailures msgfolderroot outbox recoverableitemsdeletions scheduled searchfolders "
    "sentitems serverfailures syncissues".split()
)
_PAGE: Final = "250"
_EXISTS: Final = frozenset(("errorfolderexists", "namealreadyexists"))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: its name in the settings and what stands for it in a URL, an id or a name that
    Graph knows."""

    name: str
    id: str

    @property
    def path(self) -> str:
        """The path of the folder below the mailbox."""
        return f"/mailFolders/{quote(self.id, safe='')}"


def missing(client: Client, name: str) -> SettingsError:
    """Return the error for a folder that is not there."""
    sentence = f"The mailbox {client.mailbox} at {client.where} has no folder {name}."
    problem = Problem("folders", f"there is no folder {name}")
    return SettingsError(codes.FOLDER_MISSING, sentence, problems=[problem])


class Folders:
    """Looks folders up, and makes them. What it finds it remembers for the session."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ids: dict[str, str] = {}

    def find(self, name: str) -> Folder:
        """Return a folder; one with a well-known name is not asked for, it costs no request.

        :raises SettingsError: it is not there
        """
        if name.casefold() in WELL_KNOWN:
            return Folder(name, name.casefold())
        found = self.by_path(name)
        if found is None:
            raise missing(self._client, name)
        return Folder(name, found)

    def id_of(self, name: str) -> str | None:
        """Return a folder's real id, None if it is not there."""
        key = name.casefold()
        if self._well_known(key) is None and key not in self._ids and (found := self.by_path(name)):
            self._ids[key] = found
        return self._ids.get(key)

    def ensure(self, name: str) -> str:
        """Return a folder's id; what is missing on the path to it is made."""
        found = self.id_of(name)
        if found is None:
            parent, parts = self._start(_parts(name))
            for part in parts:
                parent = self._child(parent, part) or self._make(parent, part)
            found = self._ids[name.casefold()] = parent or ""
        return found

    def _well_known(self, name: str) -> str | None:
        """Return the id of a folder with a well-known name; None: no such name, or no folder."""
        if name in WELL_KNOWN and name not in self._ids:
            try:
                found = self._client.get(f"/mailFolders/{name}", select="id,displayName")
                self._ids[name] = _id_of(found)
            except GraphError as error:
                if not error.is_missing:
                    raise
        return self._ids.get(name) if name in WELL_KNOWN else None

    def by_path(self, name: str) -> str | None:
        """Return the id of the folder at a path of display names.

        A name may hold slashes itself: shorter names are tried first, then longer ones.
        """
        parent, parts = self._start(_parts(name))
        return self._walk(parent, parts)

    def _start(self, parts: Sequence[str]) -> tuple[str | None, Sequence[str]]:
        """Return where a path begins: at a well-known folder that there is, or at the top."""
        if len(parts) > 1 and (found := self._well_known(parts[0].casefold())):
            return found, parts[1:]
        return None, parts

    def _walk(self, parent: str | None, parts: Sequence[str]) -> str | None:
        children = self._children(parent)
        for count in range(1, len(parts) + 1):
            child = _match(children, "/".join(parts[:count]))
            if child is not None and count < len(parts):
                child = self._walk(child, parts[count:])
            if child is not None:
                return child
        return None

    def _child(self, parent: str | None, name: str) -> str | None:
        return _match(self._children(parent), name)

    def _children(self, parent: str | None) -> list[tuple[str, str]]:
        """Return names and ids of the folders in a folder; of those at the top for None."""
        url: str | None = self._client.url(_below(parent), select="id,displayName", top=_PAGE)
        found: list[tuple[str, str]] = []
        while url is not None:
            try:
                page = self._client.ask_json(Request("GET", url))
            except GraphError as error:
                if error.is_missing and not found:
                    return []
                raise
            for one in page.get("value") or ():
                found.append((str(one.get("displayName") or ""), _id_of(one)))
            following = page.get("@odata.nextLink")
            url = self._client.follow(following, url) if following else None
        return found

    def _make(self, parent: str | None, name: str) -> str:
        request = self._client.post(_below(parent), {"displayName": name})
        try:
            return _id_of(self._client.ask_json(request))
        except GraphError as error:
            if error.status != 409 and not error.says(_EXISTS):
                raise
            if (found := self._child(parent, name)) is not None:
                return found  # another client was faster
            raise


def _below(parent: str | None) -> str:
    if parent is None:
        return "/mailFolders"
    return f"/mailFolders/{quote(parent, safe='')}/childFolders"


def _parts(name: str) -> list[str]:
    return name.strip("/").split("/")


def _match(children: Sequence[tuple[str, str]], name: str) -> str | None:
    """Return the id of the child with that name; Exchange ignores case, an exact one is better."""
    for one, found in children:
        if one == name:
            return found
    folded = name.casefold()
    return next((found for one, found in children if one.casefold() == folded), None)


def _id_of(folder: dict[str, Any]) -> str:
    found = folder.get("id")
    if not isinstance(found, str) or not found:
        raise TransientError(codes.PROTOCOL, "Graph described a folder without an id.")
    return found
