"""What became of a message that was to be sent.

An accepted draft is still a draft, or in the Outbox, until the transport has taken it; then it is
in Sent Items, under the same immutable id. So a message that is no draft any more was sent, and a
draft proves that nothing was sent only after it has not been touched for much longer than that
takes. Not finding a message proves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from postroom.api import CANNOT_TELL, NOT_SENT, Context, Sent
from postroom.api.transport import Lookup

from postroom_graph.client import Client, Request, server_time
from postroom_graph.drafts import SELECT, bare_id, find_by_message_id, path_of
from postroom_graph.errors import GraphError
from postroom_graph.listing import parse_instant

TRANSIT: Final = timedelta(minutes=15)
"""Exchange takes an accepted draft within seconds; under load, minutes."""
FRESH: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Trace:
    """What the mailbox holds of a message. `age`: how long ago a draft was touched, None if that
    is not known."""

    is_draft: bool
    message_id: str | None
    sent_at: datetime | None
    folder_id: str
    age: timedelta | None


class Evidence:
    """Looks for messages in one mailbox."""

    def __init__(self, client: Client, context: Context) -> None:
        self._client, self._context = client, context

    def look(self, draft_id: str) -> Trace | None:
        """Return what became of a draft, None if it is not there.

        :raises GraphError: the server refused
        """
        url = self._client.url(path_of(draft_id), select=SELECT)
        try:
            answer = self._client.ask(Request("GET", url))
            found = answer.json()
        except GraphError as error:
            if not error.is_missing and error.status != 400:  # the handle of another transport
                raise
            return None
        except ValueError as error:
            raise self._client.strange("something that is not JSON") from error
        return self._trace(found, server_time(answer))

    def search(self, message_id: str) -> Trace | None:
        """Return a sent message with this Message-ID, None if there is none."""
        found = find_by_message_id(self._client, message_id)
        return next((self._trace(one, None) for one in found if one.get("isDraft") is False), None)

    def judge(self, message_id: str, draft_id: str | None) -> Lookup:
        """Say what is proven. See `Sender.find_sent`."""
        trace = self.look(draft_id) if draft_id else None
        if trace is None or trace.is_draft:
            trace = self.search(message_id) or trace
        if trace is None:
            return CANNOT_TELL
        if not trace.is_draft:
            return Sent(trace.message_id, trace.sent_at)
        if trace.age is None or trace.age < TRANSIT or trace.folder_id == self._outbox():
            return CANNOT_TELL
        return NOT_SENT

    def _outbox(self) -> str | None:
        try:
            return str(self._client.get("/mailFolders/outbox", select="id,displayName").get("id"))
        except GraphError as error:
            if not error.is_missing:
                raise
            return None

    def _trace(self, found: dict[str, Any], server_now: datetime | None) -> Trace:
        touched = parse_instant(found.get("lastModifiedDateTime"))
        return Trace(
            is_draft=found.get("isDraft") is not False,
            message_id=bare_id(found.get("internetMessageId")),
            sent_at=parse_instant(found.get("sentDateTime")),
            folder_id=str(found.get("parentFolderId") or ""),
            age=self._age(touched, server_now) if touched else None,
        )

    def _age(self, touched: datetime, server_now: datetime | None) -> timedelta:
        """Return how long ago it was, on the server's clock where this machine's is ahead."""
        real = datetime.fromtimestamp(time.time(), UTC)
        ahead = real - server_now if server_now else timedelta()
        return self._context.now() - touched - max(ahead, timedelta())
