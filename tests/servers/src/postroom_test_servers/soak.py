"""``scripts/faults --soak 10``: two runners, mail all the time, one fault after another at random,
and one verdict at the end: was anything lost, doubled or sent twice, and do runners stay as they
were?

Half of the time on PostgreSQL, the other half on SQLite. One of the runners is killed,
stopped and ended again and again; the other is not, so that its memory and handles can be measured.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom_test_servers.desk import (
    PASSWORD,
    PASSWORD_VARIABLE,
    Desk,
    assert_each_once,
    incoming,
    mail,
    outgoing,
    toml,
)
from postroom_test_servers.dovecot import Account, running_dovecot
from postroom_test_servers.postgres import Postgres, running_postgres
from postroom_test_servers.proxy import Proxy, running_proxy
from postroom_test_servers.smtp import SmtpServer, Stage
from postroom_test_servers.stores import Databases, installation, opened
from postroom_test_servers.tls import PrivateAuthority

LEASE_SECONDS = 5.0
_RUNNER = f"""
from datetime import timedelta
from postroom.intake import intake
from postroom.leases import health, leases
from postroom.outbox import record
from postroom.runner import outage, runner
leases.LEASE_SECONDS, leases.RENEW_SECONDS, leases.WIRE_MARGIN_SECONDS = {LEASE_SECONDS}, 1.0, 1.0
intake.BATCH_COUNT, runner.LOOK_SECONDS, outage.REST_SECONDS = 7, 0.3, (0.5, 2.0)
health.CORE_PAUSES = health.TRANSIENT_PAUSES = (timedelta(seconds=0.3), timedelta(seconds=2))
record.RETRY_PAUSES = (timedelta(seconds=0.5), timedelta(seconds=5))
from postroom.cli import main
main()
"""
"""A runner as it is, but that what takes minutes takes seconds."""
_DRAIN_SECONDS = 120.0
_PLACES = ("imap-delete", "pop3-delete", "imap-move")


class Runner:
    """A process of ``postroom run``."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.start()

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-c", _RUNNER, "run", "--log-level", "warning"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        """Kill it, if it runs."""
        self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """Kill it, and start another."""
        self.stop()
        self.start()

    def end(self) -> None:
        """Ask it to end, which it must."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            code = self.process.wait(20)
        finally:
            self.stop()
        # what has only just started ends as any process does; without a database it does not start
        expected = (0, -signal.SIGTERM, 1) if self._found_no_database() else (0, -signal.SIGTERM)
        assert code in expected, f"a runner ended with {code}"

    def _found_no_database(self) -> bool:
        return "Error: The database server says:" in self.log.read_text()[-1_000:]

    def end_and_start(self) -> None:
        """Ask it to end, and start another."""
        self.end()
        self.start()

    def sleep(self) -> None:
        """Stop it for longer than its lease."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 1)
        self.process.send_signal(signal.SIGCONT)

    def usage(self) -> tuple[int, int]:
        """Return its memory in kB and the number of its handles."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        handles = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return int(found[1]) if found else 0, handles


@dataclass(slots=True)
class Site:
    """Servers, an installation, and what was put into its mailboxes."""

    url: str
    smtp: SmtpServer
    proxies: list[Proxy]
    accounts: list[Account]
    postgres: Postgres | None
    steady: Runner
    shaken: Runner
    injected: list[bytes] = field(default_factory=list)
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    complaints: list[str] = field(default_factory=list)
    """How runners ended otherwise than they should."""

    def inject(self, number: int) -> None:
        """Put a mail into one of the mailboxes."""
        stamp = f"Received: from a by b; {datetime.now(UTC):%a, %d %b %Y %T} +0000"
        raw = mail(f"m{number}", stamp)
        self.accounts[number % len(self.accounts)].append(raw)
        self.injected.append(raw)

    def kinds(self) -> dict[str, Callable[[], None]]:
        """Return the faults by name."""
        common = {
            "runner killed": self.shaken.kill,
            "runner ended": self.shaken.end_and_start,
            "runner stopped": self.shaken.sleep,
            "connections cut": self._cut,
            "network broken": self._break,
            "smtp": self._refuse,
        }
        if self.postgres is None:
            return common | {"database locked": self._lock}
        return common | {
            "database crashed": self._crash,
            "database away": self._go_away,
            "connections ended": self._terminate,
            "too many clients": self._crowd,
            "rows locked": self._lock_rows,
        }

    def _cut(self) -> None:
        for proxy in self.proxies:
            proxy.cut_all()

    def _break(self) -> None:
        proxy, after = random.choice(self.proxies), random.randrange(3000)
        direction = random.choice(["received", "sent"])
        fault = random.choice(["cut", "reset"])
        proxy.break_after(**{direction: after}, fault=fault, faults=random.randrange(1, 4))  # type: ignore[arg-type]
        time.sleep(1)
        proxy.break_after()

    def _refuse(self) -> None:
        stages: list[Stage] = ["MAIL", "RCPT", "DATA", "END"]
        stage = random.choice(stages)
        match random.randrange(4):
            case 0:
                self.smtp.cut(stage, accept=random.choice([True, False]))
            case 1:
                self.smtp.answer(stage, "451 4.3.0 not now", times=random.randrange(1, 4))
            case 2:
                self.smtp.answer(stage, "421 4.3.2 going down", times=1)
            case 3:
                self.smtp.drop_connections()

    def _lock(self) -> None:
        import sqlite3

        with suppress(sqlite3.OperationalError):
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=5)
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(1.5)
            connection.rollback()
            connection.close()

    def _server(self) -> Postgres:
        assert self.postgres is not None
        return self.postgres

    def _crash(self) -> None:
        self._server().crash()
        self._server().start()

    def _go_away(self) -> None:
        self._server().crash()
        time.sleep(random.uniform(0.2, 4))
        self._server().start()

    def _terminate(self) -> None:
        self._server().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def _crowd(self) -> None:
        import psycopg

        with ExitStack() as stack:
            for _ in range(200):
                time.sleep(0.01)
                with suppress(psycopg.OperationalError):
                    stack.enter_context(psycopg.connect(self.url))

    def _lock_rows(self) -> None:
        import psycopg

        with suppress(psycopg.Error), psycopg.connect(self.url) as connection:
            tables = random.sample(["counter", "side", "outbox", "segment"], 2)
            for table in tables:
                connection.execute(f"SELECT 1 FROM {table} FOR UPDATE".encode())
                time.sleep(0.4)


@contextmanager
def _site(kind: str, folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        certificate = PrivateAuthority(folder).issue("localhost", "127.0.0.1")
        dovecot = stack.enter_context(running_dovecot(certificate))
        smtp = stack.enter_context(SmtpServer())
        postgres = None
        if kind == "postgresql":
            settings = "fsync=off", "full_page_writes=off", "max_connections=40"
            postgres = stack.enter_context(running_postgres(*settings))
        url = stack.enter_context(Databases(folder, postgres).new(kind))
        environment = stack.enter_context(installation(url, folder))
        environment.setenv(PASSWORD_VARIABLE, PASSWORD)
        accounts = [dovecot.new_user(password=PASSWORD) for _ in _PLACES]
        proxies = [
            stack.enter_context(running_proxy(port))
            for port in (dovecot.imap, dovecot.pop3, dovecot.imap, smtp.port)
        ]
        _configure(folder, accounts, proxies)
        steady, shaken = (Runner(folder / f"{name}.log") for name in ("steady", "shaken"))
        for runner in (steady, shaken):
            stack.callback(runner.stop)
        yield Site(url, smtp, proxies, accounts, postgres, steady, shaken)


def _configure(folder: Path, accounts: list[Account], proxies: list[Proxy]) -> None:
    tables = [toml("[[segment]]", name="support"), toml("[[segment]]", name="sales")]
    for number, (place, account) in enumerate(zip(_PLACES, accounts, strict=True)):
        transport, _, action = place.partition("-")
        tables += [
            toml(
                "[[mailbox]]",
                address=f"{place}@example.org",
                segment="sales" if number == 0 else "support",
                start="all",
                disposition={"move": "Done"} if action == "move" else action,
                acknowledge=True,
                poll_seconds=1,
            ),
            incoming(transport, proxies[number].port, account.name, security="none"),
            outgoing(proxies[3].port),
        ]
    Desk(folder).apply(*tables)


def soak(kind: str, seconds: float, *, mails_per_second: float = 3.0) -> str:
    """Run for so long; return the verdict.

    :raises AssertionError: something was lost, doubled or sent twice, or a runner went wrong
    """
    with tempfile.TemporaryDirectory() as name, _site(kind, Path(name)) as site:
        over = threading.Event()
        shaking = threading.Thread(target=_shake, args=(site, over))
        shaking.start()
        usages: list[tuple[int, int]] = []
        try:
            _inject(site, seconds, mails_per_second, usages)
        finally:
            over.set()
            shaking.join()
        with opened(site.url):
            _drain(site)
            usages.append(site.steady.usage())
            for runner in (site.steady, site.shaken):
                runner.end()
            return _judge(site, kind, seconds, usages)


def _inject(
    site: Site, seconds: float, mails_per_second: float, usages: list[tuple[int, int]]
) -> None:
    begun, number = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        if passed * mails_per_second > number:
            site.inject(number)
            number += 1
        if passed > seconds * (len(usages) + 1) / 10:
            usages.append(site.steady.usage())
        time.sleep(0.02)


def _shake(site: Site, over: threading.Event) -> None:
    kinds = site.kinds()
    while not over.wait(random.uniform(0.3, 2)):
        name = random.choice(list(kinds))
        try:
            kinds[name]()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            site.complaints.append(str(error))
        except Exception as error:
            print(f"The fault {name!r} failed itself: {error!r}", flush=True)
        site.faults[name] += 1


def _drain(site: Site) -> None:
    """Wait until there is nothing left to do."""
    from postroom.store.models import Outbox

    site.smtp.forget_scripts()
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline:
        left = sum(len(account.messages()) for account in site.accounts)
        waiting = Outbox.select().where(Outbox.state.in_(["queued", "sending"])).count()
        queued = Outbox.select().count()
        if left == waiting == 0 and queued == len(site.injected):
            return
        time.sleep(0.3)
    raise AssertionError(f"{left} left on the servers, {waiting} to be sent, {queued} queued")


def _judge(site: Site, kind: str, seconds: float, usages: list[tuple[int, int]]) -> str:
    from postroom.store.models import Outbox, Trouble

    assert_each_once(site.injected)
    taken = collections.Counter(
        re.findall(rb"(?im)^message-id:\s*<([^>]+)>", sent.raw)[0].decode()
        for sent in site.smtp.received
    )
    states = {row.internet_id: row.state for row in Outbox.select()}
    twice = [one for one, count in taken.items() if count > 1]
    unsent = [one for one, state in states.items() if state == "sent" and not taken[one]]
    assert not twice, f"{len(twice)} sent twice"
    assert not unsent, f"{len(unsent)} marked as sent, and were not"
    assert set(states.values()) <= {"sent", "unknown"}, collections.Counter(states.values())
    assert not site.complaints, site.complaints
    bugs = [row.sentence for row in Trouble.select().where(Trouble.kind == "bug")]
    assert not bugs, bugs
    logs = "".join(runner.log.read_text() for runner in (site.steady, site.shaken))
    assert "Traceback" not in logs, logs[max(logs.index("Traceback") - 1000, 0) :][:6000]
    down = len(re.findall("The database server says|The database .* says", logs))
    back = logs.count("database works again")
    (early, early_handles), (late, late_handles) = usages[len(usages) // 3], usages[-1]
    assert late < 1.3 * early, f"memory grew from {early} to {late} kB"
    assert late_handles <= early_handles + 10, f"{early_handles} handles became {late_handles}"
    unknown = sum(state == "unknown" for state in states.values())
    faults = ", ".join(f"{count} {name}" for name, count in sorted(site.faults.items()))
    return (
        f"{kind}, {seconds:.0f} s: {len(site.injected)} mails, {site.faults.total()} faults "
        f"({faults}): 0 lost, 0 doubled, {len(states)} answers, 0 sent twice, {unknown} unknown; "
        f"told {down} times that the database is away, {back} times that it is back; "
        f"memory {early} to {late} kB, handles {early_handles} to {late_handles}"
    )


def main() -> None:
    """Soak as the command line says; the exit code is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description="Mail and faults at random, for a while.")
    parser.add_argument("minutes", type=float, help="how long in all")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="by default both")
    parser.add_argument("--seed", type=int, help="which faults; by default others each time")
    options = parser.parse_args()
    random.seed(options.seed)
    kinds = [options.database] if options.database else ["postgresql", "sqlite"]
    failed = False
    for kind in kinds:
        try:
            print(soak(kind, options.minutes * 60 / len(kinds)), flush=True)
        except (AssertionError, pytest.fail.Exception) as error:
            failed = True
            print(f"{kind}: FAILED: {error}", flush=True)
    print("Verdict: something went wrong." if failed else "Verdict: all is as it should be.")
    sys.exit(failed)


if __name__ == "__main__":
    main()
