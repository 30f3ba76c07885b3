"""A mailbox that is down, as its administrator sees it, and how it comes back."""

from __future__ import annotations

import socket

import pytest
from postroom_test_servers.desk import PASSWORD, Desk, incoming, mail, toml
from postroom_test_servers.dovecot import Account

INFO = "info@example.org"
SALES = "sales@example.org"


def configure(desk: Desk, *, port: int, username: str, address: str = INFO) -> None:
    mailbox = toml("[[mailbox]]", address=address, start="all")
    desk.apply(mailbox, incoming("imap", port, username, security="none"))


@pytest.mark.parametrize("arguments", ["poll", "audit", "preview"])
def test_a_server_that_is_not_there_is_a_reason_to_try_later(desk: Desk, arguments: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        configure(desk, port=unused.getsockname()[1], username="info")

        result = desk.run("mailbox", arguments, INFO)

    assert result.exit_code == 75, result.output
    assert "refused" in result.stderr


@pytest.mark.parametrize("arguments", ["poll", "audit"])
def test_a_command_tells_once_that_a_server_is_not_there(desk: Desk, arguments: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        configure(desk, port=unused.getsockname()[1], username="info")

        done = desk.process("mailbox", arguments, INFO)

    assert done.stderr.count("refused the connection") == 1, done.stderr


def test_the_log_names_the_code_that_the_manual_lists(desk: Desk) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        configure(desk, port=unused.getsockname()[1], username="info")

        run = desk.process("run", "--once")

    [line] = [line for line in run.stderr.splitlines() if f"{INFO} (in): " in line]
    assert line.endswith("[PORT-REFUSED]")


def test_a_refused_password_is_not_a_reason_to_try_later(desk: Desk, account: Account) -> None:
    account.change_password("another")
    configure(desk, port=account.server.imap, username=account.name)

    assert desk.run("mailbox", "poll", INFO).exit_code == 1


def test_a_mailbox_that_was_refused_is_tried_at_once_when_a_test_of_it_goes_well(
    desk: Desk, account: Account
) -> None:
    account.append(mail("one"))
    other = account.server.new_user(password="another")
    configure(desk, port=account.server.imap, username=other.name, address=SALES)
    configure(desk, port=account.server.imap, username=account.name)
    account.change_password("another")
    desk.do("run", "--once", exit_code=3)
    desk.do("mailbox", "test", INFO, exit_code=1)

    account.change_password(PASSWORD)
    desk.do("run", "--once", exit_code=3)
    assert not desk.questions()  # the pause holds
    tested = desk.json("mailbox", "test", INFO)
    desk.do("run", "--once", exit_code=3)

    assert [(row["step"], row["outcome"]) for row in tested if row["step"] == "pause"] == [
        ("pause", "ok")
    ]
    assert len(desk.questions()) == 1
    states = {row["address"]: row["incoming_state"] for row in desk.json("mailbox", "list")}
    assert states == {INFO: "ok", SALES: "attention"}
    assert all(row["step"] != "pause" for row in desk.json("mailbox", "test", INFO))
