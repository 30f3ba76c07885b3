"""Our stand-in of Exchange serves an EWS client that is not ours: DavMail reads, marks, moves,
deletes and sends through it, seen over IMAP and SMTP."""

from __future__ import annotations

import imaplib
import smtplib
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest
from postroom_test_servers.davmail import DavMail, require_davmail, running_davmail
from postroom_test_servers.desk import mail
from postroom_test_servers.exchange import ExchangeServer, running
from postroom_test_servers.exchange_store import Mailbox
from postroom_test_servers.tls import PrivateAuthority

ADDRESS, PASSWORD = "info@example.org", "Kanarienvogel-7f3a9c"


@pytest.fixture
def exchange(authority: PrivateAuthority) -> Iterator[ExchangeServer]:
    context = authority.server_context("localhost", "127.0.0.1")
    yield from running(tls=context, methods=("basic",))


@pytest.fixture
def box(exchange: ExchangeServer) -> Mailbox:
    return exchange.add_mailbox(ADDRESS, user="info", password=PASSWORD)


@pytest.fixture
def davmail(exchange: ExchangeServer, tmp_path: Path) -> Iterator[DavMail]:
    require_davmail()
    with running_davmail(exchange.url, tmp_path) as server:
        yield server


@pytest.fixture
def imap(
    davmail: DavMail, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[imaplib.IMAP4]:
    monkeypatch.setitem(imaplib.Commands, "MOVE", ("SELECTED",))
    with imaplib.IMAP4("127.0.0.1", davmail.imap, timeout=60) as client:
        client.login("info", PASSWORD)
        yield client


def test_another_client_reads_marks_moves_deletes_and_sends(
    exchange: ExchangeServer, box: Mailbox, davmail: DavMail, imap: imaplib.IMAP4
) -> None:
    """One test: DavMail takes some seconds to start."""
    items = [box.deliver(mail(f"dav{i}")) for i in range(3)]

    assert imap.select("INBOX")[1] == [b"3"]
    uids = imap.uid("SEARCH", "ALL")[1][0].split()
    assert len(uids) == 3
    raws = [_fetch(imap, uid) for uid in uids]
    assert [_identity(raw) for raw in raws] == [_identity(item.mime) for item in items]

    imap.uid("STORE", uids[0].decode(), "+FLAGS", r"(\Seen)")
    assert items[0].is_read

    imap.create("Archive")
    imap.uid("MOVE", uids[1].decode(), "Archive")
    archive = box.folder("Archive", make=False)
    assert [_identity(one.mime) for one in box.items_in(archive)] == [_identity(items[1].mime)]
    assert items[1].id not in box.items

    imap.uid("STORE", uids[2].decode(), "+FLAGS", r"(\Deleted)")
    imap.expunge()
    assert items[2].id not in box.items

    with smtplib.SMTP("127.0.0.1", davmail.smtp, timeout=60) as smtp:
        smtp.login("info", PASSWORD)
        letter = (
            b"From: info@example.org\r\nTo: ann@customer.example\r\nSubject: Hello\r\n\r\nHi\r\n"
        )
        smtp.sendmail("info@example.org", ["ann@customer.example"], letter)
    [sent] = exchange.sent
    assert sent.recipients == ("ann@customer.example",)
    copies = list(box.items_in(box.well_known("sentitems")))
    assert [one.header["subject"] for one in copies] == ["Hello"]


def _fetch(imap: imaplib.IMAP4, uid: bytes) -> bytes:
    _, found = imap.uid("FETCH", uid.decode(), "(BODY.PEEK[])")
    [raw] = [part[1] for part in found if isinstance(part, tuple)]
    return bytes(raw)


def _identity(raw: bytes) -> tuple[str, str, str]:
    message = message_from_bytes(raw)
    return message["message-id"], message["subject"], str(message.get_payload()).strip()
