"""An installation as an administrator has it: a TOML file for ``postroom apply`` and the command
line, in this process or in one of its own; and the oracle that says whether mail was lost."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

PASSWORD = "Kanarienvogel-7f3a9c"
"""Of every account: it must be found in no output, no log and no byte of the database."""
PASSWORD_VARIABLE = "POSTROOM_TEST_PASSWORD"


REPORT = "Content-Type: multipart/report; report-type=delivery-status; boundary=b"
"""In the header of a mail whose text is `BOUNCE`."""
BOUNCE = """--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.customer.example

Final-Recipient: rfc822; ann@customer.example
Action: failed
Status: 5.1.1
--b--"""


def mail(
    token: str,
    *more: str,
    sender: str = "",
    text: str = "",
    subject: str = "",
    date: str = "Tue, 03 Mar 2026 09:15:00 +0100",
) -> bytes:
    """Return a mail of a person with its own Message-ID, ``<token@customer.example>``.

    :param more: further header lines
    """
    sender = sender or f"Ann Reed <{token}@customer.example>"
    lines = [
        f"From: {sender}",
        "To: info@example.org",
        f"Subject: {subject or f'Question {token}'}",
        f"Date: {date}",
        f"Message-ID: <{token}@customer.example>",
        *more,
        "",
        text or f"The rear brake of {token} squeals.",
        "",
    ]
    return "\r\n".join(lines).encode()


def toml(table: str, **values: Any) -> str:
    """Return a table with scalars as a TOML file has them; a dict becomes an inline table."""
    return "\n".join([table, *(f"{key} = {_value(value)}" for key, value in values.items())]) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def incoming(transport: str, port: int, username: str, **more: Any) -> str:
    """Return the table of an incoming side on localhost."""
    values = {
        "transport": transport,
        "host": "localhost",
        "port": port,
        "username": username,
        "password": {"env": PASSWORD_VARIABLE},
        "timeout_seconds": 20,
    }
    return toml("[mailbox.incoming]", **(values | more))


def outgoing(port: int, **more: Any) -> str:
    """Return the table of an outgoing side on localhost, without log-in."""
    values = {"transport": "smtp", "host": "localhost", "port": port, "security": "none"}
    return toml("[mailbox.outgoing]", **(values | {"timeout_seconds": 20} | more))


class Desk:
    """Commands on one installation, which the environment points to.

    :param folder: for the TOML file
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs: list[str] = []
        """Everything that any command printed."""

    def apply(self, *tables: str) -> None:
        """Apply a configuration, which must succeed."""
        path = self.folder / "postroom.toml"
        path.write_text("\n".join(tables), encoding="utf-8")
        self.do("apply", str(path))

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run a command in this process."""
        from postroom.cli import cli

        with kept_logging():
            result = CliRunner().invoke(cli, arguments, input=stdin)
        self.outputs += [result.output]
        return result

    def do(self, *arguments: str, exit_code: int = 0) -> str:
        """Run a command that must end like this; return its standard output."""
        result = self.run(*arguments)
        assert result.exit_code == exit_code, (arguments, result.exit_code, result.output)
        return str(result.stdout)

    def json(self, *arguments: str, exit_code: int = 0) -> list[dict[str, Any]]:
        """Return what a command prints with ``--json``, line by line."""
        lines = self.do(*arguments, "--json", exit_code=exit_code).splitlines()
        return [json.loads(line) for line in lines]

    def process(self, *arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "postroom", *arguments],
            capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.outputs += [done.stdout, done.stderr]
        return done

    def audit(self, address: str) -> dict[str, Any]:
        """Return the audit of a mailbox, which must leave nothing unaccounted."""
        [found] = self.json("mailbox", "audit", address)
        assert found["unaccounted"] == 0, found
        counted = ("stored", "duplicate", "ignored", "quarantined", "refused")
        assert found["on_server"] == sum(found[name] for name in counted), found
        return found

    def questions(self) -> list[dict[str, Any]]:
        """Return every question with its messages."""
        return [json.loads(line) for line in self.do("question", "export").splitlines()]


@contextmanager
def kept_logging() -> Iterator[None]:
    """Undo what a command does to the logging of this process: its stream is closed afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


# ---------------------------------------------------------------------------- the oracle


def digest(raw: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(raw).hexdigest()


def received_digests(address: str | None = None) -> collections.Counter[str]:
    """Count the received messages that are in a question, by digest of their bytes."""
    from postroom.store.database import rows
    from postroom.store.models import Mailbox, Message, Question, Raw

    query = (
        Message.select(Raw.sha256)
        .join(Raw, on=(Raw.id == Message.raw_id))
        .join(Question, on=(Question.id == Message.question))
        .where((Message.direction == "in") & Question.merged_into.is_null())
    )
    if address is not None:
        query = query.join(Mailbox, on=(Mailbox.id == Message.mailbox)).where(
            Mailbox.address == address
        )
    return collections.Counter(row[0] for row in rows(query))


def quarantined_digests() -> collections.Counter[str]:
    """Count what is in quarantine with its bytes."""
    from postroom.store.database import rows
    from postroom.store.models import Receipt

    query = Receipt.select(Receipt.sha256).where(
        (Receipt.outcome == "quarantined") & Receipt.raw_id.is_null(False)
    )
    return collections.Counter(row[0] for row in rows(query))


def assert_each_once(injected: Iterable[bytes], address: str | None = None) -> None:
    """Nothing is lost, nothing is doubled: every message is in one question or in quarantine,
    with its bytes."""
    from postroom.store import raws
    from postroom.store.database import rows
    from postroom.store.models import Raw

    wanted = collections.Counter(map(digest, injected))
    found = received_digests(address) + quarantined_digests()
    assert not wanted - found, f"{sum((wanted - found).values())} lost"
    assert not found - wanted, f"{sum((found - wanted).values())} doubled"
    kept: dict[int, str] = dict(rows(Raw.select(Raw.id, Raw.sha256)))
    for raw_id, beginning in raws.beginnings(list(kept)):
        if digest(beginning) == kept[raw_id]:
            del kept[raw_id]
    for raw_id, sha256 in kept.items():  # those in several pieces, or in none
        assert digest(raws.load(raw_id)) == sha256
