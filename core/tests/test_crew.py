"""Sessions that do not come back: those that can be interrupted, and those that cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postroom import plugins, time_limit
from postroom.admin import importing
from postroom.api import Checkpoint, Event, Fetched, Listed, TransientError, codes
from postroom.api.transport import Wanted
from postroom.errors import LeaseLostError
from postroom.leases import health
from postroom.leases.leases import Keeper, Lease, claim
from postroom.leases.owners import new_owner
from postroom.mailboxes import mailboxes, sides
from postroom.runner import crew
from postroom.runner.crew import MOST_LEFT_BEHIND, Crew
from postroom.runner.runner import Runner
from postroom.store.models import Mailbox, Receipt, Side, Trouble
from postroom_test_servers.pigeon import FakePlugins, Homing, PigeonSettings
from postroom_test_servers.shelves import look, shelf_mailbox


class Sleeper:
    """A session that does nothing before it is interrupted.

    :param says: what it then does
    """

    def __init__(self, says: Callable[[], None]) -> None:
        self._woken = threading.Event()
        self._says = says

    def fetch(self, cursor: str | None, **_: Any) -> Iterator[Any]:
        self._woken.wait(30)
        self._says()
        return iter(())

    def interrupt(self) -> None:
        self._woken.set()

    def close(self) -> None:
        pass


class SleepyPigeon(Homing):
    """A transport whose sessions wait to be interrupted."""

    says: Callable[[], None]

    def open_receiver(self, settings: Any, context: Any) -> Any:
        return Sleeper(self.says)


@pytest.fixture
def pigeon(store: str) -> Iterator[SleepyPigeon]:
    """The only transport, of six mailboxes."""
    transport = SleepyPigeon()
    plugins.use(FakePlugins([transport]))
    for number in range(MOST_LEFT_BEHIND + 2):
        sides.save(mailboxes.add(f"{number}@example.org"), "in", "homing", {"host": "loft"})
    yield transport
    plugins.use(None)


def raise_as_agreed() -> None:
    raise TransientError(codes.CONNECTION_LOST, "It was interrupted.")


@pytest.mark.parametrize("says", [raise_as_agreed, lambda: None], ids=["raises", "returns"])
def test_a_silent_session_is_interrupted_and_that_is_what_is_told(
    pigeon: SleepyPigeon, says: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", "1")
    pigeon.says = says

    outcome = Runner(plugins.load()).run_once()

    assert outcome.exit_code == 75
    troubles = list(Trouble.select())
    assert len(troubles) == MOST_LEFT_BEHIND + 2
    assert {trouble.code for trouble in troubles} == {"TIMEOUT"}
    assert "transport homing gave no sign of life in fetch for 1 s" in troubles[0].sentence
    assert not Side.select().where(Side.lease_owner.is_null(False)).exists()


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "1e400"])
def test_a_patience_that_cannot_be_is_told_once(
    given: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", given)
    time_limit._seconds.cache_clear()

    assert [time_limit.patience(), time_limit.patience()] == [120, 120]
    assert caplog.text.count("POSTROOM_STALL_SECONDS") == 1


class Hanging:
    """A crew, and visits that hang in their plugin until `free` is set."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.begun = 0
        self.heard: list[Event] = []
        self.keeper = Keeper()
        self.crew = Crew(20, plugins.load(), self.keeper, threading.Event())

    def start(self, lease: Lease) -> None:
        """Start a visit that hangs."""
        lease.pulse.patience = 0.0

        def work() -> None:
            self.begun += 1
            with lease.pulse.inside("fetch"):
                self.free.wait(30)

        self.crew.start(lease, work)

    def tend_until_idle(self) -> None:
        """Let the crew do its work."""
        while self.crew.is_busy:
            self.crew.tend()


@pytest.fixture
def hanging(pigeon: SleepyPigeon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """The time to end is none."""
    monkeypatch.setattr(crew, "END_SECONDS", 0.0)
    made = Hanging()
    yield made
    made.free.set()
    made.keeper.close()


def test_several_sessions_that_hang_are_enough(hanging: Hanging) -> None:
    leases = claim(new_owner(), "in", limit=MOST_LEFT_BEHIND + 2)
    for lease in leases[:MOST_LEFT_BEHIND]:
        hanging.start(lease)
    hanging.tend_until_idle()

    hanging.start(leases[MOST_LEFT_BEHIND])

    assert hanging.crew.has_left_behind
    assert hanging.begun == MOST_LEFT_BEHIND
    assert {trouble.code for trouble in Trouble.select()} == {"PLUGIN-HANGS"}
    assert Trouble.select().count() == MOST_LEFT_BEHIND + 1
    assert all(lease.lost for lease in leases[: MOST_LEFT_BEHIND + 1])

    hanging.free.set()
    while hanging.crew.has_left_behind:
        hanging.crew.tend()
    hanging.start(leases[-1])
    assert hanging.begun == MOST_LEFT_BEHIND + 1


def test_what_was_left_behind_changes_nothing_when_it_wakes(hanging: Hanging) -> None:
    [lease] = claim(new_owner(), "in", limit=1)
    hanging.start(lease)
    hanging.tend_until_idle()

    [again] = claim(new_owner(), "in", sides=[lease.side_id], only_due=False)

    assert again.generation > lease.generation
    with pytest.raises(LeaseLostError):
        lease.hold()


# ---------------------------------------------------------------------------- what came before


class Stumbler(Sleeper):
    """A session that hands two messages out, and hangs until `free` is set, whatever it is told.

    :param ending: what it does then
    """

    def __init__(self, free: threading.Event, ending: Callable[[Wanted], Any]) -> None:
        self._free, self._ending = free, ending

    def fetch(self, cursor: str | None, *, wanted: Wanted, **_: Any) -> Iterator[Any]:
        wanted([Listed(str(number)) for number in range(4)])
        for number in range(2):
            yield Fetched(str(number), b"Subject: %d\r\n\r\n%d\r\n" % (number, number))
        self._free.wait(30)
        yield from self._ending(wanted)

    def interrupt(self) -> None:
        pass


def more_comes(wanted: Wanted) -> Any:
    return [Fetched("2", b"Subject: 2\r\n\r\n2\r\n"), Checkpoint("2")]


def asks_again(wanted: Wanted) -> Any:
    wanted([Listed("3")])
    return more_comes(wanted)


def raises_late(wanted: Wanted) -> Any:
    raise TransientError(codes.CONNECTION_LOST, "It was interrupted.")


@pytest.mark.parametrize("ending", [more_comes, asks_again, raises_late])
def test_what_came_before_a_plugin_hung_is_stored_once(
    pigeon: SleepyPigeon, monkeypatch: pytest.MonkeyPatch, ending: Callable[[Wanted], Any]
) -> None:
    monkeypatch.setattr(crew, "END_SECONDS", 0.0)
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", "1")
    free = threading.Event()
    monkeypatch.setattr(pigeon, "open_receiver", lambda *_: Stumbler(free, ending))
    mailbox = mailboxes.add("all@example.org", start="all")
    sides.save(mailbox, "in", "homing", {"host": "loft"})
    Mailbox.update(enabled=False).where(Mailbox.id != mailbox.id).execute()
    before = set(threading.enumerate())

    Runner(plugins.load()).run_once()

    refs = [receipt.ref for receipt in Receipt.select().order_by(Receipt.ref)]
    assert refs == ["0", "1"]
    assert {trouble.code for trouble in Trouble.select()} == {"PLUGIN-HANGS"}

    visits = [one for one in set(threading.enumerate()) - before if one.name.startswith("visit")]
    free.set()
    for visit in visits:
        visit.join(10)
    assert [visit.is_alive() for visit in visits] == [False]
    assert Receipt.select().count() == 2
    assert not Mailbox.get_by_id(mailbox.id).cursor


class _PathSettings(PigeonSettings):
    path: str


def test_an_import_whose_files_are_silent_ends(
    pigeon: SleepyPigeon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", "1")
    monkeypatch.setattr(pigeon, "receiver_settings", lambda: _PathSettings)
    pigeon.says = lambda: None
    mailbox = mailboxes.find("0@example.org")
    source = importing.source(plugins.load(), "homing", str(tmp_path), {"host": "loft"})

    with pytest.raises(TransientError, match=r"homing.* gave no sign of life in fetch") as caught:
        source.bring_in(mailbox, plugins.load())

    assert caught.value.code is codes.TIMEOUT
    assert not Side.select().where(Side.lease_owner.is_null(False)).exists()


@pytest.mark.usefixtures("store")
def test_a_visit_that_ends_in_a_bug_of_ours_is_not_repeated_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise LookupError

    monkeypatch.setattr(health, "note_success", fail)
    with shelf_mailbox() as (shelf, working):
        look(working)
        look(working)

        assert shelf.visits == 1
        assert caplog.messages.count("A visit failed in a way it should not") == 1
