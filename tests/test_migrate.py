"""A mailbox moves from one server to another: nothing is imported twice, conversations go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.store.database import rows
from postroom.store.models import Mailbox, Message, Outbox, Question, Receipt
from postroom_test_servers.desk import (
    PASSWORD,
    PASSWORD_VARIABLE,
    Desk,
    incoming,
    mail,
    outgoing,
    toml,
)
from postroom_test_servers.dovecot import Account, Dovecot
from postroom_test_servers.smtp import SmtpServer

INFO = "info@example.org"
NEW = 7


def box(**values: Any) -> str:
    return toml("[[mailbox]]", **({"address": INFO, "start": "all"} | values))


def imap(account: Account) -> str:
    return incoming("imap", account.server.imap, account.name, security="none")


def pop(account: Account) -> str:
    return incoming("pop3", account.server.pop3, account.name, security="none")


def to_imap(account: Account, *more: str) -> list[str]:
    return [
        *("mailbox", "migrate", INFO, "--to", "imap", "--host", "localhost"),
        *("--port", str(account.server.imap), "--security", "none", "--username", account.name),
        *("--password-env", PASSWORD_VARIABLE, *more),
    ]


def rebuilt(raw: bytes) -> bytes:
    """Return the message as a server serves it that rebuilds MIME: another form, another text."""
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = [
        b"Received: from x by y; Tue, 03 Mar 2026 08:15:01 +0000",
        *reversed(head.split(b"\r\n")),
    ]
    more = [b"MIME-Version: 1.0", b'Content-Type: multipart/mixed; boundary="_000_x_"']
    part = (
        b"--_000_x_\r\nContent-Type: text/plain\r\n\r\nConverted: " + body + b"\r\n--_000_x_--\r\n"
    )
    return b"\r\n".join([*fields, *more, b"", part])


@pytest.fixture
def other(dovecot: Dovecot) -> Account:
    """The account that the mailbox moves to."""
    return dovecot.new_user(password=PASSWORD)


@pytest.fixture
def letters() -> list[bytes]:
    twins = [mail("twin"), mail("twin", text="The same header, another text.")]
    return [*twins, *[mail(f"known{i}") for i in range(40)]]


@pytest.fixture
def arrived(desk: Desk, account: Account, letters: list[bytes]) -> Callable[..., None]:
    """Retrieve the letters from the account that the mailbox has."""

    def retrieve(side: str, **values: Any) -> None:
        account.append(*letters)
        desk.apply(box(**values), side)
        desk.do("run", "--once")
        assert Message.select().count() == len(letters)

    return retrieve


@pytest.mark.parametrize("by", [imap, pop], ids=["imap-imap", "pop3-imap"])
@pytest.mark.parametrize("form", [bytes, rebuilt], ids=["same", "rebuilt"])
def test_nothing_is_imported_twice_and_what_is_new_arrives(
    desk: Desk, account: Account, other: Account, letters: list[bytes],
    arrived: Callable[..., None], by: Any, form: Any,
) -> None:  # fmt: skip
    arrived(by(account))
    other.append(*[form(raw) for raw in reversed(letters)], *[mail(f"new{i}") for i in range(NEW)])
    before = _everything()

    [plan] = desk.json(*to_imap(other, "--dry-run"))

    assert (plan["recognised"], plan["new"], plan["switched"]) == (len(letters), NEW, False)
    assert plan["by_header"] == (len(letters) if form is rebuilt else 0)
    assert _everything() == before
    [done] = desk.json(*to_imap(other))
    assert done["switched"]
    desk.do("run", "--once")
    assert Message.select().count() == len(letters) + NEW
    assert Question.select().count() == len(letters) + NEW
    found = desk.audit(INFO)
    assert (found["stored"], found["duplicate"]) == (NEW, len(letters))
    desk.do("run", "--once")
    assert Message.select().count() == len(letters) + NEW


def _everything() -> list[Any]:
    tables: list[Any] = [Receipt, Message, Question, Outbox]
    return [rows(table.select().order_by(table.id)) for table in tables] + [
        _setting("account_since")
    ]


def _setting(name: str) -> Any:
    return getattr(Mailbox.get(), name)


def test_a_third_mail_of_the_same_header_is_new(
    desk: Desk, account: Account, other: Account, letters: list[bytes], arrived: Callable[..., None]
) -> None:
    arrived(imap(account))
    third = mail("twin", text="A third text.")
    other.append(third, *[rebuilt(raw) for raw in letters])

    [done] = desk.json(*to_imap(other))

    assert (done["recognised"], done["new"]) == (len(letters), 1)


def test_a_reply_after_it_joins_and_nothing_from_before_is_acknowledged(
    desk: Desk, account: Account, other: Account, arrived: Callable[..., None],
    letters: list[bytes], smtp_server: SmtpServer,
) -> None:  # fmt: skip
    arrived(imap(account), acknowledge=True)
    desk.apply(box(acknowledge=True), imap(account), outgoing(smtp_server.port))
    other.append(*letters, mail("waiting"))
    desk.do(*to_imap(other))
    reply = mail(
        "reply", "In-Reply-To: <known3@customer.example>", sender="known3@customer.example"
    )
    other.append(reply, mail("later"), received_at=datetime.now(UTC) + timedelta(minutes=1))

    desk.do("run", "--once")

    replied = Message.get(Message.internet_id == "reply@customer.example")
    first = Message.get(Message.internet_id == "known3@customer.example")
    assert replied.question_id == first.question_id
    to = [recipient for one in smtp_server.received for recipient in one.recipients]
    assert to == ["later@customer.example"]


def test_it_goes_back_by_the_command_that_it_prints(
    desk: Desk, account: Account, other: Account, letters: list[bytes], arrived: Callable[..., None]
) -> None:
    arrived(pop(account))
    other.append(*letters)
    [done] = desk.json(*to_imap(other))
    account.append(mail("meanwhile"))

    desk.do(*done["back"].split()[1:])

    desk.do("run", "--once")
    assert desk.json("mailbox", "show", INFO)[0]["incoming"]["transport"] == "pop3"
    assert Message.select().count() == len(letters) + 1


def test_a_side_that_does_not_work_changes_nothing(
    desk: Desk, account: Account, other: Account, arrived: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arrived(imap(account))
    monkeypatch.setenv("WRONG", "nonsense")
    command = [word.replace(PASSWORD_VARIABLE, "WRONG") for word in to_imap(other)]

    result = desk.run(*command)

    assert result.exit_code == 1
    assert "nothing was changed" in result.stderr
    assert "refused" in result.stderr
    assert desk.json("mailbox", "show", INFO)[0]["incoming"]["username"] == account.name
    assert desk.audit(INFO)["stored"] == desk.audit(INFO)["on_server"]


def test_the_side_that_is_there_is_no_place_to_go(
    desk: Desk, account: Account, arrived: Callable[..., None]
) -> None:
    arrived(imap(account))

    result = desk.run(*to_imap(account))

    assert (result.exit_code, "leads there already" in result.stderr) == (1, True)


@pytest.mark.parametrize("words", [[], ["--to", "imap", "--back"]], ids=["neither", "both"])
def test_a_direction_has_to_be_given(desk: Desk, words: list[str]) -> None:
    assert desk.run("mailbox", "migrate", INFO, *words).exit_code == 2


def test_a_secret_that_is_missing_is_asked_for_by_its_options(
    desk: Desk, account: Account, arrived: Callable[..., None]
) -> None:
    arrived(imap(account))
    words = ("--to", "pop3", "--host", "localhost", "--username", "info")

    told = desk.run("mailbox", "migrate", INFO, *words)

    assert told.exit_code == 1
    assert "--password-env NAME or --password-file PATH" in told.stderr


def test_another_account_by_the_config_file_is_recognised_at_the_next_retrieval(
    desk: Desk, account: Account, other: Account, letters: list[bytes], arrived: Callable[..., None]
) -> None:
    arrived(pop(account))
    other.append(*[rebuilt(raw) for raw in letters], mail("new"))

    desk.apply(box(), imap(other))
    desk.do("run", "--once")

    assert Message.select().count() == len(letters) + 1
    assert desk.audit(INFO)["duplicate"] == len(letters)


def test_mail_that_is_served_otherwise_by_the_other_protocol_is_recognised(
    desk: Desk, account: Account
) -> None:
    """Dovecot serves 0x80 for a NUL over IMAP, and a NUL over POP3."""
    account.append(b"From: Ann\0 <ann@example.org>\r\nSubject: a\0b\r\n\r\nc\0d\r\n")
    desk.apply(box(), imap(account))
    desk.do("run", "--once")

    desk.apply(box(), pop(account))
    desk.do("run", "--once")

    assert Message.select().count() == 1
    assert desk.audit(INFO)["duplicate"] == 1


def test_what_was_recognised_by_its_header_is_not_deleted_on_the_new_server(
    desk: Desk, account: Account, other: Account, letters: list[bytes], arrived: Callable[..., None]
) -> None:
    arrived(imap(account))
    desk.do("mailbox", "set", INFO, "--disposition", "delete")
    same, changed = letters[5], rebuilt(letters[6])
    other.append(same, changed)

    desk.do(*to_imap(other))
    desk.do("run", "--once")

    assert [message.raw for message in other.messages()] == [changed]
