"""A password is in no log, no output and no byte of the database, in no spelling."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from postroom.store.database import rows
from postroom.store.models import TABLES
from postroom_test_servers.desk import (
    PASSWORD,
    PASSWORD_VARIABLE,
    Desk,
    incoming,
    mail,
    outgoing,
    toml,
)
from postroom_test_servers.dovecot import Account
from postroom_test_servers.points import say
from postroom_test_servers.smtp import SmtpServer

WORDS = ("Kanarien", "Nachtigall")
"""No part of a password may be seen."""
WRONG = "Nachtigall+%7f & 3a9c"
SHOWS = [
    "status", "doctor", "mailbox list", "mailbox show info@example.org",
    "mailbox errors info@example.org", "mailbox test info@example.org", "outbox list",
    "question list", "plugin list", "segment list", "db check",
]  # fmt: skip


def _spellings(word: str) -> set[str]:
    """Return how a word looks plain, quoted, in hexadecimal, and in base64 wherever it begins."""
    raw = word.encode()
    inner = {base64.b64encode(b"\0" * n + raw).decode()[n + 2 : -4] for n in range(3)}
    return {word, quote(word), raw.hex(), *inner}


def _hits(text: str) -> list[str]:
    spellings = {spelling for word in WORDS for spelling in _spellings(word)}
    return [one for one in spellings if re.search(re.escape(one), text, re.I)]


def test_the_spellings_find_what_they_must() -> None:
    login = base64.b64encode(f"\0info\0{PASSWORD}".encode()).decode()

    assert _hits(login) and _hits(PASSWORD) and _hits(WRONG) and _hits(PASSWORD.encode().hex())


@pytest.mark.parametrize(
    ("transport", "mechanism"), [("imap", "PLAIN"), ("pop3", "LOGIN"), ("imap", "CRAM-MD5")]
)
def test_no_password_is_seen_anywhere(
    desk: Desk,
    account: Account,
    start_smtp: Callable[..., SmtpServer],
    transport: str,
    mechanism: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smtp = start_smtp(users={"info": PASSWORD}, mechanisms=(mechanism,))
    account.append(mail("a"))
    tables = [
        toml("[[segment]]", name="support"),
        toml("[[mailbox]]", address="info@example.org", segment="support", start="all"),
        incoming(transport, getattr(account.server, transport), account.name, security="none"),
        outgoing(smtp.port, username="info", password={"env": PASSWORD_VARIABLE}),
    ]
    for password in (WRONG, PASSWORD):
        monkeypatch.setenv(PASSWORD_VARIABLE, password)
        desk.apply(*tables)
        desk.process("run", "--once", "--log-level", "debug")
        if password == PASSWORD:
            number = desk.json("question", "list")[0]["number"]
            desk.do("question", "answer", str(number), "--text", "Hello")
        desk.process("run", "--once", "--log-level", "debug")
        for shown in SHOWS:
            desk.run(*shown.split(), *(["--json"] if password == PASSWORD else []))
    desk.do("question", "export")
    assert len(smtp.received) == 1

    said = "\n".join(desk.outputs)
    stored = json.dumps([list(map(str, row)) for t in TABLES for row in rows(t.select())])
    stored += "".join(_bytes_in_database())
    assert "DEBUG" in said
    assert _hits(said) == []
    assert _hits(stored) == []
    say(f"{transport}, {mechanism}: 0 hits in {len(said)} letters said, {len(stored)} stored")


def _bytes_in_database() -> list[str]:
    return [
        value.hex() if isinstance(value, bytes) else bytes(value).hex()
        for table in TABLES
        for row in rows(table.select())
        for value in row
        if isinstance(value, bytes | memoryview)
    ]
