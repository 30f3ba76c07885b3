"""Both transports keep the contract, on a real Dovecot."""

from __future__ import annotations

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
