"""A kind of credential whose issuer is in memory, for the conformance kit."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from postroom.api import (
    AuthError,
    CheckStep,
    CredentialContext,
    CredentialKind,
    SettingsError,
    Token,
    TransientError,
    codes,
    hookimpl,
)
from postroom.api.errors import TransportError

if TYPE_CHECKING:
    from postroom.api.settings import CredentialSettings

SECRET: Final = "Kanarienvogel-7f3a9c"


@dataclass(slots=True)
class Issuer:
    """Where tokens come from. One for the process: settings cannot hold it."""

    coined: list[str] = field(default_factory=list)
    asked: int = 0
    refuses: bool = False
    retry_after: float | None = None
    hangs_up: bool = False
    is_silent: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def coin(self, secret: str, patience: float) -> str:
        """Give a token out.

        :param patience: seconds that are waited for an answer
        """
        self.asked += 1
        if self.hangs_up:
            raise ConnectionResetError("hung up")
        if self.is_silent:
            threading.Event().wait(patience)
            raise TimeoutError("nothing was said")
        if self.retry_after is not None:
            raise TransientError(
                codes.SERVER_BUSY, "The mint is busy.", retry_after=self.retry_after
            )
        if self.refuses or secret != SECRET:
            raise AuthError(codes.AUTH_REFUSED, "The mint knows no such stamp.")
        self.coined.append(f"coin-{next(self.numbers)}-of-the-mint")
        return self.coined[-1]


ISSUER = Issuer()


class Mint(CredentialKind):
    """A kind that keeps the contract."""

    name = "mint"
    title = "Mint"
    purposes = ("imap",)

    def settings(self) -> type[CredentialSettings]:
        """Return the settings."""
        from postroom_test_servers.mint_settings import MintSettings

        return MintSettings

    def token_key(self, settings: Any, purpose: str, mailbox: str) -> str:
        """Return the purpose."""
        if purpose not in self.purposes:
            raise SettingsError(codes.CREDENTIAL_UNFIT, "The mint has no such coins.")
        return purpose

    def fetch(
        self,
        settings: Any,
        purpose: str,
        state: str | None,
        context: CredentialContext,
        *,
        mailbox: str,
    ) -> tuple[Token, str | None]:
        """Have one coined."""
        patience = settings.timeout_seconds
        try:
            value = ISSUER.coin(settings.stamp.get_secret_value(), patience)
        except OSError as error:
            raise TransientError(codes.CONNECTION_LOST, f"The mint is gone: {error}.") from error
        return Token(value, datetime.now(UTC) + timedelta(hours=1)), state

    def check(
        self, settings: Any, context: CredentialContext, *, purposes: Sequence[str], mailbox: str
    ) -> Iterator[CheckStep]:
        """Try it."""
        yield CheckStep("settings", "ok")
        try:
            context.token(purposes[0], mailbox)
        except TransportError as error:
            yield CheckStep("token", "fail", error.sentence, error.next_step)
            yield CheckStep("rights", "skip")
        else:
            yield CheckStep("token", "ok")


@hookimpl
def postroom_credentials() -> Iterable[CredentialKind]:
    """Offer it."""
    return [Mint()]
