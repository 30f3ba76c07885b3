"""From a config file and a real server to questions and answers, as an administrator does it."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from postroom.store import raws
from postroom.store.database import rows
from postroom.store.models import (
    Mailbox,
    Message,
    MessageKey,
    Outbox,
    Question,
    Raw,
    Receipt,
    Segment,
)
from postroom_test_servers.desk import (
    Desk,
    assert_each_once,
    digest,
    incoming,
    mail,
    outgoing,
    received_digests,
    toml,
)
from postroom_test_servers.dovecot import HOST, Account, Dovecot
from postroom_test_servers.smtp import SmtpServer
from postroom_test_servers.tls import PrivateAuthority

INFO = "info@example.org"
SEGMENT = toml("[[segment]]", name="support")


def box(address: str = INFO, **values: Any) -> str:
    return toml("[[mailbox]]", **({"address": address, "segment": "support"} | values))


def everything_of(desk: Desk) -> tuple[int, ...]:
    return tuple(table.select().count() for table in (Receipt, Message, Question, Raw, Outbox))


def arranged(account: Account, transport: str, security: str, authority: PrivateAuthority) -> str:
    port = {
        ("imap", "tls"): account.server.imaps,
        ("pop3", "tls"): account.server.pop3s,
    }.get((transport, security), getattr(account.server, transport))
    more = {} if security == "none" else {"ca_file": authority.ca_file}
    return incoming(transport, port, account.name, security=security, **more)


# ---------------------------------------------------------------------- all kinds of mail


@pytest.mark.parametrize(("transport", "security"), [("imap", "tls"), ("pop3", "starttls")])
def test_mail_of_all_kinds_is_in_one_question_each_or_in_quarantine(
    desk: Desk, account: Account, authority: PrivateAuthority, corpus: ModuleType,
    transport: str, security: str,
) -> None:  # fmt: skip
    names = sorted(corpus.MESSAGES.keys() - corpus.LARGE)
    account.append(*[corpus.raw_of(name) for name in names])
    account.append(*[mail(f"many{i}") for i in range(150)])
    served = [message.raw for message in account.messages()]
    if transport == "pop3":
        served = _served_by_pop(account, len(served))
    desk.apply(SEGMENT, box(start="all"), arranged(account, transport, security, authority))
    _answer_was_sent("out1@desk.example")

    done = desk.process("run", "--once")

    assert done.returncode in (0, 3), done.stderr
    assert "Traceback" not in done.stderr
    audit = desk.audit(INFO)
    assert audit["on_server"] == len(served)
    assert audit["refused"] == audit["ignored"] == audit["unsettled"] == 0
    _assert_kept(served)
    _assert_grouped(corpus, names, served)
    before = everything_of(desk)
    for _ in range(2):
        assert desk.run("run", "--once").exit_code == 0
    assert everything_of(desk) == before


def _answer_was_sent(message_id: str) -> None:
    """The corpus holds bounces of an answer and other mail that names it."""
    instant = datetime.now(UTC)
    mailbox = Mailbox.get()
    question = Question.create(
        id=1_000_001,
        segment=Segment.get(Segment.name == "support"),
        mailbox=mailbox,
        subject="Your repair",
        status="resolved",
        created_at=instant,
        updated_at=instant,
    )
    message = Message.create(
        id=1_000_001, question=question, mailbox=mailbox, kind="answer", direction="out",
        internet_id=message_id, to=[["ann@customer.example", "Ann"]], created_at=instant,
    )  # fmt: skip
    MessageKey.create(key=message_id, names=False, message=message.id)


def _served_by_pop(account: Account, count: int) -> list[bytes]:
    """Return what RETR gives, without the dots that POP3 adds."""
    with socket.create_connection((HOST, account.server.pop3), 20) as connection:
        file = connection.makefile("rb")
        commands = [f"USER {account.name}", f"PASS {account.password}"]
        commands += [f"RETR {i}" for i in range(1, count + 1)]
        answers = []
        file.readline()
        for command in commands:
            connection.sendall(f"{command}\r\n".encode())
            assert file.readline().startswith(b"+OK")
            if command.startswith("RETR"):
                lines = iter(file.readline, b".\r\n")
                answers.append(b"".join(_undotted(lines)))
    return answers


def _undotted(lines: Iterable[bytes]) -> Iterator[bytes]:
    starts = True  # a line ends with CRLF, not with LF
    for line in lines:
        yield line[1:] if starts and line.startswith(b".") else line
        starts = line.endswith(b"\r\n")


def _assert_kept(served: list[bytes]) -> None:
    """Each has one receipt, and is a message with its bytes or the twin of one."""
    receipts = rows(Receipt.select(Receipt.outcome, Receipt.sha256, Receipt.message))
    assert Counter(sha256 for _, sha256, _ in receipts) == Counter(map(digest, served))
    assert all(message is not None for outcome, _, message in receipts if outcome == "stored")
    stored = Counter(s for outcome, s, _ in receipts if outcome == "stored")
    assert received_digests() == stored
    for raw_id, sha256 in rows(Raw.select(Raw.id, Raw.sha256)):
        assert digest(raws.load(raw_id)) == sha256


def _assert_grouped(corpus: ModuleType, names: list[str], served: list[bytes]) -> None:
    by_receipt = {
        ref: (outcome, message)
        for ref, outcome, message in rows(
            Receipt.select(Receipt.id, Receipt.outcome, Receipt.message)
        )
    }
    receipts = [by_receipt[key] for key in sorted(by_receipt)]  # the order of the server
    question_of = dict(rows(Message.select(Message.id, Message.question)))
    found = {
        name: (outcome, question_of.get(message))
        for name, (outcome, message) in zip(names, receipts, strict=False)
    }
    groups: dict[str, set[int | None]] = {}
    for name in names:
        must = corpus.MESSAGES[name][1]["must"]
        if "conversation" in must:
            groups.setdefault(must["conversation"], set()).add(found[name][1])
        if must.get("duplicate_of"):
            assert found[name][0] == "duplicate", name
            assert found[name][1] == found[must["duplicate_of"]][1], name
        elif "duplicate_of" in must:
            assert found[name][0] == "stored", name
        if "in_conversation_of" in must:
            assert found[name][1] == 1_000_001, name
    assert {label: len(numbers) for label, numbers in groups.items()} == dict.fromkeys(groups, 1)
    assert len(set.union(*groups.values())) == len(groups)


@pytest.mark.parametrize("transport", ["imap", "pop3"])
@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
def test_mail_comes_over_every_security(
    desk: Desk, account: Account, authority: PrivateAuthority, transport: str, security: str
) -> None:
    account.append(mail("a"), mail("b"))
    desk.apply(SEGMENT, box(start="all"), arranged(account, transport, security, authority))

    desk.do("run", "--once")

    assert_each_once([message.raw for message in account.messages()])
    assert desk.audit(INFO)["stored"] == 2


# ---------------------------------------------------------------------- on the server


@pytest.mark.parametrize(
    ("disposition", "flags", "left", "moved"),
    [
        ("leave", frozenset(), 3, 0),
        ("seen", frozenset({"\\Seen"}), 3, 0),
        ({"move": "Done/2026 & später"}, frozenset(), 0, 3),
        ("delete", frozenset(), 0, 0),
    ],
    ids=["leave", "seen", "move", "delete"],
)
def test_imap_disposition_is_done_on_the_server(
    desk: Desk, account: Account, disposition: Any, flags: frozenset[str], left: int, moved: int
) -> None:
    account.append(mail("a"), mail("b"), mail("a"))
    served = [message.raw for message in account.messages()]
    folder = disposition["move"].replace("/", ".") if isinstance(disposition, dict) else "Done"
    if isinstance(disposition, dict):
        disposition = {"move": folder}
    desk.apply(
        SEGMENT,
        box(start="all", disposition=disposition),
        incoming("imap", account.server.imap, account.name, security="none"),
    )

    desk.do("run", "--once")

    assert [message.flags - {"\\Recent"} for message in account.messages()] == [flags] * left
    assert sorted(message.raw for message in account.messages(folder)) == sorted(served) * (
        moved > 0
    )
    assert_each_once(served[:2])
    assert desk.audit(INFO)["unsettled"] == 0
    assert Receipt.select().where(Receipt.outcome == "duplicate").count() == 1


def test_pop_deletes_on_the_server_what_is_stored(desk: Desk, account: Account) -> None:
    account.append(*[mail(f"m{i}") for i in range(20)])
    served = [message.raw for message in account.messages()]
    desk.apply(
        SEGMENT,
        box(start="all", disposition="delete"),
        incoming("pop3", account.server.pop3, account.name, security="none"),
    )

    desk.do("run", "--once")

    assert account.messages() == []
    assert_each_once(served)


@pytest.mark.parametrize("disposition", ["seen", {"move": "Done"}], ids=["seen", "move"])
def test_pop_refuses_a_disposition_it_lacks(desk: Desk, account: Account, disposition: Any) -> None:
    path = desk.folder / "postroom.toml"
    side = incoming("pop3", account.server.pop3, account.name, security="none")
    path.write_text("\n".join([SEGMENT, box(disposition=disposition), side]))

    result = desk.run("apply", str(path))

    assert result.exit_code == 1
    assert "disposition" in result.output
    assert Mailbox.select().count() == 0


def test_another_uidvalidity_doubles_nothing_and_loses_nothing(
    desk: Desk, account: Account
) -> None:
    account.append(*[mail(f"m{i}") for i in range(30)])
    served = [message.raw for message in account.messages()]
    desk.apply(
        SEGMENT,
        box(start="all"),
        incoming("imap", account.server.imap, account.name, security="none"),
    )
    desk.do("run", "--once")

    account.reset_uidvalidity()
    account.append(mail("new"))
    desk.do("run", "--once")

    assert_each_once([*served, account.messages()[-1].raw])
    audit = desk.audit(INFO)
    assert (audit["stored"], audit["duplicate"]) == (1, 30)


def test_deleting_after_another_uidvalidity_deletes_no_wrong_message(
    desk: Desk, account: Account
) -> None:
    account.append(*[mail(f"m{i}") for i in range(10)])
    tables = incoming("imap", account.server.imap, account.name, security="none")
    desk.apply(SEGMENT, box(start="all"), tables)
    desk.do("run", "--once")
    served = [message.raw for message in account.messages()]
    Receipt.update(settle=True, settled_at=None).execute()  # as if it had been about to delete
    desk.apply(SEGMENT, box(start="all", disposition="delete"), tables)

    account.expunge(message.uid for message in account.messages())
    account.append(mail("other1"), mail("other2"))
    account.reset_uidvalidity()
    others = [message.raw for message in account.messages()]
    desk.do("run", "--once")

    assert_each_once([*served, *others])
    assert account.messages() == []


def test_several_folders_are_one_mailbox(desk: Desk, account: Account) -> None:
    account.append(mail("a"))
    account.append(mail("b"), folder="Web")
    account.append(mail("c"), folder="Web.Form & Co")
    side = incoming(
        "imap", account.server.imap, account.name, security="none",
        folders=["INBOX", "Web", "Web.Form & Co"],
    )  # fmt: skip
    desk.apply(SEGMENT, box(start="all", disposition={"move": "Done"}), side)

    desk.do("run", "--once")

    assert len(account.messages("Done")) == 3
    assert received_digests().total() == 3


# ---------------------------------------------------------------------- two mailboxes


def test_one_mail_to_two_mailboxes_of_a_segment_is_one_question(
    desk: Desk, account: Account, dovecot: Dovecot, smtp_server: SmtpServer
) -> None:
    other = dovecot.new_user(password=account.password)
    desk.apply(
        SEGMENT,
        box(start="all", acknowledge=True),
        incoming("imap", dovecot.imap, account.name, security="none"),
        outgoing(smtp_server.port),
        box("sales@example.org", start="all", acknowledge=True),
        incoming("pop3", dovecot.pop3, other.name, security="none"),
        outgoing(smtp_server.port),
    )
    now = datetime.now(UTC) + timedelta(seconds=1)
    received = f"Received: from a by b; {now:%a, %d %b %Y %H:%M:%S} +0000"
    sender = "Ann <ann@customer.example>"
    account.append(mail("both", "Delivered-To: info@example.org", received, sender=sender))
    other.append(mail("both", "Delivered-To: sales@example.org", received, sender=sender))

    desk.do("run", "--once")

    [question] = desk.questions()
    assert Counter(m["kind"] for m in question["messages"])["acknowledgement"] == 1
    assert len([m for m in question["messages"] if m["direction"] == "in"]) == 2
    assert len(smtp_server.received) == 1


# ---------------------------------------------------------------------- what is left out, visibly


@pytest.mark.parametrize("transport", ["imap", "pop3"])
def test_too_large_a_mail_stays_visibly_and_comes_when_the_limit_is_raised(
    desk: Desk, account: Account, transport: str
) -> None:
    account.append(mail("small"), mail("large", text="x" * 70 + "\r\n" * 40_000), mail("last"))
    served = [message.raw for message in account.messages()]
    side = incoming(transport, getattr(account.server, transport), account.name, security="none")
    limited = box(start="all", disposition="delete", max_message_bytes=20_000)
    desk.apply(SEGMENT, limited, side)

    desk.do("run", "--once", exit_code=3)
    desk.do("run", "--once")

    [left] = account.messages()
    assert left.raw == served[1]
    assert desk.audit(INFO)["refused"] == 1
    assert desk.json("status", exit_code=3)[0]["refused"] == 1
    desk.apply(SEGMENT, box(start="all", disposition="delete"), side)
    desk.do("run", "--once")
    assert_each_once(served)
    assert account.messages() == []
    assert desk.json("status")[0]["refused"] == 0


@pytest.mark.parametrize("transport", ["imap", "pop3"])
def test_start_now_leaves_old_mail_alone(desk: Desk, account: Account, transport: str) -> None:
    old = datetime.now(UTC) - timedelta(days=400)
    stamp = f"Received: from a by b; {old:%a, %d %b %Y %H:%M:%S} +0000"
    account.append(mail("old", stamp), received_at=old)
    side = incoming(transport, getattr(account.server, transport), account.name, security="none")
    desk.apply(SEGMENT, box(disposition="delete"), side)
    desk.do("run", "--once")
    new = datetime.now(UTC) + timedelta(seconds=2)
    stamp = f"Received: from a by b; {new:%a, %d %b %Y %H:%M:%S} +0000"
    account.append(mail("new", stamp), received_at=new)
    served = [message.raw for message in account.messages()]

    desk.do("run", "--once")

    assert_each_once([served[1]])
    assert [message.raw for message in account.messages()] == [served[0]]
    assert desk.audit(INFO)["ignored"] == 1
    assert Receipt.get(Receipt.outcome == "ignored").reason == "before-start"


@pytest.mark.parametrize("transport", ["imap", "pop3"])
def test_start_may_be_a_date(desk: Desk, account: Account, transport: str) -> None:
    for day in (30, 31):
        received = datetime(2026, 1, day, 12, tzinfo=UTC)
        stamp = f"Received: from a by b; {received:%a, %d %b %Y %H:%M:%S} +0000"
        account.append(mail(f"day{day}", stamp), received_at=received)
    side = incoming(transport, getattr(account.server, transport), account.name, security="none")
    desk.apply(SEGMENT, box().rstrip() + "\nstart = 2026-01-31\n", side)

    desk.do("run", "--once")

    assert_each_once([account.messages()[1].raw])
    assert desk.audit(INFO)["ignored"] == 1


def test_filters_sort_and_ignore_with_a_reason(desk: Desk, account: Account) -> None:
    account.append(
        mail("bill", subject="Invoice 7"), mail("news", "X-Campaign: 1"), mail("spam"), mail("else")
    )
    rules = [
        toml("[[topic]]", segment="support", name="Billing"),
        toml(
            "[[filter]]", segment="support", name="invoices", field="subject",
            pattern="(?i)invoice", set={"topic": "Billing", "assignee": "eve"},
        ),
        toml(
            "[[filter]]", segment="support", name="campaigns", field="header:X-Campaign",
            pattern=".", ignore="a campaign",
        ),
        toml(
            "[[filter]]", segment="support", name="spam", field="from", pattern="^spam@",
            set={"status": "spam"},
        ),
    ]  # fmt: skip
    side = incoming("imap", account.server.imap, account.name, security="none")
    desk.apply(SEGMENT, *rules, box(start="all", disposition="delete"), side)

    desk.do("run", "--once")

    found = {q["subject"]: (q["status"], q["topic"], q["assignee"]) for q in desk.questions()}
    assert found == {
        "Invoice 7": ("assigned", "Billing", "eve"),
        "Question spam": ("spam", None, None),
        "Question else": ("unassigned", None, None),
    }
    ignored = Receipt.get(Receipt.outcome == "ignored")
    assert (ignored.reason, ignored.because) == ("a campaign", "campaigns")
    assert ignored.raw_id is not None
    assert account.messages() == []


# ---------------------------------------------------------------------- answers


def test_a_person_is_acknowledged_once_and_a_machine_never(
    desk: Desk, account: Account, smtp_server: SmtpServer
) -> None:
    desk.apply(
        toml("[[segment]]", name="support", acknowledgement="Yours is {{ question.reference }}"),
        box(start="all", acknowledge=True),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(smtp_server.port),
    )
    account.append(mail("old"), received_at=datetime.now(UTC) - timedelta(days=1))
    account.append(
        mail("ann"),
        mail("ann"),
        mail("more", "In-Reply-To: <ann@customer.example>", sender="<ann@customer.example>"),
        mail("away", "Auto-Submitted: auto-replied"),
        mail("list", "List-Id: <news.example>"),
        mail("bulk", "Precedence: bulk"),
        mail("null", "Return-Path: <>"),
        mail("own", sender="info@example.org"),
        mail("noreply", sender="no-reply@customer.example"),
    )

    for _ in range(3):
        desk.do("run", "--once")

    [sent] = smtp_server.received
    assert (sent.sender, sent.recipients) == ("", ("ann@customer.example",))
    assert b"Auto-Submitted: auto-replied" in sent.raw
    [number] = re.findall(rb"Yours is #(\d+)-\w+", sent.raw)
    assert Outbox.select().count() == 1
    assert Question.get_by_id(int(number)).subject == "Question ann"


def test_our_own_mail_may_not_be_answered_by_a_machine(desk: Desk, account: Account) -> None:
    other = "other@elsewhere.example"
    desk.apply(
        SEGMENT,
        box(start="all", aliases=["alias@example.org"]),
        incoming("imap", account.server.imap, account.name, security="none"),
        box(other, segment="default"),
        toml(
            "[mailbox.outgoing]", transport="smtp", host=HOST, port=25, send_as="desk@example.org"
        ),
    )
    account.append(
        mail("self", sender=f"Support <{INFO.upper()}>"),
        mail("alias", sender="alias@example.org"),
        mail("other", sender=other),
        mail("desk", sender="desk@example.org"),
        mail("path", f"Return-Path: <{INFO}>", sender="ann@customer.example"),
        mail("loop", f"Reply-To: {other}", sender="ann@customer.example"),
        mail("colleague", sender="eve@example.org"),
        mail("ann", sender="ann@customer.example"),
    )

    desk.do("run", "--once")

    facts = {q["subject"]: q["messages"][0]["may_auto_reply"] for q in desk.questions()}
    assert {subject.removeprefix("Question ") for subject, may in facts.items() if may} == {
        "colleague",
        "ann",
    }
    assert len(facts) == 8


def test_an_answer_goes_out_and_the_customer_reply_joins(
    desk: Desk, account: Account, start_smtp: Callable[..., SmtpServer], authority: PrivateAuthority
) -> None:
    smtp = start_smtp(security="starttls", users={"info": account.password})
    desk.apply(
        SEGMENT,
        box(start="all"),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(
            smtp.port, security="starttls", username="info", ca_file=authority.ca_file,
            password={"env": "POSTROOM_TEST_PASSWORD"},
        ),
    )  # fmt: skip
    account.append(mail("ann"))
    desk.do("run", "--once")
    [question] = desk.questions()
    number = str(question["number"])

    desk.do("question", "answer", number, "--text", "Bring it on Friday.")
    desk.do("question", "resolve", number)
    desk.do("run", "--once")
    [sent] = smtp.received
    answer_id = re.search(rb"(?im)^message-id:\s*<([^>]+)>", sent.raw)
    assert answer_id
    account.append(
        mail(
            "again",
            f"In-Reply-To: <{answer_id[1].decode()}>",
            sender="<ann@customer.example>",
            date=f"{datetime.now(UTC) + timedelta(minutes=1):%a, %d %b %Y %H:%M:%S} +0000",
        )
    )
    desk.do("run", "--once")

    assert sent.recipients == ("ann@customer.example",)
    assert b"In-Reply-To: <ann@customer.example>" in sent.raw
    [question] = desk.questions()
    assert [m["kind"] for m in question["messages"]] == ["question", "answer", "reply"]
    assert [m["state"] for m in question["messages"]] == ["received", "sent", "received"]
    assert question["status"] != "resolved"


def test_a_customer_whose_address_is_quoted_is_answered(
    desk: Desk, account: Account, smtp_server: SmtpServer
) -> None:
    quoted = '"quoted local"@x.example'
    desk.apply(
        SEGMENT,
        box(start="all", acknowledge=True),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(smtp_server.port),
    )
    account.append(mail("q", sender=f"Ann Reed <{quoted}>"))
    desk.do("run", "--once")
    desk.do("question", "answer", "1", "--text", "Friday.")

    desk.do("run", "--once")

    [answer] = [one for one in smtp_server.received if one.sender]
    assert answer.recipients == (quoted,)
    assert f"To: Ann Reed <{quoted}>\r\n".encode() in answer.raw


def test_a_bounce_of_an_answer_joins_and_opens_the_question_again(
    desk: Desk, account: Account, smtp_server: SmtpServer
) -> None:
    desk.apply(
        SEGMENT,
        box(start="all", acknowledge=True),
        incoming("imap", account.server.imap, account.name, security="none"),
        outgoing(smtp_server.port),
    )
    account.append(mail("ann"), received_at=datetime.now(UTC) - timedelta(days=1))
    desk.do("run", "--once")
    desk.do("question", "answer", "1", "--text", "Bring it on Friday.")
    desk.do("question", "resolve", "1")
    desk.do("run", "--once")
    [sent] = smtp_server.received

    account.append(_bounce(sent.raw))
    desk.do("run", "--once")

    [question] = desk.questions()
    kinds = {m["kind"]: m["is_bounce"] for m in question["messages"]}
    assert kinds == {"question": False, "answer": False, "notification": True}
    assert question["status"] in ("unassigned", "assigned")
    assert len(smtp_server.received) == 1


def _bounce(raw: bytes) -> bytes:
    headers = raw.partition(b"\r\n\r\n")[0]
    return (
        b"Return-Path: <>\r\nFrom: Mail Delivery System <MAILER-DAEMON@mx.other.example>\r\n"
        b"To: info@example.org\r\nSubject: Undelivered Mail Returned to Sender\r\n"
        b"Date: Tue, 03 Mar 2026 09:25:00 +0100\r\nMessage-ID: <bounce1@mx.other.example>\r\n"
        b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"\r\n\r\n'
        b"--=_b\r\nContent-Type: text/plain\r\n\r\nann@customer.example is unknown.\r\n\r\n"
        b"--=_b\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; mx.other.example\r\n\r\n"
        b"Final-Recipient: rfc822; ann@customer.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        b"--=_b\r\nContent-Type: text/rfc822-headers\r\n\r\n" + headers + b"\r\n\r\n--=_b--\r\n"
    )
