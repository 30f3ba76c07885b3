"""The settings: from here come validation, command line options and what is sealed."""

from __future__ import annotations

from typing import Annotated

from postroom.api.settings import CaFile, TimeoutSeconds, TransportSettings, VerifyTls
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
    ca_file: CaFile = None
    verify_tls: VerifyTls = True
    timeout_seconds: TimeoutSeconds = 60.0
