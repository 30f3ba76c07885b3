"""What `run --once` says in the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from postroom import plugins
from postroom.admin import quarantine
from postroom.api import (
    Capability,
    Checkpoint,
    Fetched,
    Listed,
    Oversized,
    TransientError,
    TransportError,
    Unavailable,
    Unsettled,
    codes,
)
from postroom.errors import LeaseLostError
from postroom.intake.unstored import Unstored
from postroom.leases import health
from postroom.mailboxes import mailboxes, sides
from postroom.runner import runner as runner_module
from postroom.runner.runner import Outcome, Runner
from postroom.store.database import now
from postroom.store.models import Mailbox, Receipt, Side, Trouble
from postroom_test_servers.pigeon import FakePlugins, Homing

TOO_LARGE = 1 << 40


class HeavyPigeon(Homing):
    """A transport whose messages are too large, or cannot be read."""

    too_large: Sequence[str] = ()
    unreadable: Sequence[str] = ()
    size_told: int | None = None
    complaint: str = "It cannot be read."
    trouble: TransportError | None = None
    size: int = TOO_LARGE
    asked_for: int = 0
    breaks_at: str = ""

    def open_receiver(self, settings: Any, context: Any) -> Any:
        return self

    def fetch(self, cursor: str | None, *, limits: Any, wanted: Any) -> Iterator[Any]:
        refs = [*self.too_large, *self.unreadable]
        chosen = wanted([Listed(ref, None, self.size_told) for ref in refs])
        error = TransportError(codes.MESSAGE_UNREADABLE, self.complaint)
        self.asked_for += len(chosen)
        for ref in chosen:
            if ref == self.breaks_at:
                raise TransientError(codes.CONNECTION_LOST, "It broke.")
            large = ref in self.too_large
            yield Oversized(ref, self.size, None) if large else Unavailable(ref, error)
        if self.trouble is not None:
            raise self.trouble
        yield Checkpoint("")

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def pigeon(store: str) -> Iterator[HeavyPigeon]:
    """The only transport, of one mailbox."""
    transport = HeavyPigeon()
    plugins.use(FakePlugins([transport]))
    sides.save(mailboxes.add("info@example.org", start="all"), "in", "homing", {"host": "loft"})
    yield transport
    plugins.use(None)


def run_once() -> Outcome:
    return Runner(plugins.load()).run_once()


def test_what_is_new_for_a_person_is_told_once(pigeon: HeavyPigeon) -> None:
    pigeon.too_large, pigeon.unreadable = ["1", "2"], ["3"]

    first, second = run_once(), run_once()

    assert first.remarks == [
        "1 new in quarantine: see `postroom quarantine list`.",
        "2 too large: see `postroom quarantine list`.",
    ]
    assert (first.exit_code, second.exit_code) == (3, 0)
    assert second.remarks == []


def test_what_is_new_is_told_also_where_more_has_gone(pigeon: HeavyPigeon) -> None:
    pigeon.too_large, pigeon.unreadable = ["1", "2"], ["3"]
    run_once()
    pigeon.too_large, pigeon.unreadable = ["4"], []
    Mailbox.update(cursor=None).execute()

    outcome = run_once()

    assert outcome.exit_code == 3
    assert outcome.remarks == ["1 too large: see `postroom quarantine list`."]


@pytest.mark.parametrize("size", [1 << 31, 1 << 40, 1 << 64])
def test_size_that_no_column_holds_is_refused_once(pigeon: HeavyPigeon, size: int) -> None:
    """A server may say anything: it must not stop the mailbox."""
    pigeon.too_large, pigeon.size_told = ["1"], size

    assert [run_once().exit_code, run_once().exit_code] == [3, 0]
    assert [one.outcome for one in Receipt.select()] == ["refused"]


def test_message_that_is_larger_than_listed_is_asked_for_once_and_on_request(
    pigeon: HeavyPigeon,
) -> None:
    pigeon.too_large, pigeon.size_told = ["1"], 1000

    assert [run_once().exit_code for _ in range(3)] == [3, 0, 0]
    assert pigeon.asked_for == Receipt.select().count() == 1

    quarantine.retry(Receipt.get().id, plugins.load())
    assert [run_once().exit_code for _ in range(2)] == [3, 0]
    assert pigeon.asked_for == 2


@pytest.mark.parametrize(("words", "kept"), [("no\0 such", "no such"), ("no\udcff", "no?")])
def test_words_that_no_database_takes_stop_no_mailbox(
    pigeon: HeavyPigeon, words: str, kept: str
) -> None:
    pigeon.unreadable, pigeon.complaint = ["1"], words
    pigeon.trouble = TransientError(codes.SERVER_BUSY, words)

    assert run_once().exit_code == 3
    assert [one.reason for one in Receipt.select()] == [kept]
    assert [one.sentence for one in Trouble.select()] == [kept]


def test_what_breaks_a_visit_when_it_is_asked_for_again_does_not_break_the_next(
    pigeon: HeavyPigeon,
) -> None:
    """It may be alone in its mailbox, so that a receiver cannot tell it from a bad network."""
    pigeon.unreadable = ["1"]
    run_once()
    pigeon.breaks_at = "1"
    for tries in (2, 3, 4, 5, 5, 5):
        Receipt.update(next_try_at=0).where(Receipt.next_try_at.is_null(False)).execute()

        broken, next_one = run_once(), run_once()

        assert (broken.exit_code, next_one.exit_code) == (75, 0)
        receipt = Receipt.get()
        assert receipt.tries == tries
        assert receipt.next_try_at > now()


def test_new_mail_that_broke_a_visit_is_asked_for_at_once(pigeon: HeavyPigeon) -> None:
    pigeon.unreadable, pigeon.breaks_at = ["1"], "1"
    run_once()

    run_once()

    assert pigeon.asked_for == 2
    assert not Receipt.select().exists()


@pytest.mark.parametrize(
    ("size", "limit", "times"), [(200 << 20, 300 << 20, 2), (TOO_LARGE, (1 << 31) - 1, 1)]
)
def test_message_of_no_listed_size_is_asked_for_where_the_limit_was_raised_above_it(
    pigeon: HeavyPigeon, size: int, limit: int, times: int
) -> None:
    pigeon.too_large, pigeon.size = ["1"], size
    run_once()

    mailboxes.put("info@example.org", {"max_message_bytes": limit})

    assert [run_once().exit_code for _ in range(3)] == [3 if times == 2 else 0, 0, 0]
    assert pigeon.asked_for == times


# ---------------------------------------------------------------- what the server refuses


class StubbornPigeon(HeavyPigeon):
    """One whose messages stay: it has news at each visit, for so many visits."""

    capabilities = Capability.DELETE
    visits = 4

    def __init__(self) -> None:
        self.fetched, self.asked_to_settle = 0, 0
        self.had_all = threading.Event()

    def fetch(self, cursor: str | None, *, limits: Any, wanted: Any) -> Iterator[Any]:
        for ref in wanted([Listed("1", None, 9)]):
            yield Fetched(ref, b"Subject: a\r\n\r\nb\r\n")
        self.fetched += 1
        if self.fetched < self.visits:
            Side.update(next_try_at=self.fetched).execute()  # as a watcher does
        yield Checkpoint("")

    def settle(self, refs: Sequence[str], disposition: Any) -> Iterator[Unsettled]:
        self.asked_to_settle += 1
        error = TransientError(codes.DISPOSITION_REFUSED, "It stays.")
        yield from (Unsettled(ref, error) for ref in refs)

    def close(self) -> None:
        if self.fetched >= self.visits:
            self.had_all.set()


@pytest.fixture
def stubborn(store: str) -> Iterator[StubbornPigeon]:
    transport = StubbornPigeon()
    plugins.use(FakePlugins([transport]))
    mailbox = mailboxes.add("info@example.org", start="all", disposition="delete")
    sides.save(mailbox, "in", "homing", {"host": "loft"})
    yield transport
    plugins.use(None)


def test_runner_retrieves_on_and_leaves_what_was_refused_for_later(
    stubborn: StubbornPigeon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(health, "TRANSIENT_PAUSES", (timedelta(hours=1), timedelta(hours=1)))
    runner = Runner(plugins.load())
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        assert stubborn.had_all.wait(60)
    finally:
        runner.stop()
        thread.join(60)

    assert (stubborn.fetched, stubborn.asked_to_settle) == (4, 1)


def test_run_once_asks_each_time_for_what_was_refused(stubborn: StubbornPigeon) -> None:
    outcomes = [run_once(), run_once()]

    assert [one.exit_code for one in outcomes] == [75, 75]
    assert stubborn.asked_to_settle == 2
    assert outcomes[1].remarks == [
        f"info@example.org (in): It stays. {codes.DISPOSITION_REFUSED.next_step}"
    ]


def test_what_another_runner_took_over_is_to_be_looked_at_later(
    stubborn: StubbornPigeon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_lease(*_: object) -> None:
        raise LeaseLostError("Another runner took over.")

    monkeypatch.setattr(Unstored, "write", lose_the_lease)

    outcome = run_once()

    assert outcome.exit_code == 75
    assert outcome.remarks == ["info@example.org: Another runner took over."]


def test_what_was_not_committed_is_not_summed_up(
    stubborn: StubbornPigeon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_lease(*_: object) -> None:
        raise LeaseLostError("Another runner took over.")

    with monkeypatch.context() as patch:
        patch.setattr(Unstored, "write", lose_the_lease)  # what it follows was counted already
        lost = run_once()
    found = run_once()

    assert lost.tallies == {}
    assert found.tallies["info@example.org"].stored == 1
