"""Old mail is brought in from files, and a mail server hands mail over: by the command line."""

from __future__ import annotations

import json
import mailbox
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from postroom.store.models import Message, Outbox, Receipt
from postroom_test_servers.desk import Desk, assert_each_once, mail, toml

ADDRESS = "info@example.org"
COMMAND = [sys.executable, "-m", "postroom"]


@pytest.fixture
def ready(desk: Desk) -> Desk:
    """A mailbox that acknowledges, and could send."""
    desk.apply(
        toml("[[mailbox]]", address=ADDRESS, acknowledge=True, max_message_bytes=20_000),
        toml("[mailbox.outgoing]", transport="maildir", path=desk.folder / "sent"),
    )
    return desk


def as_maildir(path: Path, mails: list[bytes]) -> None:
    box = mailbox.Maildir(path, create=True)
    for raw in mails:
        box.add(raw)


def as_mbox(path: Path, mails: list[bytes]) -> None:
    with path.open("wb") as file:
        for raw in mails:
            file.write(b"From ann@customer.example Tue Mar  3 09:15:00 2026\n" + raw + b"\n")


def as_eml(path: Path, mails: list[bytes]) -> None:
    path.mkdir()
    for number, raw in enumerate(mails):
        (path / f"{number}.eml").write_bytes(raw)


# ---------------------------------------------------------------------------- import


@pytest.mark.parametrize(
    ("transport", "write"), [("maildir", as_maildir), ("mbox", as_mbox), ("eml", as_eml)]
)
def test_old_mail_is_brought_in_once_and_nobody_hears_of_it(
    ready: Desk, tmp_path: Path, transport: str, write: Callable[[Path, list[bytes]], None]
) -> None:
    path = tmp_path / "old"
    write(path, [mail(f"old{number}").replace(b"\r\n", b"\n") for number in range(7)])
    arguments = ("import", transport, str(path), "--mailbox", ADDRESS)

    [first] = ready.json(*arguments)
    [again] = ready.json(*arguments)

    assert (first["stored"], first["complete"]) == (7, True)
    assert (again["stored"], again["duplicate"], again["complete"]) == (0, 0, True)
    assert Message.select().count() == 7
    assert Outbox.select().count() == 0


MANY = 4_000
"""More than are under way at once."""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
@pytest.mark.timeout(240)
def test_an_import_that_ends_in_the_middle_goes_on_where_it_was(
    ready: Desk, tmp_path: Path, how: signal.Signals
) -> None:
    path = tmp_path / "old.mbox"
    mails = [mail(f"old{number}").replace(b"\r\n", b"\n") for number in range(MANY)]
    as_mbox(path, mails)
    arguments = ("import", "mbox", str(path), "--mailbox", ADDRESS)

    running = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not Receipt.select().exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(how)
    _, said = running.communicate(timeout=60)
    done = Receipt.select().count()
    finished = ready.process(*arguments, "--json")

    assert 0 < done < MANY
    assert running.returncode == (-9 if how == signal.SIGKILL else 75)
    assert how == signal.SIGKILL or b"run it again to go on" in said
    assert json.loads(finished.stdout)["stored"] == MANY - done
    assert_each_once(mails)


def test_a_person_sees_how_far_it_is(ready: Desk, tmp_path: Path) -> None:
    path = tmp_path / "old.mbox"
    as_mbox(path, [mail("old").replace(b"\r\n", b"\n")])
    terminal, end = pty.openpty()

    done = subprocess.run(
        [*COMMAND, "import", "mbox", str(path), "--mailbox", ADDRESS], stderr=end, timeout=60
    )
    os.close(end)
    shown = os.read(terminal, 10_000)
    os.close(terminal)

    assert done.returncode == 0
    assert b"Importing" in shown
    assert b"100%" in shown


def test_without_the_key_no_old_mail_is_quarantined(ready: Desk, tmp_path: Path) -> None:
    as_eml(tmp_path / "old", [mail("ann"), mail("bob")])
    command = [*COMMAND, "import", "eml", str(tmp_path / "old"), "--mailbox", ADDRESS]

    done = subprocess.run(
        command, env=os.environ | {"POSTROOM_KEY_FILE": "/nowhere/key"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    assert "POSTROOM_KEY_FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert Receipt.select().count() == 0


# ---------------------------------------------------------------------------- deliver


def deliver(content: bytes, *arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Hand a message over as a mail server does."""
    return subprocess.run(
        [*COMMAND, "deliver", *(arguments or ("--mailbox", ADDRESS))],
        input=content,
        env=os.environ | environ,
        capture_output=True,
        timeout=60,
    )


def test_what_a_mail_server_hands_over_is_stored_before_it_hears_so(ready: Desk) -> None:
    raw = mail("piped")

    first, again = deliver(raw), deliver(raw)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert_each_once([raw])
    assert sorted(row.outcome for row in Receipt.select()) == ["duplicate", "stored"]


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 20_001], ids=["empty", "blank", "large"])
def test_what_is_no_message_for_us_goes_back(content: bytes) -> None:
    done = deliver(content)

    assert done.returncode == 1, done.stderr
    assert Message.select().count() == 0


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["--mailbox", "nobody@example.org"], {}),
        (["--mialbox", ADDRESS], {}),
        ([], {"POSTROOM_DISABLE_PLUGINS": "local"}),
        ([], {"POSTROOM_DATABASE": "sqlite:////nowhere/at/all.db"}),
        ([], {"POSTROOM_KEY_FILE": "/nowhere/key"}),
        ([], {"POSTROOM_KEY": "QW5vdGhlciBrZXkgdGhhbiB0aGUgb25lIG9mIHRoaXM="}),
        ([], {"POSTROOM_DATABASE": "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2"}),
    ],
    ids=["mailbox", "option", "plugin", "no-database", "no-key", "other-key", "database-away"],
)
@pytest.mark.usefixtures("ready")
def test_what_can_be_put_right_is_tried_again(arguments: Any, environ: dict[str, str]) -> None:
    done = deliver(mail("piped"), *arguments, **environ)

    assert done.returncode == 75, done.stderr
    assert b"Traceback" not in done.stderr
    assert Message.select().count() == Receipt.select().count() == 0
