"""The gate of a mailbox: four at once, and nobody before the time."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from postroom_graph import gate
from postroom_graph.gate import InterruptedGateError, PausedError

NEVER = threading.Event()
KEY = "https://localhost/v1.0|support@example.org"


@pytest.fixture
def interrupted() -> threading.Event:
    """An interruption that came already: who would have to wait raises."""
    event = threading.Event()
    event.set()
    return event


def test_four_pass_at_once_and_the_fifth_waits(interrupted: threading.Event):
    ours = gate.borrow(KEY)
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
    gate.give_back(ours)


def test_sessions_of_one_mailbox_share_a_gate_and_others_have_their_own():
    one, same, other = gate.borrow(KEY), gate.borrow(KEY), gate.borrow(KEY + "x")

    assert one is same
    assert other is not one
    for each in (one, same, other):
        gate.give_back(each)


def test_pause_holds_for_a_later_session_and_the_longest_counts():
    first = gate.borrow(KEY)
    first.pause(60)
    first.pause(1)
    gate.give_back(first)

    later = gate.borrow(KEY)

    assert later is not first
    with pytest.raises(PausedError) as caught, later.passed(NEVER):
        pass
    assert 59 < caught.value.seconds <= 60.1
    gate.give_back(later)


def test_pause_is_bounded():
    ours = gate.borrow(KEY)
    ours.pause(1e12)

    assert ours.remaining() <= gate.LONGEST_PAUSE + 1
    gate.give_back(ours)


def test_after_a_pause_one_passes_at_a_time_and_then_more(
    interrupted: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    ours = gate.borrow(KEY)
    ours.pause(0.001)
    later = time.monotonic() + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)

    with ours.passed(NEVER):
        with pytest.raises(InterruptedGateError), ours.passed(interrupted):
            pass
        later += 5
        with ours.passed(NEVER):
            pass
    gate.give_back(ours)


HOLD = """
import sys, tempfile, threading
tempfile.tempdir = sys.argv[1]
from postroom_graph import gate
held = gate.borrow(sys.argv[2])
slots = [held.passed(threading.Event()) for _ in range(4)]
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
    ours = gate.borrow(KEY)
    assert process.stdout.readline() == "held\n"

    with pytest.raises(InterruptedGateError), ours.passed(interrupted):
        pass
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "paused\n"
    process.kill()
    process.communicate()

    assert ours.remaining() > 50
    gate.give_back(ours)


def test_without_a_folder_of_our_own_the_gate_is_the_processs(monkeypatch: pytest.MonkeyPatch):
    Path(tempfile.gettempdir(), f"postroom-graph-{gate.os.getuid()}").mkdir(mode=0o777)
    Path(tempfile.gettempdir(), f"postroom-graph-{gate.os.getuid()}").chmod(0o777)
    ours = gate.borrow("kept in memory")
    ours.pause(60)
    gate.give_back(ours)

    again = gate.borrow("kept in memory")

    assert again.remaining() > 50
    gate.give_back(again)
