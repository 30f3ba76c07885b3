"""Settings of a transport: declared once, and from there come validation, command line options,
the manual's table and which fields are secret. Imports pydantic, which takes a third of a second:
import this module only where settings are needed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

Security = Literal["tls", "starttls", "none"]


class FileContent:
    """Marks a `SecretStr` that is the content of a file, nothing to type in. A file that is no text
    is kept as base64."""


CaFile = Annotated[
    str | None,
    Field(description="PEM file of the authorities to trust instead of the system's"),
]
VerifyTls = Annotated[bool, Field(description="Check the server's certificate; false is unsafe")]
TimeoutSeconds = Annotated[
    float, Field(description="How long to wait for the server", gt=0, le=3600)
]
"""What every transport with a network has: ``ca_file: CaFile = None``, ``verify_tls: VerifyTls =
True``, which `Context.tls` reads, and ``timeout_seconds: TimeoutSeconds = 60.0``."""
Password = Annotated[SecretStr | None, Field(description="Password to log in with")]
CredentialName = Annotated[
    str | None, Field(description="Name of a credential to log in with, instead of a password")
]


def _host_alone(host: str) -> str:
    """Refuse an address of a page, a port or an account where a host is wanted."""
    is_address = False
    with suppress(ValueError):
        is_address = bool(ip_address(host))
    if is_address or re.fullmatch(r"[^\s/:@]+", host):
        return host
    raise ValueError("must be a host name or IP address alone; the port is a setting of its own")


class TransportSettings(BaseModel):
    """Base of every settings model: flat, typed, secrets as `SecretStr`, nothing unknown.

    Each field has a `description` of one sentence without a full stop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ServerSettings(TransportSettings):
    """A server to connect to and an account on it."""

    host: Annotated[
        str,
        Field(description="Host name of the server", min_length=1, max_length=255),
        AfterValidator(_host_alone),
    ]
    port: Annotated[
        int | None,
        Field(description="TCP port; by default the usual one for the security", ge=1, le=65535),
    ] = None
    security: Annotated[
        Security,
        Field(description="tls (from the first byte), starttls, or none (in clear)"),
    ] = "tls"
    username: Annotated[str | None, Field(description="Name to log in with")] = None
    password: Password = None
    credential: CredentialName = None
    ca_file: CaFile = None
    verify_tls: VerifyTls = True
    timeout_seconds: TimeoutSeconds = 60.0


class CredentialSettings(TransportSettings):
    """Base of the settings of a kind of credential. Certificates are always verified."""

    ca_file: CaFile = None
    timeout_seconds: Annotated[
        float, Field(description="How long to wait for the issuer's server", gt=0, le=600)
    ] = 30.0
