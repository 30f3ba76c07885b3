"""A disposition that the server keeps refusing: one error of the mailbox; retrieving goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from postroom_test_servers.desk import PASSWORD, Desk, assert_each_once, incoming, mail, toml
from postroom_test_servers.dovecot import Dovecot, running_dovecot
from postroom_test_servers.responder import POP, Responder
from postroom_test_servers.tls import PrivateAuthority

INFO = "info@example.org"
_QUOTA = """
imap_capability = IMAP4rev1 CHILDREN
mail_plugins = quota
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=100k
}
"""
"""Without MOVE a message has to be copied, for which there is no room."""


@pytest.fixture(scope="module")
def server(authority: PrivateAuthority) -> Iterator[Dovecot]:
    with running_dovecot(authority.issue("localhost", "127.0.0.1"), extra=_QUOTA) as running:
        yield running


def configured(desk: Desk, transport: str, port: int, username: str, disposition: Any) -> None:
    box = toml("[[mailbox]]", address=INFO, start="all", disposition=disposition)
    desk.apply(box, incoming(transport, port, username, security="none"))


def run_once(desk: Desk, exit_code: int) -> tuple[list[str], list[str]]:
    """Return what was printed, and what was logged about the mailbox."""
    done = desk.process("run", "--once")
    assert done.returncode == exit_code, done.stderr
    logged = [line for line in done.stderr.splitlines() if "WARNING" in line]
    return done.stdout.splitlines(), logged


def assert_told_as_one_error(desk: Desk, code: str, words: str, *, count: int) -> None:
    [error] = desk.json("mailbox", "errors", INFO)
    assert (error["code"], error["direction"], error["count"]) == (code, "in", count)
    assert words in error["sentence"]
    assert error["next_step"]
    assert error["next_try_at"] > error["last_seen_at"] >= error["first_seen_at"]
    [status] = desk.json("status")
    [problem] = status["problems"]
    assert (problem["code"], problem["state"]) == (code, "failing")
    assert problem["since"] == error["first_seen_at"]


def test_folder_that_may_only_be_read_is_audited_all_the_same(
    desk: Desk, authority: PrivateAuthority
) -> None:
    certificate = authority.issue("localhost", "127.0.0.1")
    with running_dovecot(certificate, acl=True) as locked:
        account = locked.new_user(password=PASSWORD)
        account.append(mail("one"), mail("two"))
        account.make_read_only()
        configured(desk, "imap", locked.imap, account.name, "seen")
        run_once(desk, 3)

        done = desk.process("mailbox", "audit", INFO, "--json")

    assert done.returncode == 3
    assert "may only be read" in done.stderr
    found = json.loads(done.stdout)
    assert (found["stored"], found["unaccounted"], found["unsettled"]) == (2, 0, 2)


def test_move_for_which_there_is_no_room(desk: Desk, server: Dovecot) -> None:
    account = server.new_user(password=PASSWORD)
    many = [mail(f"many{i}", text="x" * 450) for i in range(90)]
    account.append(*many)
    configured(desk, "imap", server.imap, account.name, {"move": "INBOX/Done"})

    printed, logged = run_once(desk, 75)

    assert printed[0] == f"{INFO}: 90 stored"
    assert [INFO in line and "Quota" in line for line in logged] == [True]
    assert_told_as_one_error(desk, "SERVER-BUSY", "Quota", count=1)
    late = mail("late")
    account.append(late)
    printed, logged = run_once(desk, 75)
    assert printed[0] == f"{INFO}: 1 stored"
    assert "Quota" in printed[-1]  # it is told in each run, and logged once
    assert logged == []
    assert_told_as_one_error(desk, "SERVER-BUSY", "Quota", count=2)
    assert desk.audit(INFO)["unsettled"] == 91
    assert_each_once([*many, late])

    account.expunge(range(1, 61))  # somebody makes room
    _, logged = run_once(desk, 0)

    assert len(logged) == 1
    assert desk.audit(INFO)["unsettled"] == 0
    assert [error["cleared_at"] is None for error in desk.json("mailbox", "errors", INFO)] == [
        False
    ]
    assert len(account.messages("INBOX.Done")) == 31


def test_folder_that_no_server_makes(desk: Desk, server: Dovecot) -> None:
    account = server.new_user(password=PASSWORD)
    account.append(mail("one"), mail("two"))
    configured(desk, "imap", server.imap, account.name, {"move": "INBOX/"})

    _, logged = run_once(desk, 75)

    assert len(logged) == 1
    assert_told_as_one_error(desk, "DISPOSITION-REFUSED", "refused to move messages", count=1)


@pytest.mark.parametrize("refused", ["DELE", "QUIT"])
def test_delete_that_pop_refuses(desk: Desk, refused: str) -> None:
    with Responder(POP, {refused: b"-ERR read only\r\n"}) as server:
        configured(desk, "pop3", server.port, "info", "delete")

        printed, logged = run_once(desk, 75)
        run_once(desk, 75)

    assert printed[0] == f"{INFO}: 2 stored"
    assert len(logged) == 1
    assert_told_as_one_error(desk, "DISPOSITION-REFUSED", "read only", count=2)


def test_one_message_of_many_is_told_too(desk: Desk) -> None:
    """It would stay on the server for ever, and nobody would know."""
    with Responder(POP, {"DELE 1": b"-ERR locked\r\n"}) as server:
        configured(desk, "pop3", server.port, "info", "delete")

        printed, logged = run_once(desk, 75)

    assert printed[0] == f"{INFO}: 2 stored, 1 settled"
    assert len(logged) == 1
    assert_told_as_one_error(desk, "DISPOSITION-REFUSED", "locked", count=1)
