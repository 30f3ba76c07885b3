"""A transport for tests of the core: it goes both ways and connects to nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from postroom import plugins
from postroom.api import Capability, Transport
from postroom.api.settings import TransportSettings
from pydantic import Field, SecretStr, field_validator


class PigeonSettings(TransportSettings):
    """Where the loft is."""

    host: Annotated[str, Field(description="Name of the loft", min_length=1)]
    port: Annotated[int, Field(description="Number of the hole", ge=1, le=99)] = 7
    username: Annotated[str | None, Field(description="Name of the keeper")] = None
    password: Annotated[SecretStr | None, Field(description="Word of the keeper")] = None
    folders: Annotated[list[str], Field(description="Baskets to look into")] = ["INBOX"]  # noqa: RUF012 - pydantic copies it
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


class FakePlugins(plugins.Plugins):
    """Plugins without entry points."""

    def __init__(self, transports: Iterable[Transport] = ()) -> None:
        super().__init__()
        self._transports.update({transport.name: transport for transport in transports})


def problems_of(error: Any) -> dict[str, str]:
    """Return the problems of an InputError by field."""
    return {problem.field: problem.sentence for problem in error.value.problems}
