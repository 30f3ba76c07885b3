"""Transports and a kind of credential for tests of the core: they connect to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from postroom import plugins
from postroom.api import (
    Capability,
    CheckStep,
    CredentialContext,
    CredentialKind,
    SignIn,
    Token,
    Transport,
)
from postroom.api.errors import TransportError
from postroom.api.settings import CaFile, CredentialSettings, TransportSettings
from pydantic import Field, SecretStr, field_validator


class PigeonSettings(TransportSettings):
    """Where the loft is."""

    host: Annotated[str, Field(description="Name of the loft", min_length=1)]
    port: Annotated[int, Field(description="Number of the hole", ge=1, le=99)] = 7
    username: Annotated[str | None, Field(description="Name of the keeper")] = None
    password: Annotated[SecretStr | None, Field(description="Word of the keeper")] = None
    folders: Annotated[list[str], Field(description="Baskets to look into")] = ["INBOX"]  # noqa: RUF012 - pydantic copies it
    credential: Annotated[str | None, Field(description="Name of a credential")] = None
    ca_file: CaFile = None
    ringed: Annotated[bool, Field(description="Whether birds wear rings")] = True

    @field_validator("username")
    @classmethod
    def _is_no_hawk(cls, value: str | None) -> str | None:
        if value == "hawk":
            raise ValueError("must not be a hawk")
        return value


class Pigeon(Transport):
    """A transport that goes both ways and connects to nothing."""

    name = "pigeon"
    title = "Carrier pigeon"
    capabilities = Capability.FOLDERS | Capability.SEEN | Capability.MOVE

    def receiver_settings(self) -> type[TransportSettings]:
        """Return the settings."""
        return PigeonSettings

    def sender_settings(self) -> type[TransportSettings]:
        """Return the settings."""
        return PigeonSettings


class Homing(Pigeon):
    """One that can only receive, and only leave."""

    name = "homing"
    title = "Homing pigeon"
    capabilities = Capability.NONE

    def sender_settings(self) -> None:  # type: ignore[override]
        """It only comes home."""


class WhistleSettings(CredentialSettings):
    """Who whistles."""

    keeper: Annotated[str, Field(description="Name of the keeper", min_length=1)]
    tune: Annotated[SecretStr, Field(description="Tune that the pigeons know")]
    ends_at: Annotated[datetime | None, Field(description="When the tune is forgotten")] = None
    person: Annotated[bool, Field(description="Whether a person has to whistle")] = False


class Whistle(CredentialKind):
    """A kind of credential; what it does is `answer`, what it was asked stands in `asked`."""

    name = "whistle"
    title = "Whistle"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        """Purpose, mailbox and state of each fetch."""
        self.life = timedelta(hours=1)
        self.answer: Callable[[int], None] = lambda _: None
        """Called with the number of the fetch, from 1; may wait or raise."""
        self.each_mailbox = False

    def settings(self) -> type[CredentialSettings]:
        """Return the settings."""
        return WhistleSettings

    def token_key(self, settings: Any, purpose: str, mailbox: str) -> str:
        """Return one key for each purpose, or with `each_mailbox` for each mailbox."""
        return f"{purpose} {mailbox}" if self.each_mailbox else purpose

    def fetch(
        self,
        settings: Any,
        purpose: str,
        state: str | None,
        context: CredentialContext,
        *,
        mailbox: str,
    ) -> tuple[Token, str | None]:
        """Return tokens that are numbered, and say whose they are."""
        self.asked.append((purpose, mailbox, state))
        number = len(self.asked)
        self.answer(number)
        return Token(
            f"coo-{settings.keeper}-{number}", context.now() + self.life
        ), f"heard {number}"

    def check(
        self, settings: Any, context: CredentialContext, *, purposes: Sequence[str], mailbox: str
    ) -> Iterator[CheckStep]:
        """Fetch a token for each purpose."""
        yield CheckStep("settings", "ok")
        for purpose in purposes:
            try:
                context.token(purpose, mailbox)
            except TransportError as error:
                yield CheckStep(f"token {purpose}", "fail", error.sentence, error.next_step)
            else:
                yield CheckStep(f"token {purpose}", "ok")

    def expires_at(self, settings: Any) -> datetime | None:
        """Return what the settings say."""
        found: datetime | None = settings.ends_at
        return found

    def can_sign_in(self, settings: Any) -> bool:
        """Say whether the settings want it."""
        return bool(settings.person)

    def begin_sign_in(self, settings: Any, context: CredentialContext) -> SignIn:
        """Return a code."""
        ends_at = context.now() + timedelta(minutes=15)
        return SignIn(
            "https://loft.example.org/device", "CH1RP", "Whistle CH1RP.", ends_at, "tweet"
        )

    def finish_sign_in(
        self,
        settings: Any,
        sign_in: SignIn,
        state: str | None,
        context: CredentialContext,
        stopped: Callable[[], bool],
    ) -> str:
        """Return at once."""
        return f"signed in by {sign_in.flow}"


class FakePlugins(plugins.Plugins):
    """Plugins without entry points."""

    def __init__(
        self, transports: Iterable[Transport] = (), kinds: Iterable[CredentialKind] = ()
    ) -> None:
        super().__init__()
        self._transports.update({transport.name: transport for transport in transports})
        self._kinds.update({kind.name: kind for kind in kinds})


def problems_of(error: Any) -> dict[str, str]:
    """Return the problems of an InputError by field."""
    return {problem.field: problem.sentence for problem in error.value.problems}
