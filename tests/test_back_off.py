"""Whose wish it is that an answer waits: our own back-off or its server's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from postroom import plugins
from postroom.api import (
    AuthError,
    OutcomeUnknown,
    RecipientProblem,
    SendResult,
    TransientError,
    codes,
)
from postroom.api.transport import Outgoing
from postroom.cli import cli
from postroom.intake.understanding.understood import IN_PLACE
from postroom.leases.leases import claim
from postroom.leases.owners import new_owner
from postroom.outbox import answers
from postroom.outbox.outbox import is_due
from postroom.questions import questions
from postroom.runner.runner import Runner
from postroom.store.models import Outbox, Question, Side
from postroom_test_servers.desk import Desk, incoming, mail, outgoing, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.shelf import Shelf
from postroom_test_servers.shelves import look, shelf_mailbox
from postroom_test_servers.smtp import SmtpServer

RunOnce = Callable[[], int]


@pytest.fixture
def run_once(store: str) -> RunOnce:
    """Do what `run --once` does in this process, each time with another runner."""

    def run() -> int:
        runner = Runner(plugins.load(), workers=1)
        runner._understanding = IN_PLACE
        return runner.run_once().exit_code

    return run


@pytest.fixture
def shelf(store: str) -> Iterator[Shelf]:
    """The server of a mailbox with a question that has two answers on their way."""
    with shelf_mailbox() as (shelf, runner):
        shelf.put(mail("q"))
        look(runner)
        for text in ("Five.", "Six."):
            answers.answer(questions.find(Question.get().id), text, author="eve")
        yield shelf


class Server:
    """Puts off, or refuses to talk, as often as it is told; keeps what it was asked."""

    def __init__(self, shelf: Shelf, *wants: float | Exception | None) -> None:
        self.wants = [*wants]
        self.asked: list[str] = []
        shelf.on_send = self._answer

    def _answer(self, outgoing: Outgoing) -> SendResult:
        self.asked.append(outgoing.message_id)
        if not self.wants:
            return SendResult(accepted=outgoing.recipients)
        want = self.wants.pop(0)
        if isinstance(want, Exception):
            raise want
        later = "SERVER-BUSY", "451 4.3.0 later"
        put_off = tuple(RecipientProblem(one, *later) for one in outgoing.recipients)
        return SendResult(deferred=put_off, retry_after=want)


def states() -> list[str]:
    return [row.state for row in Outbox.select().order_by(Outbox.id)]


def outbox(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["outbox", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_answer_that_a_real_server_put_off_goes_out_with_the_next_run_once(
    desk: Desk, account: Account, smtp_server: SmtpServer
) -> None:
    desk.apply(
        toml("[[mailbox]]", address="info@example.org", start="all"),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(smtp_server.port),
    )
    account.append(mail("q"))
    desk.do("run", "--once")
    desk.do("question", "answer", "1", "--text", "Five.")
    smtp_server.answer("END", "451 4.3.0 try again later", times=2)

    for _ in range(2):
        desk.do("run", "--once", exit_code=75)
    assert smtp_server.received == []
    assert Outbox.get().next_try_at > datetime.now(UTC)
    desk.do("run", "--once")

    assert len(smtp_server.received) == 1
    assert states() == ["sent"]
    desk.do("run", "--once")
    assert len(smtp_server.received) == 1


def test_run_once_tries_each_mail_once_whatever_it_waits_for(
    shelf: Shelf, run_once: RunOnce
) -> None:
    server = Server(shelf, *[None] * 4)

    assert run_once() == 75
    assert len(server.asked) == 2
    assert run_once() == 75

    assert sorted(server.asked[2:]) == sorted(server.asked[:2])
    assert run_once() == 0
    assert len(shelf.sent) == 2


def test_the_runner_that_stays_keeps_our_own_back_off(shelf: Shelf, run_once: RunOnce) -> None:
    server = Server(shelf, None, None)
    run_once()
    runner = Runner(plugins.load(), workers=1)

    look(runner)

    runner._end()
    assert len(server.asked) == 2


def test_what_the_server_asked_for_is_kept(shelf: Shelf, run_once: RunOnce) -> None:
    server = Server(shelf, 3600, None)

    for _ in range(3):
        run_once()

    assert len(server.asked) == 3
    assert states() == ["queued", "sent"]
    [row] = Outbox.select().where(Outbox.state == "queued")
    assert timedelta(minutes=55) < row.not_before - datetime.now(UTC) <= timedelta(hours=1)

    later = datetime.now(UTC) - timedelta(seconds=1)
    Outbox.update(not_before=later).where(Outbox.id == row.id).execute()
    assert run_once() == 0
    assert states() == ["sent", "sent"]


def test_a_short_wish_of_the_server_is_all_that_run_once_waits_for(
    shelf: Shelf, run_once: RunOnce
) -> None:
    Server(shelf, 0, 0)
    run_once()
    soonest = min(row.next_try_at for row in Outbox.select())
    assert soonest > datetime.now(UTC) + timedelta(minutes=4)

    assert run_once() == 0


def test_the_wish_of_a_server_ends_with_the_next_that_names_none(
    shelf: Shelf, run_once: RunOnce
) -> None:
    Server(shelf, 3600, 3600, None, None)
    run_once()
    Outbox.update(not_before=datetime.now(UTC)).execute()
    run_once()

    assert run_once() == 0


@pytest.mark.parametrize(
    "error",
    [
        TransientError(codes.SERVER_BUSY, "421 4.3.2 closing"),
        TransientError(codes.CONNECTION_LOST, "It broke."),
        TransientError(codes.PORT_REFUSED, "Nobody is there."),
    ],
    ids=lambda error: error.code.name,
)
def test_a_mailbox_that_broke_down_sends_with_the_next_run_once(
    shelf: Shelf, run_once: RunOnce, error: TransientError
) -> None:
    server = Server(shelf, error)

    assert run_once() == 75
    assert run_once() == 0

    assert len(server.asked) == 3
    assert len(shelf.sent) == 2


@pytest.mark.parametrize("code", [codes.HOST_UNKNOWN, codes.PORT_REFUSED], ids=str)
def test_a_server_that_is_not_reached_says_nothing_of_the_mail(
    shelf: Shelf, run_once: RunOnce, code: codes.Code
) -> None:
    """The mailbox waits; as soon as it does no more, the mail goes, however often that was."""
    Server(shelf, *[TransientError(code, "Nobody is there.")] * 3)
    for _ in range(3):
        run_once()

    assert [row.next_try_at for row in Outbox.select()] == [None, None]


def test_a_mail_that_breaks_every_visit_keeps_no_other_waiting(
    shelf: Shelf, run_once: RunOnce
) -> None:
    """It is tried after those that wait for less long."""
    poison = Outbox.select().order_by(Outbox.id).first().internet_id

    def send(outgoing: Outgoing) -> SendResult:
        if outgoing.message_id == poison:
            raise TransientError(codes.CONNECTION_LOST, "It broke.")
        return SendResult(accepted=outgoing.recipients)

    shelf.on_send = send

    for _ in range(2):
        run_once()

    assert states() == ["queued", "sent"]


@pytest.mark.parametrize(
    "error", [AuthError(codes.AUTH_REFUSED, "No."), OutcomeUnknown("It broke.")],
    ids=["refused password", "unknown"],
)  # fmt: skip
def test_neither_a_refused_password_nor_an_unknown_outcome_is_tried_again(
    shelf: Shelf, run_once: RunOnce, error: Exception
) -> None:
    server = Server(shelf, error)
    run_once()
    asked = len(server.asked)

    for _ in range(2):
        assert run_once() == 3

    assert server.asked.count(server.asked[0]) == 1
    assert len(server.asked) <= asked + 1


# ---------------------------------------------------------------------- a person's retry


def due(row_id: int = 1) -> bool:
    """Say whether `run` would send it now."""
    row = Outbox.select().where((Outbox.id == row_id) & is_due(datetime.now(UTC))).first()
    claimed = claim(new_owner(), "out")
    for lease in claimed:
        lease.release()
    return row is not None and bool(claimed)


@pytest.mark.parametrize("want", [None, TransientError(codes.CONNECTION_LOST, "It broke.")])
def test_retry_ends_our_own_back_off(
    shelf: Shelf, run_once: RunOnce, want: TransientError | None
) -> None:
    Server(shelf, want, want)
    run_once()
    assert not due()

    assert outbox("retry", "1") == "Mail 1 is queued.\n"

    assert due()


def test_retry_of_what_its_server_put_off_says_until_when(shelf: Shelf, run_once: RunOnce) -> None:
    Server(shelf, 3600, 3600)
    run_once()

    told = outbox("retry", "1", code=1)

    until = Outbox.get_by_id(1).not_before
    assert f"the server asked to wait with it until {until:%Y-%m-%d %H:%M:%S} UTC." in told
    assert not due()

    outbox("hold", "1")
    outbox("retry", "1")
    assert Outbox.get_by_id(1).next_try_at == until


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AuthError(codes.AUTH_REFUSED, "The shelf is locked."), "The shelf is locked."),
        (TransientError(codes.SERVER_BUSY, "Too many.", retry_after=3600), "wait with it until"),
    ],
    ids=["password", "busy"],
)
def test_retry_in_a_mailbox_that_may_not_send_now_says_why(
    shelf: Shelf, run_once: RunOnce, error: Exception, words: str
) -> None:
    Server(shelf, error)
    run_once()
    paused = Side.get(Side.direction == "out").next_try_at

    told = outbox("retry", "1", code=1)

    assert words in told
    assert paused == Side.get(Side.direction == "out").next_try_at


def test_retry_without_an_outgoing_side_says_so(shelf: Shelf) -> None:
    Side.delete().where(Side.direction == "out").execute()

    assert "no outgoing side" in outbox("retry", "1", code=1)
