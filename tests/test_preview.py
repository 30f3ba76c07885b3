"""`mailbox preview` tells what the next retrieval then does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.store.models import Message, Receipt
from postroom_test_servers.desk import Desk, incoming, mail, toml
from postroom_test_servers.dovecot import Account

INFO = "info@example.org"
NOW = datetime.now(UTC)


def put(account: Account, token: str, *more: str, days: float = 0, **values: str) -> None:
    """Append a mail that the server received so many days ago."""
    received = NOW - timedelta(days=days)
    stamp = f"Received: from a by b; {received:%a, %d %b %Y %H:%M:%S} +0000"
    account.append(mail(token, stamp, *more, **values), received_at=received)


def watch(desk: Desk, account: Account, transport: str = "imap", **values: Any) -> None:
    port = getattr(account.server, transport)
    desk.apply(
        toml("[[mailbox]]", address=INFO, **values),
        incoming(transport, port, account.name, security="none"),
    )


def preview(desk: Desk, *options: str) -> list[Any]:
    return desk.json("mailbox", "preview", INFO, *options)


@pytest.mark.parametrize("transport", ["imap", "pop3"])
def test_new_mail_is_not_hidden_behind_old(desk: Desk, account: Account, transport: str) -> None:
    for number in range(12):
        put(account, f"old{number}", days=30 - number)
    watch(desk, account, transport)
    put(account, "new", days=-1)

    shown = preview(desk, "--limit", "3")
    table = desk.do("mailbox", "preview", INFO, "--limit", "3")

    assert [
        (row["subject"], row["outcome"], row["reason"], row["before_start"]) for row in shown
    ] == [
        ("Question new", "stored", None, False),
        ("Question old11", "ignored", "before-start", True),
        ("Question old10", "ignored", "before-start", True),
    ]
    head, new, old, *_ = table.splitlines()
    assert head.split()[-3:] == ["OUTCOME", "REASON", "TOPIC"]
    assert "Question new" in new and "stored" in new
    assert "Question old11" in old and "before-start" in old
    assert f"postroom mailbox set {INFO} --start all" in table
    assert not Receipt.select().exists()


def test_newest_are_shown_of_all_folders(desk: Desk, account: Account) -> None:
    account.append(mail("a"), received_at=NOW - timedelta(days=3))
    account.append(mail("c"), received_at=NOW - timedelta(days=1))
    account.append(mail("b"), folder="Other", received_at=NOW - timedelta(days=2))
    desk.apply(
        toml("[[mailbox]]", address=INFO, start="all"),
        incoming("imap", account.server.imap, account.name, security="none",
                 folders=["INBOX", "Other"]),
    )  # fmt: skip

    shown = preview(desk, "--limit", "2")

    assert [row["subject"] for row in shown] == ["Question c", "Question b"]


@pytest.mark.parametrize("transport", ["imap", "pop3"])
def test_the_retrieval_does_what_the_preview_tells(
    desk: Desk, account: Account, transport: str
) -> None:
    put(account, "known", days=-1)
    rules = [
        toml("[[topic]]", name="Billing"),
        toml("[[filter]]", name="a", field="subject", pattern="voice", set={"topic": "Billing"}),
        toml("[[filter]]", name="b", field="header:X-Campaign", pattern=".", ignore="a campaign"),
    ]
    desk.apply(*rules)
    watch(desk, account, transport, max_message_bytes=5_000)
    desk.do("run", "--once")
    put(account, "known", days=-1)
    put(account, "twice", days=-1)
    put(account, "twice", days=-1)
    put(account, "old", days=9)
    put(account, "bill", days=-1, subject="Invoice 7")
    put(account, "news", "X-Campaign: 1", days=-1)
    put(account, "large", days=-1, text="x" * 70 + "\r\n" + "y" * 6_000)
    before = Receipt.select().count()

    shown = preview(desk)
    table = desk.do("mailbox", "preview", INFO)
    assert Receipt.select().count() == before
    desk.do("run", "--once", exit_code=3)

    told = {row["ref"]: (row["outcome"], row["reason"]) for row in shown}
    done = {
        receipt.ref: (receipt.outcome, receipt.reason)
        for receipt in Receipt.select().where(Receipt.id > before)
    }
    assert told == done
    assert sorted(outcome for outcome, _ in done.values()) == (
        ["duplicate", "duplicate", "ignored", "ignored", "refused", "stored", "stored"]
    )
    assert [row["topic"] for row in shown if row["subject"] == "Invoice 7"] == ["Billing"]
    assert "a campaign" in table and "Billing" in table and "too large" in table
    assert preview(desk) == []
    assert Message.select().count() == 3


@pytest.mark.parametrize("transport", ["imap", "pop3"])
def test_old_mail_is_shown_again_when_the_start_is_moved_back(
    desk: Desk, account: Account, transport: str
) -> None:
    put(account, "old", days=9)
    watch(desk, account, transport)
    desk.do("run", "--once")
    assert preview(desk) == []

    desk.do("mailbox", "set", INFO, "--start", "all")

    [row] = preview(desk)
    assert (row["outcome"], row["before_start"]) == ("stored", False)
