"""What the kit lends to sessions."""

from __future__ import annotations

from postroom.api import Token
from postroom.context import SessionContext
from postroom.testing.harness import Harness

ADDRESS = "support@example.org"


class KitContext(SessionContext):
    """The core's context, with tokens from the harness."""

    def __init__(self, transport: str, harness: Harness) -> None:
        super().__init__(ADDRESS, transport)
        self._harness = harness

    def token(self, purpose: str, *, rejected: Token | None = None) -> Token:
        """Return what the harness lends."""
        return self._harness.token(purpose, rejected)
