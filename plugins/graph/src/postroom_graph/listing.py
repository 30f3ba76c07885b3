"""What a folder holds, by delta queries: page by page, from the start or since the last time.

See https://learn.microsoft.com/graph/delta-query-messages. An item may come more than once and in
any order, a page may be empty in the middle, and a token may die at any time (410). That an item
was "removed" proves nothing: it may have been moved here and there and be back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from postroom.api import TransientError, codes

from postroom_graph.client import Client, Request
from postroom_graph.errors import GraphError
from postroom_graph.folders import Folder

PAGE: Final = 500
SELECT: Final = "id,receivedDateTime,conversationId"
_MOST_RESTARTS: Final = 20
_MOST_EMPTY_PAGES: Final = 5_000


@dataclass(frozen=True, slots=True)
class Item:
    """A message that is listed."""

    ref: str
    received_at: datetime | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing. `link`: where it goes on; None: from the start, the next time."""

    items: list[Item] = field(default_factory=list)
    link: str | None = None


def start_url(client: Client, folder: Folder) -> str:
    """Return where a complete listing begins."""
    return client.url(f"{folder.path}/messages/delta", select=SELECT)


def list_pages(
    client: Client, folder: Folder, link: str | None = None, *, start: str | None = None
) -> Iterator[Page]:
    """Yield pages until there are no more; the last one's link leads to what comes later.

    Where a token has died the listing begins again from the start: what was yielded is yielded
    again.

    :param link: of an earlier page
    :param start: where to begin instead of the folder's start
    :raises GraphError: the server refused
    """
    start = start or start_url(client, folder)
    url, restarts, empty = link or start, 0, 0
    while True:
        try:
            answer = client.ask_json(_page_request(url))
        except GraphError as error:
            if not error.means_resync or restarts == _MOST_RESTARTS:
                raise
            url, restarts = start, restarts + 1
            yield Page()
            continue
        items = list(_items(answer))
        empty = 0 if items else empty + 1
        following = answer.get("@odata.nextLink")
        if not following:
            last = answer.get("@odata.deltaLink")
            yield Page(items, client.follow(last, url) if last else None)
            return
        previous, url = url, client.follow(following, url)
        if url == previous or empty > _MOST_EMPTY_PAGES:
            sentence = f"{client.where} lists the folder {folder.name} without an end."
            raise TransientError(codes.PROTOCOL, sentence)
        yield Page(items, url)


def describe(client: Client, ref: str) -> Item | None:
    """Return one message by itself, None if it is gone."""
    try:
        return item_of(client.get(f"/messages/{quote(ref, safe='')}", select=SELECT))
    except GraphError as error:
        if not error.is_missing:
            raise
        return None


def item_of(found: Any) -> Item | None:
    """Return what an item of a page says; None for what is no message that is there."""
    if not isinstance(found, dict) or "@removed" in found:
        return None
    ref = found.get("id")
    if not isinstance(ref, str) or not ref:
        return None
    conversation = found.get("conversationId")
    return Item(
        ref,
        parse_instant(found.get("receivedDateTime")),
        conversation if isinstance(conversation, str) and conversation else None,
    )


def parse_instant(value: Any) -> datetime | None:
    """Return an Edm.DateTimeOffset in UTC; fractions may have more digits than Python reads."""
    if not isinstance(value, str):
        return None
    head, dot, rest = value.strip().partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        found = datetime.fromisoformat(
            f"{head}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}" if dot else head
        )
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def _page_request(url: str) -> Request:
    return Request("GET", url, headers={"Prefer": f"odata.maxpagesize={PAGE}"})


def _items(answer: dict[str, Any]) -> Iterator[Item]:
    value = answer.get("value")
    for found in value if isinstance(value, list) else ():
        if (item := item_of(found)) is not None:
            yield item
