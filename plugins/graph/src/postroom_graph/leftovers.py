"""Drafts of ours whose making was never confirmed: its answer was lost, or the process died.

Exchange may give a draft another Message-ID. So each one carries a mark of ours, an ``X-`` header,
which Exchange keeps as a property with the header's name (MS-OXCMSG, PS_INTERNET_HEADERS). It is
read by ``$expand``: https://learn.microsoft.com/graph/api/singlevaluelegacyextendedproperty-get.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from postroom_graph.client import Client, Request
from postroom_graph.errors import GraphError
from postroom_graph.letter import MARK, mark_of

_PAGE: Final = 100
_MOST_PAGES: Final = 20
_EXPAND: Final = f"singleValueExtendedProperties($filter=id eq '{MARK}')"


class Leftovers:
    """What lies in Drafts with our mark, looked up once for a session."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._by_mark: dict[str, list[str]] | None = None

    def take(self, message_id: str) -> list[str]:
        """Return the ids of the drafts that were made for a message, and forget them.

        :raises GraphError: the server refused
        """
        if self._by_mark is None:
            found = defaultdict[str, list[str]](list)
            for mark, draft_id in self._marked():
                found[mark].append(draft_id)
            self._by_mark = found
        return self._by_mark.pop(mark_of(message_id), [])

    def forget(self) -> None:
        """Look anew the next time: something was made that nobody heard of."""
        self._by_mark = None

    def _marked(self) -> Iterator[tuple[str, str]]:
        for found in self._drafts():
            draft_id = found.get("id")
            if found.get("isDraft") is True and isinstance(draft_id, str):
                yield from ((mark, draft_id) for mark in _marks(found))

    def _drafts(self) -> Iterator[dict[str, Any]]:
        path = "/mailFolders/drafts/messages"
        url = self._client.url(path, select="id,isDraft", expand=_EXPAND, top=str(_PAGE))
        for _ in range(_MOST_PAGES):
            try:
                page = self._client.ask_json(Request("GET", url))
            except GraphError as error:
                if error.status in (400, 501) or error.is_missing:
                    return  # where this cannot be asked nothing is found
                raise
            value = page.get("value")
            yield from (one for one in _list(value) if isinstance(one, dict))
            following = page.get("@odata.nextLink")
            if not following:
                return
            url = self._client.follow(following, url)


def _marks(found: dict[str, Any]) -> Iterator[str]:
    for one in _list(found.get("singleValueExtendedProperties")):
        if isinstance(one, dict) and str(one.get("id")).casefold() == MARK.casefold():
            yield str(one.get("value"))


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
