"""The cases of `tests/test_crash.py` and ``scripts/faults``: an installation with work to do, and
the oracle for when a run was killed in the middle of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from postroom_test_servers.crash import CrashHarness
from postroom_test_servers.desk import PASSWORD, assert_each_once, mail
from postroom_test_servers.dovecot import Account, Dovecot
from postroom_test_servers.smtp import SmtpServer
from postroom_test_servers.stores import Databases, installation, opened

MAILS = 6
Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Servers:
    """What the cases run against."""

    dovecot: Dovecot
    databases: Databases
    smtp: SmtpServer
    harness: CrashHarness
    folder: Path


@contextmanager
def _database(servers: Servers, kind: str) -> Iterator[str]:
    servers.folder.mkdir(exist_ok=True)
    with servers.databases.new(kind) as url, installation(url, servers.folder) as environment:
        environment.setenv("POSTROOM_LOG_LEVEL", "error")
        with opened(url):
            yield url


def _mailbox(disposition: str, **sides: tuple[str, dict[str, object]]) -> None:
    from postroom.mailboxes import sides as stored_sides
    from postroom.store.models import Mailbox, Segment

    instant = datetime.now(UTC)
    segment = Segment.create(name="support", name_key="support", created_at=instant)
    mailbox = Mailbox.create(
        address="info@example.org",
        address_key="info@example.org",
        segment=segment,
        start="all",
        disposition=disposition,
        disposition_folder="Done" if disposition == "move" else None,
        acknowledge=True,
        created_at=instant - timedelta(minutes=1),
    )
    for direction, (transport, values) in sides.items():
        stored_sides.save(mailbox, direction.rstrip("_"), transport, values)


@contextmanager
def incoming_case(
    servers: Servers, kind: str, transport: str, disposition: str, *, port: int | None = None
) -> Iterator[tuple[str, Check]]:
    """A mailbox with some mails to retrieve, to acknowledge, and to move or delete; two of them
    are the same mail twice.

    :param port: of something that stands before the server
    """
    account = servers.dovecot.new_user(password=PASSWORD)
    stamp = f"Received: from a by b; {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} +0000"
    mails = [mail(f"{account.name}m{i}", stamp) for i in range(MAILS)]
    account.append(*mails, mails[0])
    served = [message.raw for message in account.messages()][:MAILS]
    mark = len(servers.smtp.received)
    with _database(servers, kind) as url:
        port = port or getattr(servers.dovecot, transport)
        side: dict[str, object] = {"host": "127.0.0.1", "port": port, "security": "none"}
        out: dict[str, object] = {
            "host": "127.0.0.1",
            "port": servers.smtp.port,
            "security": "none",
        }
        _mailbox(
            disposition,
            in_=(transport, {**side, "username": account.name, "password": PASSWORD}),
            out=("smtp", out),
        )

        def check() -> None:
            assert_each_once(served)
            _assert_settled(account, served, disposition)
            _assert_sent_once(servers.smtp, mark)

        yield url, check


def _assert_settled(account: Account, served: list[bytes], disposition: str) -> None:
    assert account.messages() == []
    if disposition == "move":
        moved = Counter(message.raw for message in account.messages("Done"))
        assert moved == Counter(served) + Counter([served[0]])


@contextmanager
def outgoing_case(
    servers: Servers, kind: str, *, port: int | None = None, answers_to_send: int = MAILS
) -> Iterator[tuple[str, Check]]:
    """A mailbox with answers to send; `port` as in `incoming_case`."""
    from postroom.mail import parse
    from postroom.outbox import answers
    from postroom.store import raws
    from postroom.store.database import transaction
    from postroom.store.models import Mailbox, Message, Question, Segment

    mark = len(servers.smtp.received)
    with _database(servers, kind) as url:
        side: dict[str, object] = {
            "host": "127.0.0.1",
            "port": port or servers.smtp.port,
            "security": "none",
        }
        _mailbox("leave", out=("smtp", side))
        instant = datetime.now(UTC)
        for number in range(1, answers_to_send + 1):
            raw = mail(f"q{number}")
            parsed = parse(raw)
            with transaction():
                question = Question.create(
                    id=number + 1000, segment=Segment.get(), mailbox=Mailbox.get(),
                    subject=parsed.subject, created_at=instant, updated_at=instant,
                )  # fmt: skip
                Message.create(
                    id=number + 1000, question=question, mailbox=Mailbox.get(), kind="question",
                    direction="in", raw_id=raws.save(raw),
                    from_address=f"q{number}@customer.example", subject=parsed.subject,
                    internet_id=parsed.message_id, created_at=instant, received_at=instant,
                )  # fmt: skip
            answers.answer(question, f"Answer {number}", author="eve")
        yield url, lambda: _assert_sent_once(servers.smtp, mark, answers_to_send)


def _assert_sent_once(smtp: SmtpServer, mark: int, count: int = MAILS) -> None:
    """Every mail is sent and was taken once, or is marked unknown and was taken once at most."""
    from postroom.store.models import Outbox

    taken = Counter(_message_id(sent.raw) for sent in smtp.received[mark:])
    states = {row.internet_id: row.state for row in Outbox.select()}
    assert len(states) == count
    assert set(states.values()) <= {"sent", "unknown"}, states
    for message_id, state in states.items():
        assert taken[message_id] <= 1, "sent twice"
        assert state == "unknown" or taken[message_id] == 1, "marked sent, and was not"
    assert sum(state == "unknown" for state in states.values()) <= 1


def _message_id(raw: bytes) -> str:
    found = re.search(rb"(?im)^message-id:\s*<([^>]+)>", raw)
    assert found
    return found[1].decode()


CASES: dict[str, Callable[[Servers, str], object]] = {
    "imap-delete": lambda servers, kind: incoming_case(servers, kind, "imap", "delete"),
    "imap-move": lambda servers, kind: incoming_case(servers, kind, "imap", "move"),
    "pop3-delete": lambda servers, kind: incoming_case(servers, kind, "pop3", "delete"),
    "smtp": outgoing_case,
}


def count_steps(servers: Servers, case: str, kind: str) -> int:
    """Return how many steps a whole run takes, after which everything is as it should be."""
    with CASES[case](servers, kind) as (url, check):  # type: ignore[attr-defined]
        run = servers.harness.run(url, count=True)
        assert run.exit_code == 0
        check()
    return run.steps


def survive(servers: Servers, case: str, kind: str, step: int) -> bool:
    """Kill a run at a step, run again, and hold everything against the oracle.

    :returns: whether the run came as far as that step
    """
    with CASES[case](servers, kind) as (url, check):  # type: ignore[attr-defined]
        killed = servers.harness.run(url, die_at=step, beside=step % 4 == 0).exit_code == -9
        for expected in ((0, 3),) * (1 + step % 2):
            assert servers.harness.run(url).exit_code in expected
        check()
    return bool(killed)


@pytest.fixture(scope="session")
def crash_servers(
    dovecot: Dovecot, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """Servers that many cases share."""
    with SmtpServer() as smtp, CrashHarness() as harness:
        yield Servers(dovecot, databases, smtp, harness, tmp_path_factory.mktemp("crash"))
