"""The entry point: describes the kinds of credential, loads neither msal nor google-auth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from postroom.api import CheckStep, CredentialContext, CredentialKind, SignIn, Token, hookimpl

from postroom_oauth import codes as _codes  # noqa: F401 - errors are kept by their codes' names

if TYPE_CHECKING:
    from postroom.api.settings import CredentialSettings


class MicrosoftKind(CredentialKind):
    """An app registration of a Microsoft 365 tenant."""

    name = "microsoft"
    title = "Microsoft 365"

    def settings(self) -> type[CredentialSettings]:
        """Return `MicrosoftSettings`."""
        from postroom_oauth.settings import MicrosoftSettings

        return MicrosoftSettings

    def token_key(self, settings: Any, purpose: str, mailbox: str) -> str:  # noqa: ARG002
        """Return the scopes: one token is for all mailboxes."""
        from postroom_oauth.scopes import scopes_of

        return " ".join(scopes_of(settings, purpose))

    def fetch(
        self,
        settings: Any,
        purpose: str,
        state: str | None,
        context: CredentialContext,
        *,
        mailbox: str,  # noqa: ARG002
    ) -> tuple[Token, str | None]:
        """Ask Microsoft's login."""
        from postroom_oauth.microsoft import Microsoft

        with Microsoft(settings, context) as login:
            return login.token(purpose, state)

    def check(
        self, settings: Any, context: CredentialContext, *, purposes: Sequence[str], mailbox: str
    ) -> Iterator[CheckStep]:
        """Go through settings, login, tokens and their rights."""
        from postroom_oauth.microsoft import check

        return check(settings, context, purposes=purposes, mailbox=mailbox)

    def usual_purposes(self, settings: Any) -> Sequence[str]:
        """Return what an account signs in for; for an application Graph, as most use it."""
        return ["graph"] if settings.account is None else list(settings.sign_in_for)

    def expires_at(self, settings: Any) -> datetime | None:
        """Return the certificate's end."""
        certificate = settings.app_certificate()
        return certificate.expires_at if certificate else None

    def can_sign_in(self, settings: Any) -> bool:
        """Say whether an account signs in."""
        return settings.account is not None

    def begin_sign_in(self, settings: Any, context: CredentialContext) -> SignIn:
        """Get a code for a person to type in (RFC 8628)."""
        from postroom_oauth.microsoft import Microsoft

        with Microsoft(settings, context) as login:
            return login.begin_sign_in()

    def finish_sign_in(
        self,
        settings: Any,
        sign_in: SignIn,
        state: str | None,
        context: CredentialContext,
        stopped: Callable[[], bool],
    ) -> str:
        """Wait for the person."""
        from postroom_oauth.microsoft import Microsoft

        with Microsoft(settings, context) as login:
            return login.finish_sign_in(sign_in, state, stopped)


class GoogleKind(CredentialKind):
    """A service account of Google, or the consent of one account."""

    name = "google"
    title = "Google"
    purposes = ("imap", "pop", "smtp")

    def settings(self) -> type[CredentialSettings]:
        """Return `GoogleSettings`."""
        from postroom_oauth.settings import GoogleSettings

        return GoogleSettings

    def token_key(self, settings: Any, purpose: str, mailbox: str) -> str:
        """Return whose mail the token opens."""
        from postroom_oauth.scopes import unfit

        if purpose not in self.purposes:
            raise unfit(self.title, purpose)
        if settings.service_account is None:
            return "mail"
        return f"mail {(settings.subject or mailbox).casefold()}"

    def fetch(
        self,
        settings: Any,
        purpose: str,  # noqa: ARG002
        state: str | None,  # noqa: ARG002
        context: CredentialContext,
        *,
        mailbox: str,
    ) -> tuple[Token, str | None]:
        """Ask Google's token endpoint."""
        from postroom_oauth.google import fetch

        return fetch(settings, context, mailbox), None

    def check(
        self, settings: Any, context: CredentialContext, *, purposes: Sequence[str], mailbox: str
    ) -> Iterator[CheckStep]:
        """Go through settings and token."""
        from postroom_oauth.google import check

        return check(settings, context, purposes=purposes, mailbox=mailbox)


@hookimpl
def postroom_credentials() -> Iterable[CredentialKind]:
    """Offer ``microsoft`` and ``google``."""
    return [MicrosoftKind(), GoogleKind()]
