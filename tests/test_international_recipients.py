"""An answer to all of whom one has an address that the outgoing server cannot take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postroom.mail import parse
from postroom.store.models import Outbox
from postroom_test_servers.desk import Desk, incoming, mail, outgoing, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.smtp import SmtpServer

JUERGEN = "jürgen@x.example"
StartSmtp = Callable[..., SmtpServer]


def addressed(desk: Desk, account: Account, server: SmtpServer, copies: str) -> None:
    """Have a question with these in Cc, and an answer to all that waits."""
    desk.apply(
        toml("[[mailbox]]", address="info@example.org", start="all"),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(server.port),
    )
    account.append(mail("q", f"Cc: {copies}", sender="Ann <ann@customer.example>"))
    desk.do("run", "--once")
    desk.do("question", "answer", "1", "--text", "Grüße.", "--reply-all")


def shown(desk: Desk) -> dict[str, Any]:
    [document] = desk.json("outbox", "show", "1", "--json")
    return document


def states(desk: Desk) -> dict[str, str]:
    return {one["address"]: one["state"] for one in shown(desk)["recipients"]}


def test_the_others_get_it_once_and_the_one_gets_it_from_a_server_that_can(
    desk: Desk, account: Account, start_smtp: StartSmtp
) -> None:
    server = start_smtp(without=["SMTPUTF8"])
    addressed(desk, account, server, f"Jürgen <{JUERGEN}>, bob@bücher.example")

    desk.do("run", "--once", exit_code=3)

    [message] = server.received
    assert message.recipients == ("ann@customer.example", "bob@xn--bcher-kva.example")
    assert message.raw.isascii()
    read = parse(message.raw)
    assert [one.address for one in (*read.to, *read.cc)] == [*message.recipients]
    document = shown(desk)
    assert (document["state"], document["code"]) == ("failed", "RECIPIENT-UNSUPPORTED")
    assert JUERGEN in document["sentence"]
    assert "no SMTPUTF8" in document["sentence"]
    assert "`postroom outbox retry`" in document["next_step"]
    assert states(desk)[JUERGEN] == "refused"
    assert sorted(states(desk).values()) == ["accepted", "accepted", "refused"]

    desk.do("run", "--once", exit_code=3)
    assert len(server.received) == 1

    better = start_smtp()
    desk.apply(
        toml("[[mailbox]]", address="info@example.org", start="all"),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(better.port),
    )
    desk.do("outbox", "retry", "1")
    desk.do("run", "--once")

    assert len(server.received) == 1
    [message] = better.received
    assert message.recipients == (JUERGEN,)
    assert f"<{JUERGEN}>".encode() in message.raw
    assert set(states(desk).values()) == {"accepted"}


def test_with_a_recipient_that_the_server_refuses_both_are_told(
    desk: Desk, account: Account, start_smtp: StartSmtp
) -> None:
    server = start_smtp(without=["SMTPUTF8"])
    server.refuse_recipient("gone@customer.example", "550 5.1.1 unknown user")
    addressed(desk, account, server, f"{JUERGEN}, gone@customer.example")

    desk.do("run", "--once", exit_code=3)

    document = shown(desk)
    assert document["code"] == "RECIPIENT-REFUSED"
    assert f"{JUERGEN}: " in document["sentence"]
    assert "gone@customer.example: 550 5.1.1 unknown user" in document["sentence"]
    assert [one.get("code") for one in document["recipients"]] == [
        None,
        "RECIPIENT-UNSUPPORTED",
        "RECIPIENT-REFUSED",
    ]
    assert [message.recipients for message in server.received] == [("ann@customer.example",)]


def test_a_neighbour_who_was_put_off_gets_it_later_and_the_reason_stays(
    desk: Desk, account: Account, start_smtp: StartSmtp
) -> None:
    server = start_smtp(without=["SMTPUTF8"])
    server.defer_recipient("ann@customer.example")
    addressed(desk, account, server, JUERGEN)

    desk.do("run", "--once", exit_code=75)
    assert shown(desk)["state"] == "queued"
    desk.do("run", "--once", exit_code=3)

    assert [message.recipients for message in server.received] == [("ann@customer.example",)]
    assert (shown(desk)["state"], shown(desk)["code"]) == ("failed", "RECIPIENT-UNSUPPORTED")


def test_closed_it_needs_nobody_any_more(
    desk: Desk, account: Account, start_smtp: StartSmtp
) -> None:
    addressed(desk, account, start_smtp(without=["SMTPUTF8"]), JUERGEN)
    desk.do("run", "--once", exit_code=3)

    desk.do("outbox", "cancel", "1")

    desk.do("run", "--once")
    assert Outbox.get().state == "cancelled"


def test_an_answer_to_such_a_customer_alone_says_what_the_server_lacks(
    desk: Desk, account: Account, start_smtp: StartSmtp
) -> None:
    server = start_smtp(without=["SMTPUTF8"])
    desk.apply(
        toml("[[mailbox]]", address="info@example.org", start="all"),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(server.port),
    )
    account.append(mail("q", sender=f"Jürgen <{JUERGEN}>"))
    desk.do("run", "--once")
    desk.do("question", "answer", "1", "--text", "Grüße.")

    desk.do("run", "--once", exit_code=3)

    assert server.received == []
    assert (shown(desk)["code"], states(desk)) == ("RECIPIENT-UNSUPPORTED", {JUERGEN: "refused"})
