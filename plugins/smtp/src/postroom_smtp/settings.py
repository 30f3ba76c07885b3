"""What an administrator sets for an outgoing server."""

from __future__ import annotations

import re
from typing import Annotated, Final

from postroom.api.settings import ServerSettings
from pydantic import Field, field_validator, model_validator

PORTS: Final = {"tls": 465, "starttls": 587, "none": 25}
_HELO = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[A-Za-z0-9.:]+\]")


class SmtpSettings(ServerSettings):
    """The outgoing server and the account on it."""

    helo_name: Annotated[
        str | None,
        Field(
            description="Name to greet the server with; by default this machine's address",
            max_length=255,
            examples=["desk.example.org"],
        ),
    ] = None
    data_timeout_seconds: Annotated[
        float,
        Field(
            description="How long to wait for the verdict on a message that was handed over",
            gt=0,
            le=3600,
        ),
    ] = 600.0  # RFC 5321 section 4.5.3.2.6: less makes duplicates

    @field_validator("helo_name")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and not _HELO.fullmatch(value):
            raise ValueError("must be a host name or an address in brackets")
        return value

    @field_validator("username")
    @classmethod
    def _is_a_username(cls, value: str | None) -> str | None:
        if value is not None and (not value or "\0" in value):
            raise ValueError("must not be empty or hold a NUL")
        return value

    @model_validator(mode="after")
    def _log_in_is_complete(self) -> SmtpSettings:
        has_secret = self.password is not None or self.credential is not None
        if self.username is not None and not has_secret:
            raise ValueError("username needs a password (or a credential)")
        if self.password is not None and self.username is None:
            raise ValueError("password needs a username")
        if self.password is not None and self.credential is not None:
            raise ValueError("password and credential exclude each other")
        return self

    @property
    def effective_port(self) -> int:
        """The port, by default the usual one for the security (RFC 8314, RFC 6409)."""
        return self.port or PORTS[self.security]
