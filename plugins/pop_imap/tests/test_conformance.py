"""Both transports keep the contract, on a real Dovecot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postroom.testing import Held, ReceiverConformance, Relay, RelayedReceiver
from postroom_pop_imap.imap_names import parse_ref
from postroom_pop_imap.plugin import ImapTransport, PopTransport
from postroom_test_servers.dovecot import Account, Dovecot


class DovecotHarness(RelayedReceiver):
    """An account of Dovecot behind a relay."""

    def __init__(self, account: Account, relay: Relay) -> None:
        self.account, self.relay = account, relay

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
        self._set_password("another")

    def heal(self):
        super().heal()
        self._set_password(self.account.password)

    def _set_password(self, password: str) -> None:
        path = self.account.server.home / "users" / self.account.name
        path.write_text(f"{self.account.name}:{{PLAIN}}{password}\n")

    def reset_ids(self):
        self.account.reset_uidvalidity()

    def make_unreadable(self, ref):
        """A folder where the message's file was: Dovecot lists it and cannot read it."""
        raw = self.served(ref)
        for path in [*self.account.maildir.glob("cur/*"), *self.account.maildir.glob("new/*")]:
            if path.is_file() and path.read_bytes() == raw:
                path.unlink()
                path.mkdir()


class ImapHarness(DovecotHarness):
    def uid_of(self, ref):
        return parse_ref(ref).uid


class PopHarness(DovecotHarness):
    def uid_of(self, ref):
        return int(ref[:8], 16)  # pop3_uidl_format = %08Xu%08Xv


HEAVY = ("imaplib", "imapclient", "poplib", "ssl", "pydantic")


class TestImap(ReceiverConformance):
    transport = ImapTransport()
    plugin = "postroom_pop_imap.plugin"
    heavy = HEAVY

    @pytest.fixture
    def harness(self, dovecot: Dovecot) -> Iterator[ImapHarness]:
        with Relay(dovecot.imap) as relay:
            yield ImapHarness(dovecot.new_user(password="Kanarienvogel-7f3a9c"), relay)


class TestPop(ReceiverConformance):
    transport = PopTransport()
    plugin = "postroom_pop_imap.plugin"
    heavy = HEAVY

    @pytest.fixture
    def harness(self, dovecot: Dovecot) -> Iterator[PopHarness]:
        with Relay(dovecot.pop3) as relay:
            yield PopHarness(dovecot.new_user(password="Kanarienvogel-7f3a9c"), relay)
