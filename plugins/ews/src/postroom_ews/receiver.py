"""The receiver: folder after folder, listed from where the last visit ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from postroom.api import (
    Checkpoint,
    Disposition,
    Limits,
    Listed,
    Receiver,
    SettingsError,
    Settled,
    Unsettled,
)
from postroom.api.transport import Delivery, Wanted

from postroom_ews.download import Download
from postroom_ews.listing import Found, Listing, format_cursor, parse_cursor
from postroom_ews.notifications import Notifications
from postroom_ews.session import EwsSession
from postroom_ews.settlement import Settlement

if TYPE_CHECKING:
    from postroom.api import Context

    from postroom_ews.settings import EwsReceiverSettings

_PAGE: Final = 500
"""So many refs are asked about at once."""


class EwsReceiver(EwsSession, Receiver):
    """Retrieves from one mailbox."""

    _settings: EwsReceiverSettings

    def __init__(self, settings: EwsReceiverSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._notifications: Notifications | None = None

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Retrieve folder by folder; one that is missing is reported after the others."""
        exchange = self.exchange()
        self.folders().forget()
        before, states = parse_cursor(cursor, exchange.mailbox), dict[str, str]()
        trouble: SettingsError | None = None
        for name in self._settings.folders:
            try:
                folder = self.folders().find(name)
            except SettingsError as error:
                trouble = trouble or error
                continue
            for part in Listing(exchange, self.folders()).parts(folder, before.get(name)):
                for start in range(0, len(part.found), _PAGE):
                    page = part.found[start : start + _PAGE]
                    yield from self._fetch_page(page, limits, wanted)
                states[name] = part.state
                yield Checkpoint(format_cursor(exchange.mailbox, {**before, **states}))
        yield Checkpoint(format_cursor(exchange.mailbox, states))
        if trouble:
            raise trouble

    def _fetch_page(self, page: list[Found], limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        chosen = set(wanted([one.listed() for one in page]))
        download = Download(self.exchange(), limits)
        yield from download.run([one for one in page if one.ref in chosen])

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Apply the disposition in batches."""
        if disposition.action == "leave":
            yield from (Settled(ref) for ref in refs)
        elif refs:
            settlement = Settlement(self.exchange(), self.folders(), self._settings, disposition)
            yield from settlement.run(refs)

    def list_refs(self) -> Iterator[Listed]:
        """Yield what the folders hold."""
        for name in self._settings.folders:
            listing = Listing(self.exchange(), self.folders())
            for part in listing.parts(self.folders().find(name), None):
                yield from (one.listed() for one in part.found)

    def wait(self, timeout: float) -> bool:
        """Wait for a streaming notification; where there are none, just wait."""
        if self._notifications is None:
            names = self._settings.folders
            self._notifications = Notifications(self.exchange(), self.folders(), names)
        return self._notifications.wait(timeout)
