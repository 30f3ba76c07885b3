"""A power cut at any step: what was not waited for is lost, and no mail with it. SQLite; of what a
PostgreSQL keeps, PostgreSQL takes care.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postroom.store.database import now
from postroom.store.models import Mailbox, Message, database
from postroom_test_servers.crash import CrashHarness
from postroom_test_servers.crash_cases import CASES, Servers, count_steps
from postroom_test_servers.desk import (
    PASSWORD,
    PASSWORD_VARIABLE,
    Desk,
    assert_each_once,
    digest,
    incoming,
    mail,
    received_digests,
    toml,
)
from postroom_test_servers.points import points, say, takes_all
from postroom_test_servers.power import Files, Recorder
from postroom_test_servers.stores import Databases, installation, opened

SEEDS: tuple[int | None, ...] = (None, 1, 2) if takes_all() else (None,)
"""None: nothing of what was not waited for is left; else any part of it."""
pytestmark = pytest.mark.timeout(0 if takes_all() else 120)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Records what happens in a folder."""
    return Recorder(tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="module")
def on_disk(servers: Servers, recorder: Recorder) -> Iterator[Servers]:
    """The servers of the cases; databases and runs are recorded."""
    with CrashHarness(recorder.environ) as harness:
        databases = Databases(recorder.folder)
        yield replace(servers, databases=databases, harness=harness, folder=recorder.folder / "x")


def _chance(seed: int | None) -> random.Random | None:
    return None if seed is None else random.Random(seed)


@pytest.mark.parametrize("case", CASES if takes_all() else ["imap-delete", "pop3-delete"])
def test_power_cut_while_a_visit_is_under_way(
    on_disk: Servers, recorder: Recorder, case: str
) -> None:
    steps = count_steps(on_disk, case, "sqlite")
    # there the server is told what is stored, of a batch that was not waited for
    some = range(steps * 35 // 100, steps * 45 // 100)
    tried = [*(range(1, steps + 1) if takes_all() else points(some[-1], first=some[0], stride=24))]
    cuts = 0

    for step in tried:
        for seed in SEEDS:
            with CASES[case](on_disk, "sqlite") as (url, check):  # type: ignore[attr-defined]
                Mailbox.update(baseline_at=now()).execute()  # not its first visit
                database.close()
                before = recorder.snapshot()
                cuts += on_disk.harness.run(url, die_at=step).exit_code == -9
                recorder.put(recorder.journal(before).cut(_chance(seed)))
                for _ in range(2):
                    assert on_disk.harness.run(url).exit_code in (0, 3), (step, seed)
                check()
            for path in recorder.folder.glob("*/postroom.db*"):
                path.unlink()
    say(f"{case}, power cut at {cuts} of {steps} points: 0 lost, 0 doubled, 0 sent twice")


# ---------------------------------------------------------------------------- what a command did

BOX = toml("[[segment]]", name="support") + toml(
    "[[mailbox]]", address="info@example.org", segment="support", start="all", acknowledge=True
)


@pytest.fixture
def disk(tmp_path: Path) -> Recorder:
    """Records what happens to the files of an installation."""
    (tmp_path / "disk").mkdir()
    return Recorder(tmp_path / "disk", tmp_path)


@pytest.fixture
def recorded_desk(
    disk: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """An installation without tables or a key, which both come to that disk."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    url = f"sqlite:///{disk.folder}/postroom.db"
    with installation(url, disk.folder), opened(url):
        yield Desk(tmp_path)


def _run(disk: Recorder, *arguments: str, stdin: bytes = b"") -> None:
    command = [sys.executable, "-m", "postroom", *arguments]
    environ = os.environ | disk.environ
    done = subprocess.run(
        command, input=stdin, env=environ, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def _is_whole(files: Files, disk: Recorder) -> None:
    database.close()
    disk.put(files)
    assert database.execute_sql("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("command", ["deliver", "import"])
def test_mail_that_a_command_took_is_on_the_disk(
    recorded_desk: Desk, disk: Recorder, tmp_path: Path, command: str
) -> None:
    recorded_desk.do("init")
    recorded_desk.apply(BOX)
    mails = [mail(f"m{i}") for i in range(20 if command == "import" else 1)]
    (tmp_path / "old").mkdir()
    for number, raw in enumerate(mails):
        (tmp_path / "old" / f"{number}.eml").write_bytes(raw)
    database.close()
    before = disk.snapshot()
    database.connect()
    assert Message.select().count() == 0  # as a runner would: the last to close writes all down

    if command == "deliver":
        _run(disk, "deliver", "--mailbox", "info@example.org", stdin=mails[0])
    else:
        _run(disk, "import", "eml", str(tmp_path / "old"), "--mailbox", "info@example.org")
    journal = disk.journal(before)
    last = len(journal.notes)
    tried = [*points(last, stride=max(last // 10, 1))]
    for after in tried:
        _is_whole(journal.cut(random.Random(after), after=after), disk)
        assert received_digests().keys() <= set(map(digest, mails))
    _is_whole(journal.cut(), disk)

    assert_each_once(mails)
    say(f"{command}, power cut after it: 0 lost; at {len(tried)} of {last} points in it: 0 damaged")


def test_the_key_is_on_the_disk_before_what_it_seals(recorded_desk: Desk, disk: Recorder) -> None:
    database.close()
    before = disk.snapshot()
    _run(disk, "init")
    path = recorded_desk.folder / "box.toml"
    path.write_text(BOX + incoming("imap", 993, "info"))
    _run(disk, "apply", str(path))
    _run(disk, "key", "rotate")
    journal = disk.journal(before)
    last = len(journal.notes)
    tried = [*points(last, stride=max(last // 10, 1))]

    for after in tried:
        for seed in (None, after):
            _is_whole(journal.cut(_chance(seed), after=after), disk)
            recorded_desk.do("init")
            recorded_desk.do("db", "check")
    _is_whole(journal.cut(), disk)
    recorded_desk.do("key", "rotate")

    assert [row["address"] for row in recorded_desk.json("mailbox", "list")] == ["info@example.org"]
    say(f"key made, used and changed, power cut at {len(tried)} of {last} points: it opens all")
