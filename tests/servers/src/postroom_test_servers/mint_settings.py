"""The settings of `mint`."""

from __future__ import annotations

from typing import Annotated

from postroom.api.settings import CredentialSettings
from pydantic import Field, SecretStr


class MintSettings(CredentialSettings):
    """Where coins are made."""

    stamp: Annotated[SecretStr, Field(description="The stamp of the mint")]
