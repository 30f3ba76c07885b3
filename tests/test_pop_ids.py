"""Unique ids of POP3 that the sender of a mail chose: one mail never stops the mailbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postroom_test_servers.desk import PASSWORD, Desk, assert_each_once, incoming, mail, toml
from postroom_test_servers.dovecot import Account, Dovecot, running_dovecot
from postroom_test_servers.tls import PrivateAuthority

INFO = "info@example.org"
_REUSE = "protocol pop3 {\n  pop3_reuse_xuidl = yes\n}"
"""Dovecot then takes unique ids from a field of the message, as servers that it replaced had it."""


@pytest.fixture(scope="module")
def server(authority: PrivateAuthority) -> Iterator[Dovecot]:
    with running_dovecot(authority.issue("localhost", "127.0.0.1"), extra=_REUSE) as running:
        yield running


@pytest.fixture
def account(server: Dovecot) -> Account:
    return server.new_user(password=PASSWORD)


def configured(desk: Desk, account: Account, start: str = "all", **values: object) -> None:
    box = toml("[[mailbox]]", address=INFO, start=start, **values)
    desk.apply(box, incoming("pop3", account.server.pop3, account.name, security="none"))


def odd(token: str, unique_id: str) -> bytes:
    return mail(token, f"X-UIDL: {unique_id}")


def test_odd_ids_are_retrieved_and_one_without_an_id_waits_for_a_person(
    desk: Desk, account: Account
) -> None:
    good = [mail("plain"), odd("latin", "café"), odd("control", "a\x01b"), odd("long", "x" * 900)]
    same = [odd("one", "naïve"), odd("two", "naïve")]
    account.append(good[0], odd("empty", ""), *good[1:], *same)
    configured(desk, account)

    desk.do("run", "--once", exit_code=3)

    assert_each_once([*good, *same])
    [held] = desk.json("quarantine", "list")
    assert (held["outcome"], held["code"]) == ("quarantined", "MESSAGE-WITHOUT-ID")
    assert desk.json("mailbox", "errors", INFO) == []
    audit = desk.audit(INFO)
    assert (audit["on_server"], audit["stored"], audit["quarantined"]) == (7, 6, 1)
    assert "nothing new" in desk.do("run", "--once")
    assert_each_once([*good, *same])


def test_deletion_of_the_others_is_settled(desk: Desk, account: Account) -> None:
    kept = odd("empty", "")
    gone = [mail("plain"), odd("latin", "café"), odd("one", "naïve"), odd("two", "naïve")]
    account.append(kept, *gone)
    configured(desk, account, disposition="delete")

    desk.do("run", "--once", exit_code=3)

    assert_each_once(gone)
    assert [message.raw for message in account.messages()] == [kept]
    assert desk.audit(INFO)["unsettled"] == 0


def test_old_mail_without_an_id_is_left_alone(desk: Desk, account: Account) -> None:
    """It came before the mailbox was set up, and needs nobody."""
    configured(desk, account, start="now")
    desk.do("run", "--once")  # what has no date counts as old in the first listing only
    old = "Received: from a by b; Tue, 1 Jul 2003 10:52:37 +0200"
    account.append(mail("old", old, "X-UIDL: "))

    desk.do("run", "--once")

    assert desk.audit(INFO)["ignored"] == 1
