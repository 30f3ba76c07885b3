"""What an administrator sets: where the mail lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from postroom.api.settings import TransportSettings
from pydantic import AfterValidator, Field


def _absolute(path: str) -> str:
    """Refuse what means another place to the runner, which has another folder."""
    expanded = os.path.expanduser(path)
    if not os.path.isabs(expanded) or "\0" in expanded:
        raise ValueError("must be an absolute path")
    return str(Path(expanded))


class MaildirSettings(TransportSettings):
    """The Maildir."""

    path: Annotated[
        str,
        Field(description="The Maildir: the folder that holds cur, new and tmp", min_length=1),
        AfterValidator(_absolute),
    ]


class MboxSettings(TransportSettings):
    """The mbox file."""

    path: Annotated[
        str, Field(description="The mbox file", min_length=1), AfterValidator(_absolute)
    ]


class EmlSettings(TransportSettings):
    """The folder, and which of its files are messages."""

    path: Annotated[
        str,
        Field(description="The folder that holds the files", min_length=1),
        AfterValidator(_absolute),
    ]
    pattern: Annotated[
        str, Field(description="Which files are messages, by their names", min_length=1)
    ] = "*.eml"
    subfolders: Annotated[bool, Field(description="Read the folders in it too")] = False
