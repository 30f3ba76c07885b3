"""A mailbox whose server has news is due at once, whatever is going on with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from postroom import plugins
from postroom.api import Capability
from postroom.leases import health
from postroom.mailboxes import mailboxes, sides
from postroom.runner.watch import Watcher
from postroom.store.database import now
from postroom.store.models import Side
from postroom_test_servers.pigeon import FakePlugins, Pigeon


class Watching:
    """A session that only waits: on `news`, or to be interrupted."""

    def __init__(self) -> None:
        self.news = threading.Event()
        self.waits: list[float] = []

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        told = self.news.wait(min(timeout, 30))
        self.news.clear()
        return told

    def interrupt(self) -> None:
        self.news.set()

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class PushingPigeon(Pigeon):
    """A transport that pushes."""

    name = "pushing"
    capabilities = Capability.PUSH

    def __init__(self) -> None:
        self.session = Watching()

    def open_receiver(self, settings: Any, context: Any) -> Any:
        return self.session


@pytest.fixture
def pushing() -> Iterator[PushingPigeon]:
    """The only transport installed."""
    transport = PushingPigeon()
    plugins.use(FakePlugins([transport]))
    yield transport
    plugins.use(None)


@pytest.fixture
def side(store: str, pushing: PushingPigeon) -> Side:
    """One that is well and not due for an hour."""
    mailbox = mailboxes.add("info@example.org")
    side = sides.save(mailbox, "in", "pushing", {"host": "loft"})
    health.note_success(side, now() + timedelta(hours=1))
    return Side.get_by_id(side.id)


def _is_due(side: Side) -> bool:
    return bool(Side.get_by_id(side.id).next_try_at <= now())


def test_mail_that_came_before_the_watcher_was_ready_is_fetched(
    side: Side, pushing: PushingPigeon
) -> None:
    wake = threading.Event()
    watcher = Watcher(side, plugins.load(), wake)

    woken = wake.wait(20)
    watcher.stop()
    watcher.join()

    assert woken
    assert pushing.session.waits[0] == 0
    assert _is_due(side)


def test_news_during_a_visit_outlast_it(side: Side) -> None:
    Side.update(next_try_at=now()).where(Side.id == side.id).execute()  # as a watcher does

    health.note_success(side, now() + timedelta(hours=1))

    assert _is_due(side)


def test_a_visit_without_news_puts_the_next_one_off(side: Side) -> None:
    health.note_success(side, now() + timedelta(hours=1))

    assert not _is_due(side)
