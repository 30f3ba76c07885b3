"""What the core lends, for tests of plugins: with a real TLS context, and without a database."""

from __future__ import annotations

import datetime
import functools
import logging
import ssl
from collections.abc import Mapping
from typing import Any

from postroom.api import (
    AuthError,
    Context,
    CredentialContext,
    CredentialKind,
    SettingsError,
    Token,
    codes,
)
from postroom.api.context import TlsSettings


@functools.cache
def _client_context(ca_file: str | None, verify: bool, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class LoopbackContext(Context):
    """Lends what the core would: tests set `time` and `tokens` (purpose → value)."""

    def __init__(
        self, mailbox: str = "support@example.org", *, tokens: Mapping[str, str] | None = None
    ) -> None:
        self.mailbox = mailbox
        self.logger = logging.getLogger("postroom.test")
        self.tokens = dict(tokens or {})
        self.time: datetime.datetime | None = None

    def now(self) -> datetime.datetime:
        """Return `time` if it was set, else the real one."""
        return self.time or datetime.datetime.now(datetime.UTC)

    def tls(self, settings: TlsSettings, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return a verifying context, or one that takes anything if the settings say so."""
        try:
            return _client_context(settings.ca_file, settings.verify_tls, alpn)
        except OSError as error:
            raise SettingsError(codes.CA_FILE_UNREADABLE, "The CA file cannot be read.") from error

    def token(self, purpose: str, *, rejected: Token | None = None) -> Token:
        """Return the token that was given for the purpose; the issuer refuses a second one."""
        if purpose not in self.tokens:
            raise SettingsError(codes.CREDENTIAL_MISSING, "The mailbox names no credential.")
        if rejected is not None:
            raise AuthError(codes.AUTH_REFUSED, "The issuer refused.")
        return Token(self.tokens[purpose])


class LoopbackCredentialContext(CredentialContext):
    """Lends a kind what the core would, without a database: `state` is kept from call to call."""

    def __init__(self, kind: CredentialKind, settings: Any, name: str = "contoso") -> None:
        self.name = name
        self.logger = logging.getLogger("postroom.test")
        self.state: str | None = None
        self._kind = kind
        self._settings = settings

    def now(self) -> datetime.datetime:
        """Return the time."""
        return datetime.datetime.now(datetime.UTC)

    def tls(self, settings: Any, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return a verifying context."""
        try:
            return ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:
            raise SettingsError(codes.CA_FILE_UNREADABLE, "The CA file cannot be read.") from error

    def token(self, purpose: str, mailbox: str = "info@example.org") -> Token:
        """Fetch one."""
        token, self.state = self._kind.fetch(
            self._settings, purpose, self.state, self, mailbox=mailbox
        )
        return token
