"""Several runners on one mailbox: nothing is doubled, and one that slept through its lease changes
nothing when it wakes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from postroom.leases.owners import is_dead
from postroom.store.models import Message, Outbox, Receipt, Side, Trouble
from postroom_test_servers.desk import Desk, assert_each_once, incoming, mail, outgoing, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.points import say, takes_all
from postroom_test_servers.smtp import SmtpServer

MAILS = 1000 if takes_all() else 60
SEEDS = range(10 if takes_all() else 1)
LEASE_SECONDS = 2.0
_RUNNER = f"""
from postroom.intake import intake
from postroom.leases import leases
leases.LEASE_SECONDS, leases.RENEW_SECONDS, leases.WIRE_MARGIN_SECONDS = {LEASE_SECONDS}, 0.3, 0.3
intake.BATCH_COUNT = 7
from postroom.cli import main
main()
"""


@contextmanager
def runner() -> Iterator[subprocess.Popen[bytes]]:
    """Start `postroom run` with short leases and small batches; a process of its own."""
    command = [sys.executable, "-c", _RUNNER, "run", "--log-level", "error"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            assert process.wait(15) == 0
        finally:
            process.kill()
            process.wait()


def _wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError([trouble.sentence for trouble in Trouble.select()])
        time.sleep(0.01)


@pytest.mark.timeout(0 if takes_all() else 240)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("runners", "transport"), [(2, "pop3"), (4, "imap")])
def test_one_is_stopped_for_longer_than_its_lease(
    desk: Desk,
    account: Account,
    smtp_server: SmtpServer,
    transport: str,
    runners: int,
    seed: int,
) -> None:
    stamp = (
        f"Received: from a by b; {datetime.now(UTC) + timedelta(minutes=1):%a, %d %b %Y %T} +0000"
    )
    account.append(
        *[mail(f"{account.name}m{i}", stamp) for i in range(MAILS)],
        received_at=datetime.now(UTC) + timedelta(minutes=1),
    )
    served = [message.raw for message in account.messages()]
    desk.apply(
        toml("[[segment]]", name="support"),
        toml(
            "[[mailbox]]", address="info@example.org", segment="support", start="all",
            disposition="delete", acknowledge=True, poll_seconds=1,
        ),
        incoming(transport, getattr(account.server, transport), account.name, security="none"),
        outgoing(smtp_server.port),
    )  # fmt: skip
    stopped: subprocess.Popen[bytes] | None = None

    with ExitStack() as stack:
        processes = {p.pid: p for p in (stack.enter_context(runner()) for _ in range(runners))}
        stored = random.randrange(MAILS // 2)
        _wait_for(lambda: Receipt.select().count() >= stored)
        holder: str | None = None

        def somebody_holds_it() -> bool:
            nonlocal holder
            holder = Side.get(Side.direction == "in").lease_owner
            return holder is not None

        _wait_for(somebody_holds_it)
        assert holder is not None and not is_dead(holder)
        stopped = processes[int(holder.split(" ")[1])]
        os.kill(stopped.pid, signal.SIGSTOP)
        # On SQLite it may hold the lock that the others need.
        with suppress(TimeoutError):
            _wait_for(lambda: account.messages() == [], 3 * LEASE_SECONDS)
        os.kill(stopped.pid, signal.SIGCONT)
        _wait_for(lambda: account.messages() == [])
        _wait_for(
            lambda: Outbox.select().where(Outbox.state.in_(["sent", "unknown"])).count() == MAILS
        )

    assert_each_once(served)
    assert Message.select().where(Message.kind == "acknowledgement").count() == MAILS
    taken = [sent.raw for sent in smtp_server.received]
    assert len(set(taken)) == len(taken) >= MAILS - 1
    say(
        f"{runners} runners, {transport}, one stopped: {MAILS} mails, "
        "0 lost, 0 doubled, 0 sent twice"
    )
