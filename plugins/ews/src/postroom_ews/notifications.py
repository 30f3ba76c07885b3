"""Streaming notifications as a wake-up: a subscription that the server keeps, and a stream that is
open while somebody waits.
"""

from __future__ import annotations

import math
import re
import time
from typing import Any, Final

from exchangelib import errors as ews
from postroom.api import TransientError, TransportError, codes

from postroom_ews.elements import M, T, text
from postroom_ews.exchange import Exchange, failure
from postroom_ews.folders import Folders

_NEWS: Final = re.compile(rb"<(?:\w+:)?(?:NewMail|Created|Moved|Copied)Event\b")
_ENDED: Final = re.compile(rb"ConnectionStatus>\s*Closed|ResponseClass=[\"']Error")
_OVERLAP: Final = 64
_LONGEST_MINUTES: Final = 30
_PAUSE: Final = 30.0
"""Seconds until the next try after a stream that did not work."""


class Notifications:
    """Waits for news in folders of one mailbox."""

    def __init__(self, exchange: Exchange, folders: Folders, names: list[str]) -> None:
        self._exchange, self._folders, self._names = exchange, folders, names
        self._subscription: str | None = None
        self._is_refused = False

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True if there may be news."""
        self._exchange.link.waits = True
        is_new = self._subscription is None
        if not self._is_refused and is_new:
            self._subscribe()
        if timeout <= 0:
            return False
        if self._subscription is None:
            self._exchange.link.interrupted.wait(timeout)
            return True
        return self._stream(self._subscription, timeout)

    def _subscribe(self) -> None:
        """Subscribe, or note that the server does not take it: then the mailbox is polled."""
        folders = [self._folders.element(self._folders.find(name)) for name in self._names]
        kinds = ("NewMailEvent", "CreatedEvent", "MovedEvent")
        request = M.StreamingSubscriptionRequest(
            T.FolderIds(*folders), T.EventTypes(*(T.EventType(kind) for kind in kinds))
        )
        doing = "subscribe to news"
        try:
            [message] = self._exchange.call("Subscribe", M.Subscribe(request), doing)
            if error := failure(message):
                raise self._exchange.explain(error, doing) from error
            self._subscription = text(message, "m:SubscriptionId") or None
        except TransportError as error:
            if isinstance(error.__cause__, ews.EWSError) and not _is_passing(error):
                self._exchange.context.logger.info("No notifications: %s", error)
                self._is_refused = True
            else:
                raise

    def _stream(self, subscription: str, timeout: float) -> bool:
        payload = M.GetStreamingEvents(
            M.SubscriptionIds(T.SubscriptionId(subscription)),
            M.ConnectionTimeout(str(min(_LONGEST_MINUTES, math.ceil(timeout / 60)))),
        )
        deadline = time.monotonic() + timeout
        listener = _Listener(self._exchange, deadline)
        try:
            self._exchange.read("GetStreamingEvents", payload, listener.read, "wait for news")
        except TransientError as error:
            if time.monotonic() >= deadline and error.code is codes.TIMEOUT:
                return listener.has_news
            self._subscription = None
            if self._exchange.link.interrupted.is_set():
                raise
            self._exchange.link.interrupted.wait(min(_PAUSE, max(0, deadline - time.monotonic())))
            return True  # nobody knows what was missed
        if listener.has_ended:
            self._subscription = None
        return listener.has_news or listener.has_ended


class _Listener:
    """Reads a stream until there is news, it ends, or the time is over."""

    def __init__(self, exchange: Exchange, deadline: float) -> None:
        self._exchange, self._deadline = exchange, deadline
        self.has_news = self.has_ended = False

    def read(self, response: Any) -> None:
        """Read what comes; each piece as soon as it is there."""
        seen = b""
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                return
            self._exchange.link.set_timeout(_connection_of(response), left)
            piece = response.raw.read1(1 << 16, decode_content=True)
            if not piece:
                return
            seen = seen[-_OVERLAP:] + piece
            self.has_news = self.has_news or _NEWS.search(seen) is not None
            self.has_ended = self.has_ended or _ENDED.search(seen) is not None
            if self.has_news or self.has_ended:
                return


def _connection_of(response: Any) -> Any:
    return getattr(response.raw, "_connection", None) or getattr(response.raw, "connection", None)


def _is_passing(error: TransportError) -> bool:
    return isinstance(error, TransientError) and error.retry_after is not None
