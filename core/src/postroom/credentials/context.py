"""What the core lends to a transport's session."""

from __future__ import annotations

import logging
import ssl
from datetime import datetime
from typing import TYPE_CHECKING

from postroom import clock
from postroom.api import codes
from postroom.api.context import Context, TlsSettings, Token
from postroom.api.errors import SettingsError
from postroom.credentials.tls import shared_context

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings


class SessionContext(Context):
    """The real one.

    :param settings: of the side that the session is for; its credential gives the tokens
    """

    def __init__(
        self, mailbox: str, transport: str, settings: TransportSettings | None = None
    ) -> None:
        self.mailbox = mailbox
        self.logger = logging.getLogger(f"postroom.transport.{transport}")
        self._credential: str | None = getattr(settings, "credential", None)

    def now(self) -> datetime:
        """Return the time."""
        return clock.now()

    def tls(self, settings: TlsSettings, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return a shared context."""
        return shared_context(settings.ca_file, verify=settings.verify_tls, alpn=alpn)

    def token(self, purpose: str, *, rejected: Token | None = None) -> Token:
        """Return a token of the side's credential, fetched by whoever needs it first."""
        if self._credential is None:
            raise SettingsError(
                codes.CREDENTIAL_MISSING, f"{self.mailbox} names no credential for {purpose}."
            )
        from postroom.credentials import tokens  # most mailboxes of most installations need none

        return tokens.token(self._credential, purpose, self.mailbox, rejected=rejected)
