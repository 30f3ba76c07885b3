"""A PostgreSQL that crashes, is away for a while, hands over to another, kills what stalls, or lets
others go first: nothing is lost, doubled or sent twice, and runners go on by themselves."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import psycopg
import pytest
from peewee import PeeweeException
from postroom import plugins
from postroom.errors import DatabaseAwayError, StoreError
from postroom.intake.understanding.understood import IN_PLACE
from postroom.runner import runner
from postroom.store import database as store
from postroom.store.models import Counter, Mailbox, Outbox, Trouble, database
from postroom_test_servers.crash_cases import CASES, MAILS, Servers
from postroom_test_servers.points import points, say, takes_all
from postroom_test_servers.postgres import Postgres, running_postgres
from postroom_test_servers.statements import failing
from postroom_test_servers.stores import Databases, opened

RunOnce = Callable[[], int]
Fault = Callable[[], None]

pytestmark = pytest.mark.timeout(0 if takes_all() else 120)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of its own, which keeps what it committed when it crashes."""
    with running_postgres(
        "fsync=off", "full_page_writes=off", "max_connections=20", "deadlock_timeout=100ms"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def on_postgres(
    servers: Servers, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Servers:
    """The servers of the cases, with that PostgreSQL."""
    folder = tmp_path_factory.mktemp("own")
    return Servers(
        servers.dovecot, Databases(folder, postgres), servers.smtp, servers.harness, folder / "run"
    )


def _name() -> str:
    return str(database.obj.database).partition("@/")[2].partition("?")[0]


def _sent() -> int:
    try:
        return Outbox.select().where(Outbox.state == "sent").count()
    except PeeweeException:
        return 0


def _wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("setting", "configured", "used"),
    [
        ("synchronous_commit", "off", "on"),
        ("synchronous_commit", "remote_apply", "remote_apply"),
        ("idle_in_transaction_session_timeout", "0", "2min"),
        ("idle_in_transaction_session_timeout", "'10s'", "10s"),
    ],
)
def test_a_default_that_does_not_do_is_set_right(
    on_postgres: Servers, postgres: Postgres, setting: str, configured: str, used: str
) -> None:
    """Commits are waited for, and who is frozen in a transaction does not keep others out."""
    with on_postgres.databases.new("postgresql") as url, opened(url):
        postgres.execute(f"ALTER DATABASE {_name()} SET {setting} = {configured}")
        database.close()

        assert database.execute_sql(f"SHOW {setting}").fetchone() == (used,)


def test_a_runner_frozen_in_a_transaction_does_not_keep_its_mailbox(
    on_postgres: Servers, postgres: Postgres
) -> None:
    """The server ends its session, as it would after two minutes, and another may go on."""
    with on_postgres.databases.new("postgresql") as url, opened(url):
        postgres.execute(
            f"ALTER DATABASE {_name()} SET idle_in_transaction_session_timeout = '100ms'"
        )
        database.close()
        Counter.create(name="held", next_id=1)
        with pytest.raises(DatabaseAwayError):
            _stand_still_while_another_goes_on(url)

        assert Counter.get(Counter.name == "held").next_id == 3


def _stand_still_while_another_goes_on(url: str) -> None:
    with psycopg.connect(url) as other, store.transaction():
        Counter.update(next_id=2).where(Counter.name == "held").execute()
        other.execute("UPDATE counter SET next_id = 3 WHERE name = 'held'")
        other.commit()
        Counter.update(next_id=4).where(Counter.name == "held").execute()


# ---------------------------------------------------------------------------- the faults


@pytest.fixture
def crashes(postgres: Postgres) -> Fault:
    """It crashes, and is there again at once."""

    def crash() -> None:
        postgres.crash()
        postgres.start()

    return crash


@pytest.fixture
def goes_away(postgres: Postgres) -> Iterator[Fault]:
    """It crashes, and is there again after a while."""
    started: list[threading.Timer] = []

    def go_away() -> None:
        postgres.crash()
        started.append(threading.Timer(0.4, postgres.start))
        started[-1].start()

    yield go_away
    for timer in started:
        timer.join()


ENDS = [
    *itertools.product(
        ["imap-delete", "imap-move", "pop3-delete", "smtp"], ["crashes", "goes_away"]
    )
]
SOME_ENDS = [("imap-delete", "crashes"), ("smtp", "goes_away")]


@pytest.mark.parametrize(("case", "fault"), ENDS if takes_all() else SOME_ENDS)
def test_a_server_that_ends_connections_at_any_statement(
    on_postgres: Servers,
    postgres: Postgres,
    run_once: RunOnce,
    pass_time: Callable[[], None],
    request: pytest.FixtureRequest,
    case: str,
    fault: str,
) -> None:
    fail: Fault = request.getfixturevalue(fault)
    with CASES[case](on_postgres, "postgresql") as (_, check), failing(None) as seen:  # type: ignore[attr-defined]
        assert run_once() == 0
        check()
    last = seen[0]
    tried = list(points(last, stride=max(last // 2, 1)))

    for at in tried:
        with CASES[case](on_postgres, "postgresql") as (_, check):  # type: ignore[attr-defined]
            with failing(fail, at) as seen, suppress(StoreError):
                run_once()
            assert seen[0] >= at, "that point was never reached"
            _wait_for(postgres.answers)
            assert not Trouble.select().where(Trouble.kind == "bug").exists()
            pass_time()
            for _ in range(2):
                assert run_once() in (0, 3), at
            check()
            assert not Outbox.select().where(Outbox.state == "unknown").exists(), at
    say(f"{case}, PostgreSQL {fault} at {len(tried)} of {last} points: 0 lost, 0 doubled")


# ---------------------------------------------------------------------------- others go first


class Rival:
    """Another client of the database, which once, at its n-th opportunity, wants the rows that a
    visit wants. An opportunity is a point at which the visit holds its lease's row, and has yet to
    take ids or a message of the outbox.
    """

    def __init__(self, postgres: Postgres, opportunity: int) -> None:
        self._url = postgres.url(_name())
        self._left = opportunity
        self._stack = ExitStack()

    @property
    def has_acted(self) -> bool:
        """Whether there were so many opportunities."""
        return self._left == 0

    def close(self) -> None:
        """Wait for what is under way."""
        self._stack.close()

    def crosses(self) -> None:
        """Lock what the visit has yet to lock, then wait for what it holds: a deadlock, which the
        visit is chosen to lose."""
        connection = self._locking()
        if connection is not None:
            connection.execute("SET deadlock_timeout = '20s'")
            thread = threading.Thread(target=self._take_side, args=(connection,))
            thread.start()
            self._stack.callback(thread.join)
            _wait_for(lambda: not thread.is_alive() or self._waits(connection))

    def overtakes(self) -> None:
        """Change what the visit has yet to change."""
        connection = self._locking()
        if connection is not None:
            connection.execute("UPDATE counter SET next_id = next_id + 1")
            connection.execute("UPDATE outbox SET attempts = attempts")
            connection.commit()

    def stays(self) -> None:
        """Hold what the visit has yet to lock for longer than it may wait."""
        connection = self._locking()
        if connection is not None:
            timer = threading.Timer(0.15, connection.rollback)
            timer.start()
            self._stack.callback(timer.join)

    def _locking(self) -> psycopg.Connection | None:
        """Return a connection that holds the counters and the outbox, if that is to be."""
        if self._left == 0 or not database.in_transaction():
            return None
        connection = self._stack.enter_context(psycopg.connect(self._url))
        try:
            free = connection.execute("SELECT 1 FROM side FOR UPDATE SKIP LOCKED").fetchall()
            connection.rollback()
            connection.execute("SELECT 1 FROM counter FOR UPDATE NOWAIT")
            connection.execute("SELECT 1 FROM outbox FOR UPDATE NOWAIT")
        except psycopg.errors.LockNotAvailable:
            connection.close()
            return None
        self._left -= len(free) < 2
        if len(free) == 2 or self._left:
            connection.close()
            return None
        return connection

    def _take_side(self, connection: psycopg.Connection) -> None:
        connection.execute("UPDATE side SET failures = failures")
        connection.commit()

    def _waits(self, connection: psycopg.Connection) -> bool:
        with psycopg.connect(self._url) as another:
            waits = another.execute(
                "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted",
                (connection.info.backend_pid,),
            ).fetchone()
        return waits is not None


COUNTERS = ("message", "question", "raw", "receipt")


@pytest.mark.parametrize(
    ("what", "setting"),
    [
        ("crosses", "deadlock_timeout = '20ms'"),
        ("overtakes", "default_transaction_isolation = 'repeatable read'"),
        ("stays", "lock_timeout = '60ms'"),
        ("stays", "statement_timeout = '60ms'"),
    ],
    ids=["deadlock", "serialization", "lock-timeout", "statement-timeout"],
)
def test_others_that_want_the_same_rows(
    on_postgres: Servers,
    postgres: Postgres,
    run_once: RunOnce,
    pass_time: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    what: str,
    setting: str,
) -> None:
    undone = 0

    for opportunity in itertools.count(1):
        with CASES["imap-delete"](on_postgres, "postgresql") as (_, check):  # type: ignore[attr-defined]
            for name in COUNTERS:
                Counter.create(name=name, next_id=1000)
            postgres.execute(f"ALTER DATABASE {_name()} SET {setting}")
            rival = Rival(postgres, opportunity)
            with (
                failing(getattr(rival, what), 1, for_ever=True),
                caplog.at_level(logging.DEBUG, "postroom"),
                suppress(StoreError),
            ):
                assert run_once() in (0, 3)
            rival.close()
            conflict = "begun anew" in caplog.text
            undone += conflict or "canceling statement" in caplog.text
            caplog.clear()
            assert not (conflict and Trouble.select().exists()), opportunity
            pass_time()
            assert run_once() in (0, 3), opportunity
            check()
        if not (takes_all() and rival.has_acted):
            break
    assert undone > 0
    say(f"PostgreSQL, {what} ({setting}): {opportunity} times, {undone} undone, 0 lost")


# ---------------------------------------------------------------------------- a runner that stays


@contextmanager
def _too_many_clients(postgres: Postgres) -> Iterator[None]:
    """Others have all the connections that there may be, and take those that get free."""
    url, over = postgres.url(_name()), threading.Event()

    def take() -> None:
        with ExitStack() as stack:
            while not over.wait(0.001):
                with suppress(psycopg.OperationalError):
                    stack.enter_context(psycopg.connect(url))

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _away(postgres: Postgres) -> Iterator[None]:
    postgres.crash()
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def _handed_over(postgres: Postgres) -> Iterator[None]:
    """It goes on at another place, which the URL names too."""
    postgres.crash()
    yield
    postgres.start(postgres.elsewhere)


def _bring_back(postgres: Postgres) -> None:
    if not postgres.answers():
        postgres.stop()
        postgres.start()


@pytest.mark.parametrize("outage", [_too_many_clients, _away, _handed_over])
def test_a_runner_goes_on_by_itself_and_complains_once(
    on_postgres: Servers,
    postgres: Postgres,
    outage: Callable[[Postgres], AbstractContextManager[None]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(runner, "PROBE_SECONDS", 0.02)
    monkeypatch.setattr("postroom.runner.outage.REST_SECONDS", (0.02, 0.05))
    caplog.set_level(logging.WARNING)

    with CASES["imap-delete"](on_postgres, "postgresql") as (url, check):  # type: ignore[attr-defined]
        Mailbox.update(poll_seconds=0).execute()
        database.close()
        store.connect(f"{url},{postgres.elsewhere}")
        working = runner.Runner(plugins.load(), workers=2)
        working._understanding = IN_PLACE
        thread = threading.Thread(target=working.run)
        thread.start()
        try:
            _wait_for(lambda: _sent() > 2)
            with outage(postgres):
                _wait_for(lambda: "The database server says" in caplog.text)
            _wait_for(lambda: "The database works again" in caplog.text)
            _wait_for(lambda: _sent() == MAILS)
        finally:
            working.stop()
            thread.join(20)
        check()
        database.close()
        store.connect(url)
        _bring_back(postgres)

    told = [record.getMessage() for record in caplog.records]
    assert sum("database" in line for line in told) == 2, told
    assert not any("Traceback" in line for line in caplog.text.splitlines())
