"""The settings: from here come validation, command line options and what is sealed."""

from __future__ import annotations

from typing import Annotated

from postroom.api.settings import TransportSettings
from pydantic import Field, SecretStr


class CourierSettings(TransportSettings):
    """Where the service is, and the key to one mailbox."""

    url: Annotated[
        str,
        Field(
            description="Address of the service, https://…",
            pattern=r"^https?://[^/\s:]+(:\d{1,5})?/?$",
        ),
    ]
    api_key: Annotated[SecretStr, Field(description="Key that the service gave for the mailbox")]
    ca_file: Annotated[
        str | None,
        Field(description="PEM file of the authorities to trust instead of the system's"),
    ] = None
    verify_tls: Annotated[
        bool, Field(description="Check the server's certificate; false is unsafe")
    ] = True
    timeout_seconds: Annotated[
        float, Field(description="How long to wait for the server", gt=0, le=3600)
    ] = 60.0
