"""Plugins that raise, leave or hang: other mailboxes go on, the runner ends, and an administrator
sees which plugin it was, and why. They are found as strangers' plugins are, by processes of their
own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postroom.store.models import Side
from postroom_test_servers.desk import PASSWORD, Desk, mail, toml
from postroom_test_servers.naughty import MARK_VARIABLE, PLACES, install, put

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def naughty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The misbehaving plugins are installed for every process that is started."""
    install(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", "5")
    return tmp_path / "site"


def configure(desk: Desk, folder: Path, *transports: str) -> None:
    """Make a mailbox for each transport, and good@example.org, which reads two files."""
    (folder / "eml").mkdir()
    for number in range(2):
        (folder / "eml" / f"{number}.eml").write_bytes(mail(f"good{number}"))
    tables = []
    for name in transports:
        tables += [
            toml("[[mailbox]]", address=f"{name}@example.org", start="all", disposition="seen"),
            toml("[mailbox.incoming]", transport=name),
        ]
    tables += [
        toml("[[mailbox]]", address="good@example.org", start="all"),
        toml("[mailbox.incoming]", transport="eml", path=folder / "eml"),
    ]
    path = folder / "postroom.toml"
    path.write_text("\n".join(tables))
    applied = desk.process("apply", str(path))
    assert applied.returncode == 0, applied.stderr


def errors(desk: Desk, name: str) -> dict[str, object]:
    """Return what is wrong with a mailbox, which is one thing."""
    [found] = [
        one
        for one in desk.json("mailbox", "errors", f"{name}@example.org")
        if one["cleared_at"] is None
    ]
    return found


def stored(desk: Desk, name: str) -> int:
    """Return how many messages of a mailbox became questions."""
    return sum(question["mailbox"] == f"{name}@example.org" for question in desk.questions())


def summed_up(printed: str) -> dict[str, int]:
    """Return how many messages of each mailbox were stored, as `run --once` says in the end."""
    lines = re.findall(r"^(\S+)@example\.org: (\d+) stored", printed, re.MULTILINE)
    return {name: int(count) for name, count in lines}


@pytest.mark.usefixtures("naughty")
def test_a_transport_that_raises_or_leaves_harms_its_own_mailbox_only(
    desk: Desk, tmp_path: Path
) -> None:
    names = [f"{place}-{way}" for place in PLACES for way in ("raise", "exit")]
    configure(desk, tmp_path, *names)

    run = desk.process("run", "--once", timeout=60)

    assert run.returncode == 3, run.stderr
    assert {name: stored(desk, name) for name in ("good", *names)} == {
        "good": 2,
        **dict.fromkeys(names, 0),
        **dict.fromkeys(("fetch-raise", "fetch-exit"), 3),
        **{name: 5 for name in names if name.startswith(("settle", "close"))},
    }
    assert summed_up(run.stdout) == {
        name: count for name in ("good", *names) if (count := stored(desk, name))
    }
    for name in names:
        assert_blamed(desk, run.stderr, name, "PLUGIN-BUG")
        assert "postroom_naughty.py, line" in str(errors(desk, name)["sentence"])


@pytest.mark.usefixtures("naughty")
def test_a_transport_that_hangs_harms_its_own_mailbox_only(desk: Desk, tmp_path: Path) -> None:
    names = [*(f"{place}-hang" for place in PLACES), "fetch-spin"]
    configure(desk, tmp_path, *names)

    run = desk.process("run", "--once", timeout=90)

    assert run.returncode == 3, run.stderr
    assert [stored(desk, name) for name in ("good", "settle-hang", "close-hang")] == [2, 5, 5]
    assert [stored(desk, name) for name in ("fetch-hang", "fetch-spin")] == [3, 3]
    assert summed_up(run.stdout) == {
        name: count for name in ("good", *names) if (count := stored(desk, name))
    }
    for name in names:
        assert_blamed(desk, run.stderr, name, "PLUGIN-HANGS")


def assert_blamed(desk: Desk, log: str, name: str, code: str) -> None:
    """The administrator sees the plugin, in the mailbox's errors and in the log; no secret."""
    trouble = errors(desk, name)
    assert trouble["code"] == code
    assert f"postroom-naughty 1.0 (transport {name})" in str(trouble["sentence"])
    assert f"transport {name})" in log
    assert PASSWORD not in str(trouble)


only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@only_sqlite
@pytest.mark.usefixtures("naughty")
@pytest.mark.parametrize(
    ("command", "place"), [("poll", "fetch"), ("test", "check"), ("audit", "list")]
)
def test_a_command_ends_although_its_plugin_hangs(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, place: str
) -> None:
    configure(desk, tmp_path, f"{place}-hang")
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", "1")

    done = desk.process("mailbox", command, f"{place}-hang@example.org", timeout=60)

    assert done.returncode == 1
    who = f"postroom-naughty 1.0 (transport {place}-hang) did not come back from"
    assert who in " ".join((done.stdout + done.stderr).split())
    if command == "poll":
        assert errors(desk, f"{place}-hang")["code"] == "PLUGIN-HANGS"
    assert not Side.select().where(Side.lease_owner.is_null(False)).exists()


@only_sqlite
@pytest.mark.usefixtures("naughty")
@pytest.mark.parametrize(
    ("command", "way"), [("poll", "raise"), ("poll", "exit"), ("test", "exit")]
)
def test_a_command_tells_whose_bug_it_is(
    desk: Desk, tmp_path: Path, command: str, way: str
) -> None:
    name = f"open-{way}"
    configure(desk, tmp_path, name)

    done = desk.process("mailbox", command, f"{name}@example.org", timeout=60)

    assert done.returncode == 1
    assert f"postroom-naughty 1.0 (transport {name}) failed" in done.stdout + done.stderr
    assert "An error in postroom itself" not in done.stderr


@only_sqlite
@pytest.mark.usefixtures("naughty")
@pytest.mark.parametrize(("command", "place"), [("poll", "fetch"), ("test", "check")])
def test_a_person_can_end_a_command_whose_plugin_hangs(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, place: str
) -> None:
    configure(desk, tmp_path, f"{place}-hang")
    mark = tmp_path / "hangs"
    monkeypatch.setenv(MARK_VARIABLE, str(mark))
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", "600")
    process = subprocess.Popen(
        [sys.executable, "-m", "postroom", "mailbox", command, f"{place}-hang@example.org"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 130
    assert said.strip() == ""
    if command == "poll":
        assert desk.json("mailbox", "errors", f"{place}-hang@example.org") == []


@pytest.fixture
def runner(desk: Desk, tmp_path: Path, naughty: Path) -> Iterator[subprocess.Popen[str]]:
    """A runner with mailboxes that hang, and one that does not."""
    configure(desk, tmp_path, *(f"{place}-hang" for place in PLACES), "fetch-spin")
    process = subprocess.Popen(
        [sys.executable, "-m", "postroom", "run"],
        env=os.environ | {"POSTROOM_STALL_SECONDS": "600"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_runner_ends_soon_although_plugins_hang(desk: Desk, runner: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while stored(desk, "good") < 2 or stored(desk, "close-hang") < 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    begun = time.monotonic()
    runner.send_signal(signal.SIGTERM)
    runner.wait(30)

    assert runner.returncode == 0
    assert time.monotonic() - begun < 10
    assert errors(desk, "fetch-hang")["code"] == "PLUGIN-HANGS"


def test_broken_plugins_stop_nothing_and_are_named_in_the_log(
    desk: Desk, naughty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_DISABLE_PLUGINS", "naugthy")
    put(naughty, "postroom-bad", {"postroom_bad": "import sys; sys.exit(3)"})
    configure(desk, tmp_path)

    run = desk.process("run", "--once", timeout=60)

    assert run.returncode == 0, run.stderr
    assert stored(desk, "good") == 2
    assert "Plugin bad (postroom-bad 1.0) is broken: SystemExit: 3" in run.stderr
    assert "POSTROOM_DISABLE_PLUGINS names naugthy, which is not installed" in run.stderr


def test_broken_plugins_are_listed_with_their_reasons(tmp_path: Path) -> None:
    install(tmp_path, broken=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "POSTROOM_STALL_SECONDS": "3"}
    reasons = {
        "import_raises": "RuntimeError: no",
        "import_exits": "SystemExit: 3",
        "import_hangs": "within 3 seconds",
        "hook_exits": "SystemExit: 3",
        "hook_hangs": "within 3 seconds",
        "hook_unknown": "no hook of postroom",
    }

    listed = subprocess.run(
        [sys.executable, "-m", "postroom", "plugin", "list", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert listed.returncode == 0
    found = {row["name"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert found["naughty"]["state"] == found["local"]["state"] == "ok"
    for name, reason in reasons.items():
        assert (found[name]["state"], found[name]["distribution"]) == ("broken", "postroom-naughty")
        assert reason in found[name]["reason"]
