"""What `run --once` sums up where a visit ends in an error: what was done before it counts."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from postroom.store.models import Message
from postroom_test_servers.desk import Desk, incoming, mail, outgoing, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.responder import CUT, IMAP, POP, Responder
from postroom_test_servers.smtp import SmtpServer

INFO = "info@example.org"


def box(**values: Any) -> str:
    return toml("[[mailbox]]", address=INFO, start="all", **values)


def summary(desk: Desk, *, exit_code: int) -> dict[str, Any]:
    [found] = desk.json("run", "--once", exit_code=exit_code)
    return found


def test_pop_server_that_drops_at_quit(desk: Desk) -> None:
    with Responder(POP, {"QUIT": CUT}) as server:
        desk.apply(
            box(disposition="delete"), incoming("pop3", server.port, "info", security="none")
        )

        first = desk.do("run", "--once", exit_code=75)
        second = desk.do("run", "--once", exit_code=75)

    assert first.splitlines()[:2] == [f"{INFO}: 2 stored", "0 sent."]
    assert second.splitlines()[0] == "0 sent."  # nothing was done, and not all was looked at


def test_imap_folder_that_may_not_be_made(desk: Desk) -> None:
    changes = {
        "UID MOVE": b"TAG NO [TRYCREATE] no such folder\r\n",
        "CREATE": b"TAG NO permission denied\r\n",
    }
    with Responder(IMAP, changes) as server:
        moves = box(disposition={"move": "Done"})
        desk.apply(moves, incoming("imap", server.port, "info", security="none"))

        found = summary(desk, exit_code=3)

    assert found["mailboxes"].keys() == {INFO}
    tally = found["mailboxes"][INFO]
    assert (tally["stored"], tally["settled"]) == (2, 0)


def test_mail_that_came_before_the_server_spoke_nonsense(desk: Desk) -> None:
    with Responder(POP, {"RETR 2": b"nonsense\r\n"}) as server:
        desk.apply(box(), incoming("pop3", server.port, "info", security="none"))

        found = summary(desk, exit_code=75)

    tally = found["mailboxes"][INFO]
    assert (tally["stored"], tally["complete"]) == (1, False)


def test_visit_that_did_nothing_has_no_line(desk: Desk) -> None:
    with Responder(POP, {"PASS": b"-ERR no\r\n"}) as server:
        desk.apply(box(), incoming("pop3", server.port, "info", security="none"))

        found = summary(desk, exit_code=3)

    assert found["mailboxes"] == {}
    [problem] = found["problems"]
    assert (problem["mailbox"], problem["code"]) == (INFO, "AUTH-REFUSED")
    assert problem["next_step"]


@pytest.mark.parametrize("as_json", [False, True])
def test_answers_that_were_sent_before_the_server_closed(
    desk: Desk, account: Account, smtp_server: SmtpServer, as_json: bool
) -> None:
    account.append(*(mail(token) for token in ("ann", "bob", "cyd", "dan")))
    source = incoming("imap", account.server.imap, account.name, security="none")
    desk.apply(box(), source, outgoing(smtp_server.port))
    desk.do("run", "--once")
    for question in desk.json("question", "list"):
        desk.do("question", "answer", str(question["number"]), "--text", "Yes.")
    smtp_server.answer("MAIL", "421 4.3.2 closing", skip=3)

    printed = desk.do("run", "--once", *["--json"][:as_json], exit_code=75)

    assert len(smtp_server.received) == 3
    assert '"sent": 3' in printed if as_json else "3 sent." in printed.splitlines()


def test_runner_logs_what_it_does(desk: Desk, account: Account, smtp_server: SmtpServer) -> None:
    account.append(mail("ann"), mail("bob"))
    source = incoming("imap", account.server.imap, account.name, security="none")
    desk.apply(box(), source, outgoing(smtp_server.port))
    desk.do("mailbox", "poll", INFO)
    desk.do("question", "answer", "1", "--text", "It is on its way.")
    account.append(mail("cyd"))
    command = [sys.executable, "-m", "postroom", "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as runner:
        smtp_server.wait_for(1)
        while Message.select().where(Message.kind == "question").count() < 3:
            time.sleep(0.02)
        runner.send_signal(signal.SIGTERM)
        _, told = runner.communicate(timeout=60)

    assert "Watching 1 mailbox," in told
    assert f"{INFO}: 1 stored" in told
    assert f"{INFO}: 1 sent" in told


def test_outgoing_mail_says_why_it_still_waits(desk: Desk, account: Account) -> None:
    account.append(mail("ann"))
    source = incoming("imap", account.server.imap, account.name, security="none")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        desk.apply(box(), source, outgoing(unused.getsockname()[1]))
        desk.do("run", "--once")
        desk.do("question", "answer", "1", "--text", "It is on its way.")
        desk.do("run", "--once", exit_code=75)

    [shown] = desk.json("outbox", "show", "1")

    assert "refused the connection" in shown["tries"][-1]["detail"]
