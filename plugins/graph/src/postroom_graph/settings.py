"""The settings of both sides."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from postroom.api.settings import CaFile, TimeoutSeconds, TransportSettings, VerifyTls
from pydantic import Field, field_validator

DEFAULT_URL: Final = "https://graph.microsoft.com/v1.0"
MOST_MIME_BYTES: Final = 3_000_000
"""A request may have 4 MB, and the message goes as base64."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class GraphSettings(TransportSettings):
    """Which mailbox, with which credential, at which Graph."""

    credential: Annotated[
        str, Field(description="Name of the credential to get tokens from", min_length=1)
    ]
    mailbox: Annotated[
        str | None,
        Field(
            description="User principal name, address or id of the mailbox in Exchange Online; "
            "by default the mailbox's address",
            min_length=1,
            max_length=320,
        ),
    ] = None
    base_url: Annotated[
        str, Field(description="Where Graph is; another one for a national cloud")
    ] = DEFAULT_URL
    ca_file: CaFile = None
    verify_tls: VerifyTls = True
    timeout_seconds: TimeoutSeconds = 60.0

    @field_validator("mailbox", mode="after")
    @classmethod
    def _is_one_word(cls, mailbox: str | None) -> str | None:
        if mailbox is not None and (_CONTROL.search(mailbox) or mailbox != mailbox.strip()):
            raise ValueError("must hold no line break and no space around it")
        return mailbox

    @field_validator("base_url", mode="after")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        """Want https, but for this machine: a token goes with every request."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        if not host or parts.query or parts.fragment or parts.username or _CONTROL.search(url):
            raise ValueError("must be of the form https://HOST/v1.0")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise ValueError("must begin with https://")
        return url.rstrip("/") + ("" if parts.path.strip("/") else "/v1.0")


class GraphReceiverSettings(GraphSettings):
    """Where mail comes from."""

    folders: Annotated[
        list[str],
        Field(
            description="Folders to retrieve from: well-known names (inbox, junkemail) or paths "
            "of display names (Inbox/Orders)",
            default_factory=lambda: ["inbox"],
            min_length=1,
            max_length=200,
        ),
    ]

    @field_validator("folders", mode="after")
    @classmethod
    def _names_are_usable(cls, folders: list[str]) -> list[str]:
        if any(not name.strip("/ ") or _CONTROL.search(name) or len(name) > 500
               for name in folders):  # fmt: skip
            raise ValueError("a folder's name must hold 1 to 500 characters and no line break")
        if len({name.casefold() for name in folders}) < len(folders):
            raise ValueError("each folder may stand there once only")
        return folders


class GraphSenderSettings(GraphSettings):
    """How answers are sent."""

    mime_limit_bytes: Annotated[
        int,
        Field(
            description="A larger message is handed over in pieces, which Exchange puts together",
            ge=0,
            le=MOST_MIME_BYTES,
        ),
    ] = MOST_MIME_BYTES


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
