"""Tokens as this process knows them, so that a session asks the database twice a minute, not with
each request."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from weakref import WeakKeyDictionary

from postroom import clock
from postroom.api.context import Token
from postroom.store.models import database

TRUST_SECONDS: Final = 30.0
"""So long a token is used without a look at the database: a credential may have been replaced."""
Asked = tuple[str, str, str]
"""The credential's name key, the purpose, the mailbox."""


@dataclass(frozen=True, slots=True)
class _Kept:
    token: Token
    refresh_at: datetime | None
    looked_at: float


class Memory:
    """What one database's tokens are, and whose turn it is to fetch. Thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[Asked, _Kept] = {}
        self._turns: dict[int, threading.Lock] = {}

    def get(self, asked: Asked) -> Token | None:
        """Return a token that can be used, if one is known."""
        kept = self._kept.get(asked)
        if kept is None or time.monotonic() - kept.looked_at > TRUST_SECONDS:
            return None
        if kept.refresh_at is not None and clock.now() >= kept.refresh_at:
            return None
        return kept.token

    def keep(self, asked: Asked, token: Token, refresh_at: datetime | None) -> None:
        """Remember what the database said."""
        self._kept[asked] = _Kept(token, refresh_at, time.monotonic())

    def drop(self, value: str) -> None:
        """Forget a token that a server refused, for every mailbox."""
        for asked, kept in list(self._kept.items()):
            if kept.token.value == value:
                self._kept.pop(asked, None)

    def turn(self, credential_id: int) -> threading.Lock:
        """Return the lock that threads of this process queue at, to fetch for a credential."""
        return self._turns.setdefault(credential_id, threading.Lock())

    def forget(self) -> None:
        """Know no token any more."""
        self._kept.clear()


_memories: WeakKeyDictionary[object, Memory] = WeakKeyDictionary()


def here() -> Memory:
    """Return the memory for the database in use."""
    return _memories.setdefault(database.obj, Memory())


def forget() -> None:
    """Look at the database before a token is used again."""
    here().forget()
