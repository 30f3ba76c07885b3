"""A full disk: retrieval stops before anything is settled, says so once, and goes on by itself."""

from __future__ import annotations

import errno
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from postroom import plugins
from postroom.leases import health
from postroom.runner import outage, runner
from postroom.store import models
from postroom.store.models import Trouble
from postroom_test_servers.desk import Desk, assert_each_once, incoming, mail, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.points import say

SIDE = toml("[[segment]]", name="support")
BOX = toml(
    "[[mailbox]]", address="info@example.org", segment="support", start="all", disposition="delete"
)
Limit = Callable[[int | None], None]
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def limit(store: str) -> Iterator[Limit]:
    """Let the database grow by so many pages and no further; None: as far as it likes."""
    opened: Any = models.database.obj

    def set_limit(pages: int | None) -> None:
        [(used,)] = opened.execute_sql("PRAGMA page_count")
        opened.pragma("max_page_count", 1 << 30 if pages is None else used + pages, permanent=True)

    yield set_limit
    set_limit(None)


def heavy(count: int) -> list[bytes]:
    return [mail(f"m{i}", text=Random(i).randbytes(40_000).hex()) for i in range(count)]


@only_sqlite
def test_full_disk_loses_nothing_at_any_size(desk: Desk, account: Account, limit: Limit) -> None:
    account.append(*heavy(20))
    served = [message.raw for message in account.messages()]
    desk.apply(SIDE, BOX, incoming("imap", account.server.imap, account.name, security="none"))

    for pages in range(0, 100, 7):
        limit(pages)
        stopped = desk.run("run", "--once")

        assert stopped.exit_code == 1
        assert "no space left" in stopped.output
        assert "Free some space" in stopped.output
        assert "Traceback" not in stopped.output
        assert len(account.messages()) == len(served)

    limit(None)
    desk.do("run", "--once")
    assert_each_once(served)
    assert account.messages() == []
    say("disk full at 15 sizes: 0 lost, 0 doubled")


@only_sqlite
def test_runner_goes_on_by_itself_and_complains_once(
    desk: Desk,
    account: Account,
    limit: Limit,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account.append(*heavy(5))
    served = [message.raw for message in account.messages()]
    desk.apply(SIDE, BOX, incoming("imap", account.server.imap, account.name, security="none"))
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(outage, "REST_SECONDS", (0.02, 0.05))
    monkeypatch.setattr(health, "CORE_PAUSES", (timedelta(milliseconds=20),) * 2)
    limit(20)
    working = runner.Runner(plugins.load(), workers=1)
    thread = threading.Thread(target=working.run)

    with caplog.at_level(logging.WARNING):
        thread.start()
        _wait_for(lambda: Trouble.select().where(Trouble.count > 3).exists())
        limit(None)
        _wait_for(lambda: account.messages() == [])
        working.stop()
        thread.join(20)

    assert_each_once(served)
    assert caplog.text.count("no space left") == 1
    assert caplog.text.count("works again") == 1
    assert not Trouble.select().where(Trouble.cleared_at.is_null()).exists()


def _wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.02)
    raise TimeoutError


def test_no_room_for_large_messages(
    desk: Desk, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.append(mail("small"), mail("large", text=("x" * 70 + "\r\n") * 100_000))
    served = [message.raw for message in account.messages()]
    desk.apply(SIDE, BOX, incoming("imap", account.server.imap, account.name, security="none"))

    def is_full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
            patch.setattr(tempfile, name, is_full)
        stopped = desk.do("run", "--once", exit_code=1)

    assert stopped == ""
    assert "temporary folder cannot take" in desk.outputs[-1]
    assert len(account.messages()) == 2
    assert desk.json("mailbox", "errors", "info@example.org")[0]["code"] == "DISK-FULL"
    desk.do("run", "--once")
    assert_each_once(served)
    assert account.messages() == []
