"""An administrator who watches `status` is told that nobody retrieves or sends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result
from postroom.admin.overdue import overdue
from postroom.admin.status import status
from postroom.leases.leases import claim
from postroom.mailboxes import mailboxes, sides
from postroom.store.database import now
from postroom.store.models import Mailbox, Side
from postroom_test_servers.pigeon import FakePlugins

PIGEON = {"host": "loft", "username": "ann", "password": "corn and peas"}
LONG_AGO = timedelta(hours=2)


@pytest.fixture
def mailbox(store: str, pigeons: FakePlugins) -> Mailbox:
    """A mailbox that was just retrieved."""
    mailbox = mailboxes.add("info@example.org")
    sides.save(mailbox, "in", "pigeon", PIGEON)
    tried(now())
    return mailbox


def tried(instant: Any, **more: Any) -> None:
    due_at = instant + timedelta(seconds=60)
    Side.update(last_tried_at=instant, next_try_at=due_at, **more).execute()


def late() -> list[tuple[str, str]]:
    return [(one["mailbox"], one["direction"]) for one in overdue()]


def test_a_mailbox_that_nobody_retrieves_needs_a_person(
    mailbox: Mailbox, command: Callable[..., Result]
) -> None:
    assert not status()["needs_person"]
    tried(now() - LONG_AGO, last_success_at=now() - LONG_AGO)

    result = command("status")

    assert late() == [("info@example.org", "in")]
    assert result.exit_code == 3
    assert "no runner seems to run" in result.stdout
    assert "postroom run --once" in result.stdout
    assert status()["mailboxes"]["ok"] == 1  # as it was found when it was last visited


def test_cron_that_comes_every_hour_is_in_time(mailbox: Mailbox) -> None:
    tried(now() - timedelta(minutes=60))

    assert late() == []


def test_the_pace_of_the_mailbox_counts(mailbox: Mailbox) -> None:
    Mailbox.update(poll_seconds=86_400).execute()
    Side.update(last_tried_at=now() - timedelta(hours=20), next_try_at=0).execute()
    assert late() == []  # next_try_at: its settings were changed

    Side.update(last_tried_at=now() - timedelta(hours=26)).execute()
    assert late() == [("info@example.org", "in")]


def test_a_new_mailbox_is_late_an_hour_after_it_was_added(mailbox: Mailbox) -> None:
    Side.update(last_tried_at=None, next_try_at=0).execute()
    assert late() == []

    Mailbox.update(created_at=now() - LONG_AGO).execute()
    assert late() == [("info@example.org", "in")]


def test_what_an_administrator_changed_is_late_an_hour_after_that(mailbox: Mailbox) -> None:
    Mailbox.update(created_at=now() - LONG_AGO).execute()
    tried(now() - LONG_AGO)
    mailboxes.enable(mailbox, enabled=False)
    mailboxes.enable(mailbox, enabled=True)
    assert late() == []

    tried(now() - LONG_AGO)
    mailboxes.change(mailbox, enabled=False)
    mailboxes.change(mailbox, enabled=True)
    assert late() == []

    tried(now() - LONG_AGO)
    sides.save(mailbox, "in", "pigeon", PIGEON | {"password": "oats"})
    assert late() == []

    sides.remove(mailbox, "in")
    sides.save(mailbox, "in", "pigeon", PIGEON)
    assert late() == []


def test_what_is_disabled_or_worked_on_or_told_to_wait_is_not_late(mailbox: Mailbox) -> None:
    tried(now() - LONG_AGO)
    mailboxes.enable(mailbox, enabled=False)
    assert late() == []

    mailboxes.enable(mailbox, enabled=True)
    assert len(claim("somebody", "in", limit=1)) == 1
    assert late() == []

    Side.update(leased_until=now(), next_try_at=now() + timedelta(hours=6)).execute()
    assert late() == []
