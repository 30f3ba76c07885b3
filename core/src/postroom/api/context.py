"""What the core lends to an open session."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl


class TlsSettings(Protocol):
    """What settings say of encryption: `ServerSettings`, and whatever else has these fields."""

    @property
    def ca_file(self) -> str | None:
        """PEM file of the authorities to trust instead of the system's."""

    @property
    def verify_tls(self) -> bool:
        """Whether the server's certificate is checked."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token; `expires_at` in UTC, None if the issuer did not say."""

    value: str = field(repr=False)
    expires_at: datetime | None = None


class Context(ABC):
    """Lent to a session for its life. Safe to use from the session's thread."""

    mailbox: str
    """The mailbox's address."""
    logger: logging.Logger
    """For the plugin's own lines; never log secrets or message bodies."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the time, aware, in UTC. Use this clock: tests move it."""

    @abstractmethod
    def tls(self, settings: TlsSettings, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return the client context for these settings, shared between sessions: do not change it.

        :param alpn: protocols to offer (RFC 7301). HTTP libraries set them on the context that they
            are given; so name them, and get one that is shared with those who do the same
        :raises SettingsError: the CA file cannot be read
        """

    @abstractmethod
    def token(self, purpose: str, *, rejected: Token | None = None) -> Token:
        """Return a token of the mailbox's credential for a purpose.

        :param purpose: ``imap``, ``pop``, ``smtp``, ``ews``, ``graph`` or a plugin's own
        :param rejected: the token that the server refused; ask so once, it fetches a new one
        :raises SettingsError: the mailbox names no credential
        :raises AuthError: the issuer refused
        :raises TransientError: the issuer could not be reached
        """
