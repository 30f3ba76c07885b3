"""A clock that is set wrong, and right again: mail comes within two intervals, nothing spins."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from postroom import clock
from postroom.mailboxes import sides
from postroom.store.models import Mailbox, Outbox
from postroom_test_servers.desk import assert_each_once, mail
from postroom_test_servers.points import say
from postroom_test_servers.shelves import look, shelf_mailbox

STEPS = {
    "an hour back": timedelta(hours=-1),
    "an hour on": timedelta(hours=1),
    "fifty years on": timedelta(days=365 * 50),
    "fifty years back": timedelta(days=-365 * 50),
    "fifty-six years back": timedelta(days=-365 * 56),
    "fifty-six years on": timedelta(days=365 * 56),
    "a leap second": timedelta(seconds=-1),
    "ten minutes back": timedelta(minutes=-10),
}
INTERVAL = 60


class Clock:
    """Goes only when it is told."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 1, 5, 59, tzinfo=UTC)  # the night of daylight saving, too


@pytest.fixture
def times() -> Iterator[Clock]:
    told = Clock()
    clock.replace(lambda: told.time)
    yield told
    clock.replace(None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=365 * 50)], ids=str)
@pytest.mark.parametrize("is_new", [False, True], ids=["known", "new"])
def test_what_was_changed_by_a_wrong_clock_does_not_wait_for_that_time(
    store: str, times: Clock, ahead: timedelta, is_new: bool
) -> None:
    with shelf_mailbox(poll_seconds=INTERVAL, created_at=times.time) as (shelf, runner):
        if not is_new:
            look(runner)
        visits = shelf.visits
        times.time += ahead
        sides.forget_cursor(Mailbox.get())
        times.time -= ahead + timedelta(seconds=10)
        look(runner)

    assert shelf.visits > visits


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seed", range(5))
def test_mail_comes_soon_after_any_step(store: str, times: Clock, seed: int) -> None:
    steps = list(STEPS.items())
    random.Random(seed).shuffle(steps)
    raws = []

    with shelf_mailbox(poll_seconds=INTERVAL, created_at=times.time) as (shelf, runner):
        look(runner)
        for i, (name, step) in enumerate(steps):
            raws.append(mail(f"m{i}"))
            shelf.put(raws[-1], received_at=datetime(2026, 11, 1, tzinfo=UTC))
            times.time += step
            visits = shelf.visits
            for _ in range(2 * INTERVAL):
                times.time += timedelta(seconds=1)
                look(runner)

            assert shelf.downloads[-1] == f"shelf;{i + 1}", name
            assert 1 <= shelf.visits - visits <= 4, name

    assert_each_once(raws)
    say(f"{len(steps)} steps of the clock, order {seed}: 0 lost, next retrieval within 2 intervals")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_waited_for_a_time_that_was_never_meant_goes_out(store: str, times: Clock) -> None:
    with shelf_mailbox(created_at=times.time, acknowledge=True) as (shelf, runner):
        times.time += timedelta(days=365 * 50)
        shelf.put(
            mail("m", "Received: from a by b; Tue, 3 Mar 2076 10:00:00 +0000"),
            received_at=times.time,
        )
        look(runner)
        Outbox.update(next_try_at=times.time + timedelta(hours=4), state="queued").execute()
        times.time -= timedelta(days=365 * 50)

        look(runner)
        look(runner)

        assert Outbox.select().where(Outbox.state == "sent").count() == len(shelf.sent) > 0
