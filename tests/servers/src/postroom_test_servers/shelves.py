"""A mailbox whose server is a shelf in this process: faults of what a server says and does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from postroom import plugins
from postroom.intake.understanding.understood import IN_PLACE
from postroom.mailboxes import sides
from postroom.runner.runner import Runner
from postroom.store.models import Mailbox, Segment, Side

from postroom_test_servers.pigeon import FakePlugins
from postroom_test_servers.shelf import Shelf, ShelfTransport


@contextmanager
def shelf_mailbox(**values: Any) -> Iterator[tuple[Shelf, Runner]]:
    """Set up info@example.org on a new shelf, in and out; lend the shelf and a runner."""
    shelf = Shelf()
    loaded = FakePlugins([ShelfTransport(shelf)])
    plugins.use(loaded)
    instant = datetime.now(UTC)
    segment, _ = Segment.get_or_create(
        name_key="support", defaults={"name": "support", "created_at": instant}
    )  # type: ignore[no-untyped-call]  # peewee's stubs
    settings = {
        "address": "info@example.org",
        "start": "all",
        "created_at": instant - timedelta(minutes=1),
    }
    settings |= values
    mailbox = Mailbox.create(segment=segment, address_key=settings["address"], **settings)
    for direction in ("in", "out"):
        sides.save(mailbox, direction, "shelf", {})
    runner = Runner(loaded, workers=4)
    runner._understanding = IN_PLACE
    try:
        yield shelf, runner
    finally:
        runner._end()
        plugins.use(None)


def look(runner: Runner) -> None:
    """Do what `run` does once a second, and wait for the visits."""

    class NoWatchers:
        def adjust(self) -> None:
            """There is nothing to watch."""

    runner._look(NoWatchers())  # type: ignore[arg-type]
    while runner._crew.is_busy:
        time.sleep(0.002)
        runner._crew.tend()


def visit(runner: Runner) -> None:
    """Look again as if the time had come."""
    Side.update(next_try_at=0).execute()
    look(runner)
