"""A mailbox that is deleted while a runner works on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from postroom.admin import deletion
from postroom.api import TransientError, codes
from postroom.leases.leases import Keeper, Lease, NoLease, claim
from postroom.runner import runner
from postroom.runner.crew import HangsError, give_back
from postroom.store.models import Mailbox
from postroom_test_servers.pigeon import FakePlugins
from postroom_test_servers.shelf import ShelfReceiver
from postroom_test_servers.shelves import look, shelf_mailbox

pytestmark = pytest.mark.usefixtures("store")


def _delete() -> None:
    deletion.delete(Mailbox.get())


def test_one_whose_plugin_hangs_ends_no_runner() -> None:
    keeper = Keeper()

    give_back(NoLease(1, side_id=1), HangsError("It hangs."), FakePlugins([]), keeper)

    keeper.close()


def test_one_that_was_just_claimed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def claim_late(*arguments: Any, **options: Any) -> list[Lease]:
        claimed = claim(*arguments, **options)
        if claimed:
            _delete()
        return claimed

    monkeypatch.setattr(runner, "claim", claim_late)
    with shelf_mailbox() as (shelf, working):
        look(working)

        assert not Mailbox.select().exists()
        assert shelf.visits == 0


@pytest.mark.parametrize("fails", [False, True])
def test_a_visit_ends_without_a_complaint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    def fetch(*_: Any, **__: Any) -> Iterator[Any]:
        _delete()
        if fails:
            raise TransientError(codes.TIMEOUT, "The server does not answer.")
        yield from ()

    monkeypatch.setattr(ShelfReceiver, "fetch", fetch)
    with shelf_mailbox() as (_, working), caplog.at_level(logging.WARNING):
        look(working)

    assert not Mailbox.select().exists()
    assert "A visit failed in a way it should not" not in caplog.messages
