"""A runner that is told to stop does so, wherever it is; an upgrade that is killed is resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import peewee
import pytest
from postroom.store import database, models, schema
from postroom.store.models import Receipt, Side
from postroom_test_servers.desk import Desk, assert_each_once, incoming, mail, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.points import points, say, takes_all
from postroom_test_servers.proxy import running_proxy


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("stalls_after", [0, 1500, None], ids=["greeting", "middle", "never"])
def test_a_runner_stops_when_it_is_told(
    desk: Desk, account: Account, stalls_after: int | None
) -> None:
    account.append(*[mail(f"m{i}") for i in range(30)])
    served = [message.raw for message in account.messages()]
    with running_proxy(account.server.imap) as proxy:
        desk.apply(
            toml("[[segment]]", name="support"),
            toml("[[mailbox]]", address="info@example.org", segment="support", start="all",
                 disposition="delete"),
            incoming("imap", proxy.port, account.name, security="none", timeout_seconds=300),
        )  # fmt: skip
        if stalls_after is not None:
            proxy.break_after(received=stalls_after, fault="stall", faults=1)
        command = [sys.executable, "-m", "postroom", "run", "--log-level", "error"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while proxy.connections == 0 or (stalls_after is None and not Receipt.select().exists()):
            assert process.poll() is None
            time.sleep(0.01)

        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        seconds = time.monotonic() - begun

        assert process.returncode == 0, said
        assert not takes_all() or seconds < 10
        assert b"Traceback" not in said
        assert not Side.select().where(Side.lease_owner.is_null(False)).exists()
        proxy.break_after()
        desk.do("run", "--once")
    assert_each_once(served)
    assert account.messages() == []
    say(f"SIGTERM, server silent after {stalls_after} bytes: ended after {seconds:.1f} s, 0 lost")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_was_stopped_is_not_called_done(desk: Desk, account: Account) -> None:
    account.append(mail("ann"))
    with running_proxy(account.server.imap) as proxy:
        desk.apply(
            toml("[[mailbox]]", address="info@example.org", start="all"),
            incoming("imap", proxy.port, account.name, security="none", timeout_seconds=300),
        )
        proxy.break_after(received=0, fault="stall", faults=1)
        command = [sys.executable, "-m", "postroom", "run", "--once"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while proxy.connections == 0:
            assert process.poll() is None
            time.sleep(0.01)

        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)

    assert process.returncode == 75
    assert b"stopped before the end" in told


class Killed(BaseException):
    """Stands for the death of the process: its connection is gone, nothing else is done."""


@pytest.mark.timeout(0 if takes_all() else 120)
def test_an_upgrade_that_is_killed_is_resumed(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = peewee.Database.execute_sql
    seen, die_at = 0, 0

    def execute_sql(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == die_at:
            raise Killed
        return real(self, *arguments, **options)

    monkeypatch.setattr(peewee.Database, "execute_sql", execute_sql)
    database.connect(empty_database_url)
    survived = 0
    for point in points(400, stride=11):
        seen, die_at = 0, point
        try:
            schema.upgrade()
        except Killed:
            survived += 1
            _forget_connection()
        else:
            break
    die_at = 0

    schema.upgrade()
    schema.check()
    for table in models.TABLES:
        assert table.select().count() >= 0
    _forget_connection()
    assert survived > 1
    say(f"an upgrade killed {survived} times, each time later: resumed")


def _forget_connection() -> None:
    if not models.database.obj.is_closed():
        models.database.obj.connection().close()
    models.database.obj._state.reset()
