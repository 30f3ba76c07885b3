"""Both transports keep the contract, on a real Dovecot."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from postroom.testing import Held, ReceiverConformance, Relay, RelayedReceiver, without
from postroom_pop_imap.imap_names import parse_ref
from postroom_pop_imap.plugin import ImapTransport, PopTransport
from postroom_test_servers.dovecot import Account, Dovecot
from postroom_test_servers.responder import Responder

StartResponder = Callable[..., Responder]


PASSWORD = "Kanarienvogel-7f3a9c"


class DovecotHarness(RelayedReceiver):
    """An account of Dovecot behind a relay, which can also lead to a server where there is no such
    account, or to one that is busy."""

    impatient = {"timeout_seconds": 0.5}  # noqa: RUF012
    patience_seconds = 0.5
    tells_retry_after = False  # IMAP and POP3 have no words for it
    unsupported = without("the settings hold a password", "token", "expire_token")

    def __init__(self, account: Account, relay: Relay, *, elsewhere: int, busy: int) -> None:
        self.account, self.relay = account, relay
        self._here, self._elsewhere, self._busy = relay.target, elsewhere, busy

    def settings(self):
        return {
            "host": "127.0.0.1",
            "port": self.relay.port,
            "security": "none",
            "username": self.account.name,
            "password": self.account.password,
            "timeout_seconds": 20,
        }

    def put(self, raw, received_at=None):
        self.account.append(raw, received_at=received_at)

    def served(self, ref):
        return self.stored(ref).raw

    def listing(self):
        seen = r"\Seen"
        return [
            Held(message.raw, seen in message.flags, folder)
            for folder in ("", self.other_folder)
            for message in self.account.messages(folder or "INBOX")
        ]

    def remove(self, ref):
        self.account.expunge([self.stored(ref).uid])

    def stored(self, ref: str) -> Any:
        """Return the message of a ref as the server has it."""
        uid = self.uid_of(ref)
        return next(one for one in self.account.messages() if one.uid == uid)

    def uid_of(self, ref: str) -> int:
        """Return the UID that is in a ref."""
        raise NotImplementedError

    def refuse_password(self):
        self.relay.target = self._elsewhere

    def throttle(self, retry_after):
        self.relay.target = self._busy

    def heal(self):
        super().heal()
        self.relay.target = self._here

    def reset_ids(self):
        self.account.reset_uidvalidity()

    def make_unreadable(self, ref):
        """Take away the right to read the file: Dovecot lists the message and cannot read it."""
        raw = self.stored(ref).raw
        for path in [*self.account.maildir.glob("cur/*"), *self.account.maildir.glob("new/*")]:
            if path.read_bytes() == raw:
                path.chmod(0)


class ImapHarness(DovecotHarness):
    def uid_of(self, ref):
        return parse_ref(ref).uid


class PopHarness(DovecotHarness):
    def uid_of(self, ref):
        return int(ref[:8], 16)  # pop3_uidl_format = %08Xu%08Xv

    def listing(self):
        """POP3 has no marks; that Dovecot shows what was retrieved as seen is its own affair."""
        return [dataclasses.replace(held, seen=None) for held in super().listing()]

    def served(self, ref):
        """POP3 ends each message with a line end, and knows no NUL."""
        return retrieved(self._here, self.account, ref)


def retrieved(port: int, account: Account, ref: str) -> bytes:
    """Return a message as RETR serves it."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        server = client.makefile("rb")
        server.readline()
        numbers = {}
        for command in (f"USER {account.name}", f"PASS {account.password}", "UIDL"):
            client.sendall(f"{command}\r\n".encode())
            assert server.readline().startswith(b"+OK")
        for line in iter(server.readline, b".\r\n"):
            number, _, name = line.decode().strip().partition(" ")
            numbers[name] = number
        client.sendall(f"RETR {numbers[ref]}\r\n".encode())
        assert server.readline().startswith(b"+OK")
        return b"".join(line.removeprefix(b".") for line in iter(server.readline, b".\r\n"))


HEAVY = ("imaplib", "imapclient", "poplib", "ssl", "pydantic")


class TestImap(ReceiverConformance):
    transport = ImapTransport()
    plugin = "postroom_pop_imap.plugin"
    heavy = HEAVY

    @pytest.fixture
    def database(self, database_url: str) -> str:
        """SQLite and PostgreSQL."""
        return database_url

    @pytest.fixture
    def harness(
        self, dovecot: Dovecot, plain_dovecot: Dovecot, start_imap: StartResponder
    ) -> Iterator[ImapHarness]:
        busy = start_imap({"LOGIN": b"TAG NO [UNAVAILABLE] come back later\r\n"}).port
        with Relay(dovecot.imap) as relay:
            account = dovecot.new_user(password=PASSWORD)
            yield ImapHarness(account, relay, elsewhere=plain_dovecot.imap, busy=busy)


class TestPop(ReceiverConformance):
    transport = PopTransport()
    plugin = "postroom_pop_imap.plugin"
    heavy = HEAVY

    @pytest.fixture
    def harness(
        self, dovecot: Dovecot, plain_dovecot: Dovecot, start_pop: StartResponder
    ) -> Iterator[PopHarness]:
        busy = start_pop({"PASS": b"-ERR [SYS/TEMP] come back later\r\n"}).port
        with Relay(dovecot.pop3) as relay:
            account = dovecot.new_user(password=PASSWORD)
            yield PopHarness(account, relay, elsewhere=plain_dovecot.pop3, busy=busy)
