"""The settings of both transports."""

from __future__ import annotations

import re
from typing import Annotated, Final

from postroom.api.settings import ServerSettings
from pydantic import Field, SecretStr, field_validator, model_validator

_PORTS: Final = {
    "imap": {"tls": 993, "starttls": 143, "none": 143},
    "pop3": {"tls": 995, "starttls": 110, "none": 110},
}
_LINE_BREAKERS = re.compile(r"[\r\n\0]")


class _AccountSettings(ServerSettings):
    """An account that is logged in to with a name and a password."""

    @field_validator("host", "username", "password", mode="after")
    @classmethod
    def _fits_on_a_line(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        """Refuse what would end a command early and begin another (RFC 9051 section 11)."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and _LINE_BREAKERS.search(text):
            raise ValueError("must hold no line break and no NUL")
        return value

    @model_validator(mode="after")
    def _has_an_account(self) -> _AccountSettings:
        """Want name and password, unless a credential is named."""
        if self.credential is None:
            missing = [name for name in ("username", "password") if not getattr(self, name)]
            if missing:
                raise ValueError(f"{' and '.join(missing)} must be given")
        return self

    def secret(self) -> str:
        """Return the password in clear, "" if there is none."""
        return self.password.get_secret_value() if self.password else ""


class ImapSettings(_AccountSettings):
    """Where the mailbox is, how to log in, and which folders to watch."""

    folders: Annotated[
        list[str],
        Field(
            description="Folders to retrieve from",
            default_factory=lambda: ["INBOX"],
            min_length=1,
            max_length=200,
        ),
    ]

    @field_validator("folders", mode="after")
    @classmethod
    def _names_are_usable(cls, folders: list[str]) -> list[str]:
        if any(not name or _LINE_BREAKERS.search(name) or len(name) > 500 for name in folders):
            raise ValueError("a folder's name must hold 1 to 500 characters and no line break")
        if len({name.upper() if name.upper() == "INBOX" else name for name in folders}) < len(
            folders
        ):
            raise ValueError("each folder may stand there once only")
        return folders

    def effective_port(self) -> int:
        """Return the port: the one that was set, else the usual one for the security."""
        return self.port or _PORTS["imap"][self.security]


class PopSettings(_AccountSettings):
    """Where the mailbox is and how to log in."""

    def effective_port(self) -> int:
        """Return the port: the one that was set, else the usual one for the security."""
        return self.port or _PORTS["pop3"][self.security]
