"""What the kit lends to sessions."""

from __future__ import annotations

from postroom.api import Token
from postroom.credentials.context import SessionContext
from postroom.testing.harness import Harness

ADDRESS = "support@example.org"


class KitContext(SessionContext):
    """The core's context, with tokens from the harness; remembers who asked for which."""

    def __init__(self, transport: str, harness: Harness) -> None:
        super().__init__(ADDRESS, transport)
        self._harness = harness
        self.lent: list[Token] = []
        self.rejected: list[Token] = []

    def token(self, purpose: str, *, rejected: Token | None = None) -> Token:
        """Return what the harness lends."""
        if rejected is not None:
            self.rejected.append(rejected)
        lent = self._harness.token(purpose, rejected)
        self.lent.append(lent)
        return lent
