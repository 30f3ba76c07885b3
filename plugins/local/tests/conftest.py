"""Places with mail in them, and receivers for these."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from postroom.api import Fetched, Limits, Listed, Receiver, Spool
from postroom.api.transport import Delivery
from postroom_local.plugin import postroom_transports
from postroom_test_servers.context import LoopbackContext

TRANSPORTS = {transport.name: transport for transport in postroom_transports()}


def letter(number: int, *, size: int = 0) -> bytes:
    """A message, told from others by its number."""
    return (
        b"Message-ID: <%d@example.com>\nFrom: Ann <ann@example.com>\nTo: support@example.org\n"
        b"Subject: Letter %d\n\nHello %d.\n" % (number, number, number)
    ) + b"x" * size


@pytest.fixture
def open_receiver() -> Callable[..., Receiver]:
    """Open a receiver: ``open_receiver("eml", path=folder)``."""

    def open_one(name: str, **values: Any) -> Receiver:
        transport = TRANSPORTS[name]
        model = transport.receiver_settings()
        assert model is not None
        settings = model(**{key: _plain(value) for key, value in values.items()})
        return transport.open_receiver(settings, LoopbackContext())

    return open_one


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """An empty Maildir."""
    folder = tmp_path / "Maildir"
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    return folder


class Fetch:
    """What one `fetch` asked and yielded."""

    def __init__(
        self,
        receiver: Receiver,
        cursor: str | None = None,
        *,
        known: Collection[str] = (),
        **limits: int,
    ) -> None:
        self.listed: list[Listed] = []

        def wanted(page: Sequence[Listed]) -> list[str]:
            self.listed += page
            return [item.ref for item in page if item.ref not in known]

        deliveries = receiver.fetch(cursor, limits=Limits(**limits), wanted=wanted)
        self.deliveries: list[Delivery] = list(deliveries)
        self.fetched = [d for d in self.deliveries if isinstance(d, Fetched)]
        self.raws = [whole(item.raw) for item in self.fetched]

    @property
    def refs(self) -> list[str]:
        """Refs of the messages that came."""
        return [item.ref for item in self.fetched]


def whole(raw: bytes | Spool) -> bytes:
    """The bytes of a message, whatever its size."""
    if isinstance(raw, bytes):
        return raw
    try:
        return b"".join(raw.pieces())
    finally:
        raw.close()
