"""When what was retrieved is committed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postroom import intake, mailboxes
from postroom.api import Capability
from postroom.api.transport import Fetched, Listed, Receiver, Transport
from postroom.entrances import Entrance
from postroom.leases import NoLease
from postroom.store.models import Receipt
from postroom_test_servers.pigeon import FakePlugins, PigeonSettings

pytestmark = pytest.mark.usefixtures("store")

MESSAGES = 100


class Tortoise(Transport):
    """Hands out messages one by one, each after `pace` seconds of the clock it has."""

    name = "tortoise"
    title = "Tortoise"
    capabilities = Capability.NONE

    def __init__(self, pace: float) -> None:
        self.pace, self.now = pace, 0.0
        self.stored: list[int] = []
        """How many were in the database when each was handed out."""

    def receiver_settings(self) -> type[PigeonSettings]:
        return PigeonSettings

    def open_receiver(self, settings: Any, context: Any) -> Receiver:
        return _Walk(self)


class _Walk(Receiver):
    def __init__(self, tortoise: Tortoise) -> None:
        self._tortoise = tortoise

    def fetch(self, cursor: str | None, *, limits: Any, wanted: Any) -> Iterator[Fetched]:
        refs = [str(number) for number in range(MESSAGES)]
        wanted([Listed(ref) for ref in refs])
        for ref in refs:
            self._tortoise.now += self._tortoise.pace
            self._tortoise.stored.append(Receipt.select().count())
            yield Fetched(ref, f"Subject: {ref}\r\nMessage-ID: <{ref}@a.example>\r\n\r\n".encode())

    def list_refs(self) -> Any:
        raise NotImplementedError

    def settle(self, refs: Any, disposition: Any) -> Any:
        raise NotImplementedError

    def check(self) -> Any:
        raise NotImplementedError

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


def _walk(pace: float, monkeypatch: pytest.MonkeyPatch) -> Tortoise:
    tortoise = Tortoise(pace)
    monkeypatch.setattr(intake, "monotonic", lambda: tortoise.now)
    lease = NoLease(mailboxes.add("info@example.org").id)
    entrance = Entrance("-", acknowledges=False, transport=tortoise)
    tally = intake.Retrieval(lease, FakePlugins([tortoise]), entrance=entrance).run()
    assert tally.complete
    assert Receipt.select().count() == MESSAGES
    return tortoise


@pytest.mark.parametrize("pace", [0.5, 1.0, 5.0])
def test_a_slow_server_s_mail_is_committed_within_seconds(
    pace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a runner is killed: what it does in some seconds, it has done."""
    tortoise = _walk(pace, monkeypatch)

    longest = 3 * intake.BATCH_SECONDS + pace
    waiting = [number - stored for number, stored in enumerate(tortoise.stored)]
    assert max(waiting) * pace <= longest


def test_a_fast_server_s_mail_is_committed_in_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    tortoise = _walk(0.001, monkeypatch)

    assert set(tortoise.stored) == {0}
