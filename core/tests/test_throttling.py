"""Pauses and slots that sessions share, and the times that servers name."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postroom.api import throttling
from postroom.api.throttling import (
    InterruptedGateError,
    PausedError,
    borrow,
    give_back,
    retry_after,
)

NEVER = threading.Event()
KEY = "https://localhost/v1.0|support@example.org"


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test was told to wait concerns no other test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The machine's clock, in the test's hands."""
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


class Clock:
    """Seconds since the machine was started."""

    def __init__(self) -> None:
        self.now = time.monotonic()


@contextmanager
def borrowed(at_once: int = 4) -> Iterator[throttling.Gate]:
    """The gate, for the block."""
    ours = borrow(KEY, at_once=at_once)
    try:
        yield ours
    finally:
        give_back(ours)


@pytest.fixture
def interrupted() -> threading.Event:
    """An interruption that came already: who would have to wait raises."""
    event = threading.Event()
    event.set()
    return event


def test_four_pass_at_once_and_the_fifth_waits(interrupted: threading.Event):
    ours = borrow(KEY, at_once=4)
    taken = [ours.passed(NEVER) for _ in range(4)]
    for one in taken:
        one.__enter__()

    with pytest.raises(InterruptedGateError), ours.passed(interrupted):
        pass

    taken[0].__exit__(None, None, None)
    with ours.passed(NEVER):
        pass
    for one in taken[1:]:
        one.__exit__(None, None, None)
    give_back(ours)


def test_sessions_of_one_mailbox_share_a_gate_and_others_have_their_own():
    one, same, other = borrow(KEY, at_once=4), borrow(KEY, at_once=4), borrow(KEY + "x")

    assert one is same
    assert other is not one
    for each in (one, same, other):
        give_back(each)


def test_pause_holds_for_a_later_session_and_the_longest_counts():
    first = borrow(KEY, at_once=4)
    first.pause(60)
    first.pause(1)
    give_back(first)

    later = borrow(KEY, at_once=4)

    assert later is not first
    with pytest.raises(PausedError) as caught, later.passed(NEVER):
        pass
    assert 59 < caught.value.seconds <= 60 + throttling.MARGIN
    give_back(later)


def test_pause_is_bounded():
    ours = borrow(KEY, at_once=4)
    ours.pause(1e12)

    assert ours.remaining() <= throttling.LONGEST_PAUSE + 1
    give_back(ours)


def test_after_a_pause_one_passes_at_a_time_and_then_more(
    interrupted: threading.Event, clock: Clock
):
    with borrowed() as ours:
        ours.pause(1)
        clock.now += 2

        with ours.passed(NEVER):
            with pytest.raises(InterruptedGateError), ours.passed(interrupted):
                pass
            clock.now += 5
            with ours.passed(NEVER):
                pass


def test_who_has_passed_but_not_begun_is_held_by_a_later_pause(clock: Clock):
    with borrowed() as ours:
        with ours.passed(NEVER) as passage:
            ours.pause(7)
            with pytest.raises(PausedError) as caught:
                passage.begin()
            assert not passage.has_begun
        assert caught.value.seconds == pytest.approx(7 + throttling.MARGIN)

        clock.now += 8
        with ours.passed(NEVER) as passage:
            passage.begin()
            assert passage.has_begun


def test_of_those_who_passed_before_a_pause_only_one_begins_after_it(clock: Clock):
    with borrowed() as ours, ours.passed(NEVER) as first, ours.passed(NEVER) as second:
        ours.pause(7)
        clock.now += 8

        first.begin()
        with pytest.raises(PausedError) as caught:
            second.begin()

    assert caught.value.seconds == 0


def test_slot_of_a_request_that_was_left_rests_and_that_of_an_answered_one_does_not(
    interrupted: threading.Event, clock: Clock
):
    with borrowed(at_once=1) as ours:
        with ours.passed(NEVER) as answered:
            answered.begin()
            answered.end()
        with ours.passed(NEVER) as left:
            left.begin()

        with pytest.raises(InterruptedGateError), ours.passed(interrupted):
            pass

        clock.now += throttling.REST
        with ours.passed(NEVER) as never_sent:
            assert not never_sent.has_begun
        with ours.passed(NEVER):
            pass


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("5", None, 5), ("0", None, 0), ("0.25", None, 0.25), (" 7 ", None, 7),
        ("1e30", None, throttling.LONGEST_PAUSE),
        ("", None, None), ("-5", None, None), ("nan", None, None), ("inf", None, None),
        ("soon", None, None), ("Fri, 99 Foo 2026", None, None),
        # 12:00:10 may mean 12:00:10.999
        ("Mon, 02 Mar 2026 12:00:10 GMT", None, 11),
        ("Mon, 02 Mar 2026 12:00:10 GMT", "Mon, 02 Mar 2026 11:59:58 GMT", 13),
        ("Mon, 02 Mar 2026 12:00:10 GMT", "Mon, 02 Mar 2026 12:00:10 GMT", 1),
        ("Mon, 02 Mar 2026 12:00:10 GMT", "no date", 11),
    ],
)  # fmt: skip
def test_what_a_server_asks_for_is_never_cut_short(
    value: str, date: str | None, seconds: float | None
):
    headers = {"Retry-After": value, **({"Date": date} if date else {})}

    assert retry_after(headers, datetime(2026, 3, 2, 12, tzinfo=UTC)) == seconds


HOLD = """
import sys, tempfile, threading
tempfile.tempdir = sys.argv[1]
from postroom.api.throttling import borrow
held = borrow(sys.argv[2], at_once=4)
slots = [held.passed(threading.Event()) for _ in range(4)] if held.remaining() == 0 else []
for slot in slots:
    slot.__enter__()
print("held", flush=True)
sys.stdin.readline()
held.pause(60)
print("paused", flush=True)
sys.stdin.readline()
"""


def test_another_process_holds_slots_until_it_dies_and_its_pause_outlives_it(
    interrupted: threading.Event,
):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tempfile.gettempdir(), KEY],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    ours = borrow(KEY, at_once=4)
    assert process.stdout.readline() == "held\n"

    with pytest.raises(InterruptedGateError), ours.passed(interrupted):
        pass
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "paused\n"
    process.kill()
    process.communicate()

    assert ours.remaining() > 50
    give_back(ours)


DIE = """
import os, sys, tempfile, threading
tempfile.tempdir = sys.argv[1]
from postroom.api.throttling import borrow
with borrow(sys.argv[2], at_once=1).passed(threading.Event()) as passage:
    passage.begin()
    os._exit(0)
"""


def test_request_of_a_process_that_died_counts_for_a_while(
    interrupted: threading.Event, clock: Clock
):
    subprocess.run([sys.executable, "-c", DIE, tempfile.gettempdir(), KEY], check=True)

    with borrowed(at_once=1) as ours:
        with pytest.raises(InterruptedGateError), ours.passed(interrupted):
            pass
        clock.now += throttling.REST
        with ours.passed(NEVER):
            pass


def test_shorter_pause_of_another_process_ends_no_longer_one():
    with borrowed() as ours:
        ours.pause(60)
        shorter = HOLD.replace("held.pause(60)", "held.pause(1)")
        subprocess.run(
            [sys.executable, "-c", shorter, tempfile.gettempdir(), KEY],
            input="\n\n", text=True, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    with borrowed() as later:
        assert later.remaining() > 50


def test_usual_folder_for_temporary_files_is_not_used_where_a_service_may_have_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    monkeypatch.setattr(throttling, "SHARED", tmp_path)

    with borrowed() as ours:
        ours.pause(60)

    [folder] = tmp_path.iterdir()
    assert folder.name == f"postroom-{throttling.os.getuid()}"
    assert len(list(folder.iterdir())) == 1


def test_without_a_folder_of_our_own_the_gate_is_the_processs(monkeypatch: pytest.MonkeyPatch):
    Path(tempfile.gettempdir(), f"postroom-{throttling.os.getuid()}").mkdir(mode=0o777)
    Path(tempfile.gettempdir(), f"postroom-{throttling.os.getuid()}").chmod(0o777)
    ours = borrow("kept in memory")
    ours.pause(60)
    give_back(ours)

    again = borrow("kept in memory")

    assert again.remaining() > 50
    give_back(again)
