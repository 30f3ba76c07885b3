"""Drafts of ours whose making was never confirmed: its answer was lost, or the process died.

Exchange may give a draft another Message-ID. So each one carries a mark of ours, an ``X-`` header,
which Exchange keeps as a property with the header's name (MS-OXCMSG, PS_INTERNET_HEADERS).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from postroom.api import AuthError, SettingsError, TransportError, codes

from postroom_ews.elements import NAMES, Element, M, T, item_ids, text
from postroom_ews.exchange import Exchange, failure
from postroom_ews.folders import Folder, Folders

HEADER: Final = "X-Postroom-Answer"
_MOST: Final = 1000
"""Drafts that are looked at, the newest."""
_NETWORK: Final = (codes.CONNECTION_LOST, codes.TIMEOUT, codes.HOST_UNKNOWN, codes.PORT_REFUSED)


def mark_of(message_id: str) -> str:
    """Return the mark of a draft, which says nothing to others."""
    return hashlib.sha256(message_id.encode()).hexdigest()[:32]


class Leftovers:
    """What lies in Drafts with our mark, looked up once for a session."""

    def __init__(self, exchange: Exchange, folders: Folders) -> None:
        self._exchange, self._folders = exchange, folders
        self._by_mark: dict[str, list[str]] | None = None

    def remove(self, message_id: str) -> None:
        """Throw away the drafts that were made for a message.

        :raises TransportError: the server cannot be asked now
        """
        if self._by_mark is None:
            found = defaultdict[str, list[str]](list)
            for mark, ref in self._marked():
                found[mark].append(ref)
            self._by_mark = found
        if refs := self._by_mark.pop(mark_of(message_id), None):
            payload = M.DeleteItem(item_ids(refs), DeleteType="HardDelete")
            self._exchange.call("DeleteItem", payload, "remove a draft")

    def forget(self) -> None:
        """Look anew the next time: something was made that nobody heard of."""
        self._by_mark = None

    def _marked(self) -> Iterator[tuple[str, str]]:
        for item in self._drafts():
            found, mark = item.find("t:ItemId", NAMES), text(item, "t:ExtendedProperty/t:Value")
            if mark and found is not None and found.get("Id"):
                yield mark, found.get("Id")

    def _drafts(self) -> list[Element]:
        payload = M.FindItem(
            M.ItemShape(T.BaseShape("IdOnly"), T.AdditionalProperties(_property())),
            M.IndexedPageItemView(MaxEntriesReturned=str(_MOST), Offset="0", BasePoint="Beginning"),
            M.SortOrder(
                T.FieldOrder(T.FieldURI(FieldURI="item:DateTimeCreated"), Order="Descending")
            ),
            M.ParentFolderIds(self._folders.element(Folder("drafts"))),
            Traversal="Shallow",
        )
        try:
            [message] = self._exchange.call("FindItem", payload, "list the drafts")
        except (AuthError, SettingsError):
            raise
        except TransportError as error:
            if error.code in _NETWORK or getattr(error, "retry_after", None) is not None:
                raise
            return []  # where this cannot be asked nothing is found
        items = [] if failure(message) else message.findall(".//t:Items/*", NAMES)
        return list(items)


def _property() -> Element:
    return T.ExtendedFieldURI(
        DistinguishedPropertySetId="InternetHeaders", PropertyName=HEADER, PropertyType="String"
    )
