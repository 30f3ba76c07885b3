"""A lease that ends, or may have ended, keeps its holder from the wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from postroom import plugins
from postroom.errors import DatabaseAwayError, LeaseLostError
from postroom.leases import leases
from postroom.leases.leases import WIRE_MARGIN_SECONDS, Keeper, Lease, claim
from postroom.leases.owners import new_owner
from postroom.outbox import answers
from postroom.runner.visits import visit_incoming, visit_outgoing
from postroom.store.models import Mailbox, Outbox, Question, Receipt, Side
from postroom_test_servers.desk import mail
from postroom_test_servers.shelf import Shelf, ShelfSender
from postroom_test_servers.shelves import shelf_mailbox, visit

pytestmark = pytest.mark.usefixtures("store")
SECONDS = 20.0
"""So long a test waits for another thread."""


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """The server of a mailbox with one question."""
    with shelf_mailbox() as (shelf, runner):
        shelf.put(mail("a"))
        visit(runner)
        yield shelf


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """Renews leases all the time."""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.001)
    made = Keeper()
    yield made
    made.close()


def kept(keeper: Keeper) -> tuple[Lease, threading.Event]:
    """Return a lease that is renewed, and what is set when it is lost."""
    [lease] = claim(new_owner(), "in", only_due=False)
    lost = threading.Event()
    lease.on_lost = lost.set
    keeper.keep(lease)
    return lease, lost


@pytest.mark.parametrize("direction", ["in", "out"])
def test_with_little_time_left_the_server_is_asked_nothing(shelf: Shelf, direction: str) -> None:
    shelf.put(mail("b"))
    answers.answer(Question.get(), "Five.", author="Eve")
    keeper = Keeper()
    [lease] = claim(new_owner(), direction, only_due=False)
    lease.deadline = time.monotonic() + WIRE_MARGIN_SECONDS / 2

    work = visit_incoming if direction == "in" else visit_outgoing
    assert isinstance(work(lease, plugins.load(), keeper), LeaseLostError)

    keeper.close()
    assert (shelf.sent, shelf.visits, Receipt.select().count()) == ([], 1, 1)
    assert Outbox.get().state == "queued"


def test_a_lease_that_another_took_interrupts_its_holder(shelf: Shelf, keeper: Keeper) -> None:
    lease, lost = kept(keeper)

    Side.update(generation=Side.generation + 1, lease_owner="another").execute()

    assert lost.wait(SECONDS)
    assert lease.lost


def test_a_lease_that_cannot_be_renewed_interrupts_its_holder_before_it_ends(
    shelf: Shelf, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Semaphore(0)

    def fail(_: Lease) -> bool:
        tried.release()
        raise DatabaseAwayError("The database is away.")

    monkeypatch.setattr(Lease, "renew", fail)
    lease, lost = kept(keeper)
    for _ in range(5):
        assert tried.acquire(timeout=SECONDS)
    was_lost_at_once = lost.is_set()
    lease.deadline = time.monotonic() + WIRE_MARGIN_SECONDS / 2

    assert lost.wait(SECONDS)
    assert not was_lost_at_once


def test_the_holder_counts_the_time_from_before_the_database_was_asked(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it does not take the lease for its own when another may have it."""
    asked: list[float] = []
    ask = leases.now

    def now() -> datetime:
        asked.append(time.monotonic())
        return ask()

    monkeypatch.setattr(leases, "now", now)
    begun = time.monotonic()
    [lease] = claim(new_owner(), "in", only_due=False)
    assert begun <= lease.deadline - leases.LEASE_SECONDS <= asked[-1]

    begun = time.monotonic()
    assert lease.renew()
    assert begun <= lease.deadline - leases.LEASE_SECONDS <= asked[-1]


def test_nothing_is_sent_when_preparing_it_took_too_long(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.answer(Question.get(), "Five.", author="Eve")
    keeper = Keeper()
    [lease] = claim(new_owner(), "out", only_due=False)

    def prepare(*_: object) -> None:
        lease.deadline = time.monotonic() + WIRE_MARGIN_SECONDS / 2

    monkeypatch.setattr(ShelfSender, "prepare", prepare)
    assert isinstance(visit_outgoing(lease, plugins.load(), keeper), LeaseLostError)

    keeper.close()
    assert (Outbox.get().state, shelf.sent) == ("queued", [])


def test_nothing_is_marked_when_retrieving_took_too_long(shelf: Shelf) -> None:
    Mailbox.update(disposition="seen").execute()
    shelf.put(mail("b"))
    keeper = Keeper()
    [lease] = claim(new_owner(), "in", only_due=False)

    def take_long(_: str) -> None:
        lease.deadline = time.monotonic() + WIRE_MARGIN_SECONDS / 2

    shelf.on_fetch = take_long
    assert isinstance(visit_incoming(lease, plugins.load(), keeper), LeaseLostError)

    keeper.close()
    assert (Receipt.select().where(Receipt.settle).count(), shelf.settled) == (1, [])
