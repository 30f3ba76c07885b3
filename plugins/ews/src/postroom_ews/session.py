"""What receiver and sender share: the server is looked for and connected at the first need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from postroom.api import CheckStep, Context, TransientError, codes

from postroom_ews.autodiscover import find_url
from postroom_ews.exchange import Exchange, new_link, pause_of
from postroom_ews.folders import Folders

if TYPE_CHECKING:
    from postroom_ews.link import Link
    from postroom_ews.settings import EwsSettings


class EwsSession:
    """One session; see `postroom.api.Session`."""

    def __init__(self, settings: EwsSettings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._links: list[Link] = []
        self._was_interrupted = False
        self._exchange: Exchange | None = None
        self._found: Folders | None = None

    def check(self) -> Iterator[CheckStep]:
        """Try everything that is needed, step by step."""
        from postroom_ews.check import check_steps

        yield from check_steps(self, self._settings, self._context)

    def interrupt(self) -> None:
        """Break the connection, and every later one."""
        self._was_interrupted = True
        for link in list(self._links):
            link.interrupt()

    def close(self) -> None:
        """Close the connection."""
        exchange, self._exchange, self._found = self._exchange, None, None
        if exchange is not None:
            exchange.close()

    def exchange(self) -> Exchange:
        """Return the way to the server.

        :raises SettingsError, AuthError: it cannot be found
        :raises TransientError: the session was interrupted
        """
        if self._was_interrupted:
            raise TransientError(codes.CONNECTION_LOST, "The session was interrupted.")
        if self._exchange is None:
            url = find_url(self._settings, self._context, self._links)
            pause = pause_of(self._settings, self._context, url)
            link = new_link(url, self._settings.timeout_seconds, pause)
            self._links.append(link)
            self._exchange = Exchange(self._settings, self._context, url, link)
            self._found = Folders(self._exchange)
        if self._was_interrupted:
            self.interrupt()
        return self._exchange

    def folders(self) -> Folders:
        """Return the folders of the mailbox."""
        exchange = self.exchange()
        if self._found is None:
            self._found = Folders(exchange)
        return self._found
