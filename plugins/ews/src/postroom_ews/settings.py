"""The settings of both sides."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from postroom.api.settings import (
    CaFile,
    CredentialName,
    Password,
    TimeoutSeconds,
    TransportSettings,
    VerifyTls,
)
from pydantic import Field, field_validator, model_validator

PATH: Final = "/EWS/Exchange.asmx"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Auth = Literal["basic", "ntlm", "oauth"]
Access = Literal["impersonation", "delegate"]


class EwsSettings(TransportSettings):
    """Which mailbox, on which server, and who logs in."""

    mailbox: Annotated[
        str | None,
        Field(
            description="Primary address of the mailbox on the server; by default the mailbox's "
            "address",
            max_length=320,
        ),
    ] = None
    url: Annotated[
        str | None,
        Field(
            description="Where EWS is; by default it is asked for by autodiscover, and with oauth "
            "it is Exchange Online",
            examples=["https://mail.example.org/EWS/Exchange.asmx"],
        ),
    ] = None
    auth: Annotated[
        Auth | None,
        Field(description="How to log in; by default oauth with a credential, else basic"),
    ] = None
    access: Annotated[
        Access | None,
        Field(
            description="As what to open the mailbox: with the rights of its owner "
            "(impersonation), or with those of the account that logs in (delegate); by default "
            "impersonation with oauth, else delegate"
        ),
    ] = None
    username: Annotated[
        str | None, Field(description="Name to log in with, perhaps as DOMAIN\\name")
    ] = None
    password: Password = None
    credential: CredentialName = None
    ca_file: CaFile = None
    verify_tls: VerifyTls = True
    timeout_seconds: TimeoutSeconds = 60.0

    @field_validator("mailbox", "username", "url", mode="after")
    @classmethod
    def _is_one_line(cls, value: str | None) -> str | None:
        if value is not None and (not value or _CONTROL.search(value) or value != value.strip()):
            raise ValueError("must hold no line break and no space around it")
        return value

    @field_validator("mailbox", mode="after")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and "@" not in value:
            raise ValueError("must be an address; a sign-in name belongs into username")
        return value

    @field_validator("url", mode="after")
    @classmethod
    def _is_an_endpoint(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.fragment:
            raise ValueError(f"must be of the form https://HOST{PATH}")
        if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("must begin with https://")
        return url if parts.path.strip("/") else url.rstrip("/") + PATH

    @model_validator(mode="after")
    def _has_an_account(self) -> EwsSettings:
        if self.method == "oauth":
            if self.credential is None:
                raise ValueError("auth oauth needs a credential")
        elif self.credential is not None:
            raise ValueError(f"auth {self.method} takes username and password, no credential")
        else:
            missing = [name for name in ("username", "password") if not getattr(self, name)]
            if missing:
                raise ValueError(f"{' and '.join(missing)} must be given")
        return self

    @property
    def method(self) -> Auth:
        """How to log in."""
        return self.auth or ("oauth" if self.credential else "basic")

    @property
    def impersonates(self) -> bool:
        """Whether requests act as the mailbox's owner."""
        return (self.access or ("impersonation" if self.method == "oauth" else "delegate")) == (
            "impersonation"
        )

    def secret(self) -> str:
        """Return the password in clear, "" if there is none."""
        return self.password.get_secret_value() if self.password else ""


class EwsReceiverSettings(EwsSettings):
    """Where mail comes from."""

    folders: Annotated[
        list[str],
        Field(
            description="Folders to retrieve from: well-known names (inbox, junkemail) or paths "
            "of display names (Orders/2026, inbox/Orders)",
            default_factory=lambda: ["inbox"],
            min_length=1,
            max_length=100,
        ),
    ]
    deletion: Annotated[
        Literal["deleted-items", "hard"],
        Field(
            description="What the disposition delete does: move to the folder Deleted Items, or "
            "remove for good"
        ),
    ] = "deleted-items"

    @field_validator("folders", mode="after")
    @classmethod
    def _names_are_usable(cls, folders: list[str]) -> list[str]:
        for name in folders:
            parts = name.split("/")
            if not all(part.strip() for part in parts) or _CONTROL.search(name) or len(name) > 500:
                raise ValueError("a folder is a well-known name, or display names between slashes")
        if len({name.casefold() for name in folders}) < len(folders):
            raise ValueError("each folder may stand there once only")
        return folders


class EwsSenderSettings(EwsSettings):
    """Where mail goes out."""
