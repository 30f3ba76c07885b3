"""Where a kind of credential is tried: its settings, the issuer, what the core lends."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from postroom import clock
from postroom.api import CheckStep, CredentialContext, CredentialKind, Token
from postroom.api.settings import CredentialSettings
from postroom.credentials.tls import shared_context
from postroom.plugin_settings import secret_fields
from postroom.testing.expectations import Outcome, attempt, expect
from postroom.testing.harness import CredentialHarness

if TYPE_CHECKING:
    import ssl

NAME = "kit"


class Lent(CredentialContext):
    """What the core lends, without its database."""

    def __init__(self, kind: CredentialKind, settings: Any) -> None:
        self.name = NAME
        self.logger = logging.getLogger(f"postroom.credential.{kind.name}")
        self.state: str | None = None
        self._kind, self._settings = kind, settings

    def now(self) -> datetime:
        """Return the time."""
        return clock.now()

    def tls(self, settings: CredentialSettings, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return a shared context."""
        return shared_context(settings.ca_file, alpn=alpn)

    def token(self, purpose: str, mailbox: str) -> Token:
        """Fetch one, and keep the state as the core does: as text."""
        token, state = self._kind.fetch(self._settings, purpose, self.state, self, mailbox=mailbox)
        expect(
            state is None or isinstance(state, str),
            "fetch returns the new state as text, or None.",
            because="the core seals it as it is.",
            state=type(state),
        )
        self.state = state
        return token


class CredentialBench:
    """Where the cases work: the kind, its settings, the issuer."""

    def __init__(self, kind: CredentialKind, harness: CredentialHarness) -> None:
        self.kind, self.harness = kind, harness
        self.context = Lent(kind, self.settings())

    def model(self) -> type[CredentialSettings]:
        """Return the settings' model."""
        return self.kind.settings()

    def values(self) -> dict[str, Any]:
        """Return the settings as they are written."""
        return dict(self.harness.settings())

    def settings(self, *, impatient: bool = False) -> Any:
        """Return the settings."""
        more = self.harness.impatient if impatient else {}
        return self.model().model_validate({**self.values(), **more})

    def secrets(self) -> list[str]:
        """Return what may stand nowhere: secret settings, tokens."""
        hidden = [
            str(self.values()[one]) for one in secret_fields(self.model()) if one in self.values()
        ]
        return [*hidden, *self.harness.issued()]

    def signed_in(self) -> None:
        """See that a person has signed in, where one has to."""
        settings = self.settings()
        if self.kind.can_sign_in(settings) and self.context.state is None:
            begun = self.kind.begin_sign_in(settings, self.context)
            self.harness.sign_in(begun)
            self.context.state = self.kind.finish_sign_in(
                settings, begun, None, self.context, lambda: False
            )

    def fetch(self) -> Outcome[Token]:
        """Fetch a token."""
        return attempt(lambda: self.context.token(self.harness.purpose, self.harness.mailbox))

    def good_token(self) -> Token:
        """Fetch one that has to come."""
        self.signed_in()
        outcome = self.fetch()
        expect(
            isinstance(outcome.result, Token),
            "fetch gives a token while the issuer is well.",
            because="without one nothing is retrieved.",
            error=outcome.error,
        )
        assert isinstance(outcome.result, Token)  # noqa: S101 - just seen
        return outcome.result

    def check(self) -> list[CheckStep]:
        """Return the steps of the check."""
        outcome = attempt(lambda: list(self._steps()))
        expect(
            outcome.error is None,
            "check yields a failing step instead of raising.",
            because="the steps before it tell what is in order.",
            raised=outcome.error,
        )
        return outcome.result or []

    def _steps(self) -> Iterator[CheckStep]:
        purposes = [self.harness.purpose]
        return self.kind.check(
            self.settings(), self.context, purposes=purposes, mailbox=self.harness.mailbox
        )
