"""What happens on the server with what is stored, held against the side that has to do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from postroom.api.errors import Problem
from postroom.api.transport import Capability, Disposition, Transport
from postroom.errors import InputError

_NEEDS: Final = {
    "seen": Capability.SEEN,
    "move": Capability.MOVE,
    "delete": Capability.DELETE,
}


def of_columns(action: str, folder: str | None) -> Disposition:
    """Return the disposition that a mailbox's columns hold."""
    return Disposition(action, folder)  # type: ignore[arg-type]  # the column holds no other


def can_apply(transport: Transport, action: str) -> bool:
    """Say whether a transport has what a disposition needs."""
    return _NEEDS.get(action, Capability.NONE) in transport.capabilities


def refuse_unfit(wanted: Disposition, transport: Transport, watched: Sequence[str] | None) -> None:
    """Hold a disposition against an incoming side that watches these folders.

    :raises InputError: it does not go with it
    """
    if (says := _unfit(wanted, transport, watched)) is not None:
        raise InputError(
            "The disposition does not go with the incoming side.", [Problem("disposition", says)]
        )


def _unfit(wanted: Disposition, transport: Transport, watched: Sequence[str] | None) -> str | None:
    if not can_apply(transport, wanted.action):
        able = ", ".join(["leave", *(action for action in _NEEDS if can_apply(transport, action))])
        return f"{transport.name} cannot do that, only: {able}"
    keys = [_folder_key(folder) for folder in watched or ()]
    if wanted.folder is not None and _folder_key(wanted.folder) in keys:
        return f"the folder {wanted.folder} is watched itself"
    return None


def _folder_key(folder: str) -> str:
    """INBOX is the one name without case (RFC 9051 section 5.1)."""
    return folder.upper() if folder.upper() == "INBOX" else folder
