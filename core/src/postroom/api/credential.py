"""The contract of a kind of credential: where tokens come from, kept once for many mailboxes.

The core keeps settings and state sealed, decides when a token is fetched, and shares it: one fetch
at a time for each credential, whichever thread, process or machine asks. A kind only knows how to
ask its issuer.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from postroom.api.context import Token
from postroom.api.transport import API_VERSION, CheckStep

if TYPE_CHECKING:
    import ssl

    from postroom.api.settings import CredentialSettings

PURPOSES = ("imap", "pop", "smtp", "ews", "graph")
"""What tokens are asked for; a plugin may have purposes of its own."""


class CredentialContext(ABC):
    """Lent to a kind for the time of one call."""

    name: str
    """The credential's name, for sentences and commands in them."""
    logger: logging.Logger
    """For the kind's own lines; never log secrets, tokens or what an issuer answered."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the time, aware, in UTC. Use this clock: tests move it."""

    @abstractmethod
    def tls(self, settings: CredentialSettings, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return the client context for these settings, shared; do not change it.

        :param alpn: as for `Context.tls`
        :raises SettingsError: the CA file cannot be read
        """

    @abstractmethod
    def token(self, purpose: str, mailbox: str) -> Token:
        """Fetch a new token by the core's way: one at a time, state and token sealed and shared.

        For `CredentialKind.check`; raises what ``fetch`` raises.
        """


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that waits for a person at a browser."""

    url: str
    code: str
    """What to type in there."""
    message: str
    """Both in a sentence, as the issuer words it."""
    expires_at: datetime
    flow: Any = field(repr=False, default=None)
    """The kind's own; holds a secret."""


class CredentialKind(ABC):
    """One kind of credential. Cheap to make and to import: loads its library in its methods.

    Methods are called from any thread, for one credential never at the same time but for
    `token_key` and `expires_at`. Secrets and tokens never stand in an error or a log.
    """

    name: ClassVar[str]
    """What an administrator writes: ``microsoft``. Lower case, letters, digits and hyphens."""
    title: ClassVar[str]
    """For people: ``Microsoft 365``."""
    api: ClassVar[int] = API_VERSION
    settings_version: ClassVar[int] = 1
    purposes: ClassVar[Sequence[str]] = PURPOSES
    """What its tokens can be for."""

    @abstractmethod
    def settings(self) -> type[CredentialSettings]:
        """Return the settings model; secrets are `SecretStr` in it."""

    def migrate_settings(self, old_version: int, values: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Bring settings stored by an older version up to date."""
        return values

    @abstractmethod
    def token_key(self, settings: Any, purpose: str, mailbox: str) -> str:
        """Return what a token is for, at most 500 characters: requests with the same key share
        one. Cheap; no network.

        :param mailbox: the address; in the key only where each mailbox has a token of its own
        :raises SettingsError: there is no token for this purpose
        """

    @abstractmethod
    def fetch(
        self,
        settings: Any,
        purpose: str,
        state: str | None,
        context: CredentialContext,
        *,
        mailbox: str,
    ) -> tuple[Token, str | None]:
        """Ask the issuer for a new token. Every blocking call has a timeout.

        The core caches tokens: this is called when one is needed, also if an earlier one has not
        expired (its server refused it).

        :param state: as the last call returned it, None at first: a token cache, a refresh token
        :returns: the token, and the new state, which the core seals before it uses the token
        :raises AuthError: the issuer refused; the core asks again after 5 minutes at the earliest
        :raises SettingsError: an administrator must edit something
        :raises TransientError: the issuer could not be reached or is busy
        """

    @abstractmethod
    def check(
        self, settings: Any, context: CredentialContext, *, purposes: Sequence[str], mailbox: str
    ) -> Iterator[CheckStep]:
        """Try everything step by step: settings, issuer reachable, token, what the token may do.

        Yields a failing step instead of raising; later steps are then skipped. Tokens come from
        ``context.token``.

        :param purposes: what tokens to try; never empty
        :param mailbox: an address to ask for, where each mailbox has a token of its own
        """

    def usual_purposes(self, settings: Any) -> Sequence[str]:  # noqa: ARG002
        """Return what to try tokens for while no mailbox uses the credential."""
        return self.purposes[:1]

    def expires_at(self, settings: Any) -> datetime | None:  # noqa: ARG002
        """Return when the secret ends, UTC, where the settings tell (a certificate does)."""
        return None

    def can_sign_in(self, settings: Any) -> bool:  # noqa: ARG002
        """Say whether these settings want a person to sign in."""
        return False

    def begin_sign_in(self, settings: Any, context: CredentialContext) -> SignIn:
        """Begin a sign-in by device code (RFC 8628).

        :raises AuthError, SettingsError, TransientError: as `fetch`
        """
        raise NotImplementedError(f"{self.name} has no sign-in")

    def finish_sign_in(
        self,
        settings: Any,
        sign_in: SignIn,
        state: str | None,
        context: CredentialContext,
        stopped: Callable[[], bool],
    ) -> str:
        """Wait until the person has signed in; return the new state.

        :param stopped: asked about once a second; True ends the wait with TransientError
        :raises AuthError, SettingsError, TransientError: as `fetch`; also if the time ran out
        """
        raise NotImplementedError(f"{self.name} has no sign-in")
