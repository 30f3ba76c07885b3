"""The transport keeps the contract, whichever way it logs in."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from postroom.api import Token
from postroom.testing import (
    Arrived,
    Held,
    ReceiverConformance,
    Relay,
    Relayed,
    RelayedReceiver,
    RelayedSender,
    SenderConformance,
)
from postroom_ews.plugin import EwsTransport
from postroom_test_servers.exchange import ExchangeServer, running
from postroom_test_servers.exchange_store import Item
from postroom_test_servers.tls import PrivateAuthority

ADDRESS = "support@example.org"
PASSWORD = "Kanarienvogel-7f3a9c"
HEAVY = ("exchangelib", "requests", "urllib3", "lxml", "pydantic", "requests_ntlm")
_UNENVELOPED = "EWS has no envelope: the server takes a message for all recipients or for none"


class _Exchange(Relayed):
    """What both harnesses share: a server behind a relay, and its accounts."""

    def __init__(
        self, server: ExchangeServer, relay: Relay, authority: PrivateAuthority, auth: str
    ) -> None:
        self.server, self.relay, self.auth = server, relay, auth
        self._ca_file = str(authority.ca_file)
        self.box = server.add_mailbox(ADDRESS, user="support", password=PASSWORD)
        self.count, self.lent = 0, ""
        self._issue()

    def _issue(self) -> None:
        self.count += 1
        self.server.tokens.clear()
        self.newest = f"token-{self.count}-of-Kanarienvogel"
        self.server.tokens[self.newest] = "app:postroom"

    def settings(self) -> dict[str, Any]:
        own = (
            {"credential": "contoso"}
            if self.auth == "oauth"
            else {"username": r"EXAMPLE\support", "password": PASSWORD}
        )
        return {
            "url": f"https://localhost:{self.relay.port}/EWS/Exchange.asmx", "auth": self.auth,
            "ca_file": self._ca_file, "timeout_seconds": 20, **own,
        }  # fmt: skip

    def refuse_password(self) -> None:
        self.server.users["support"] = "another"
        self.server.tokens.clear()

    def heal(self) -> None:
        super().heal()
        self.server.heal()
        self.server.users["support"] = PASSWORD
        self.server.operations.size_limit = 40 << 20
        if not self.server.tokens:
            self._issue()

    def token(self, purpose: str, rejected: Token | None) -> Token:
        assert purpose == "ews"
        if rejected is not None or not self.lent:
            self.lent = self.newest
        return Token(self.lent)

    def expire_token(self) -> None:
        self._issue()

    def throttle(self, retry_after: float) -> None:
        self.server.fail(back_off=int(retry_after * 1000), times=None)


class Receiving(_Exchange, RelayedReceiver):
    def put(self, raw, received_at=None):
        self.box.deliver(raw, received_at)

    def served(self, ref):
        return self.box.items[ref].mime

    def listing(self):
        with self.box.lock:
            return [Held(one.mime, one.is_read, self._name(one)) for one in self.box.items.values()]

    def _name(self, item: Item) -> str:
        return "" if item.folder.distinguished == "inbox" else item.folder.name

    def remove(self, ref):
        with self.box.lock:
            self.box.remove(self.box.items[ref])

    def make_unreadable(self, ref):
        self.box.items[ref].is_unreadable = True

    def reset_ids(self):
        self.box.reset_ids()


class Sending(_Exchange, RelayedSender):
    unsupported = MappingProxyType(
        {"refuse_recipient": _UNENVELOPED, "defer_recipient": _UNENVELOPED}
    )

    def received(self):
        return [Arrived(None, one.recipients, one.raw) for one in self.server.sent]

    def refuse_message(self):
        self.server.fail("SendItem", code="ErrorInvalidRecipients", times=None)

    def limit_size(self, most):
        self.server.operations.size_limit = most

    def cut_before_end(self):
        self.server.fail("CreateItem", cut="before")

    def cut_after_end(self, *, kept):
        self.server.fail("SendItem", cut="after" if kept else "before")

    def be_silent_after_end(self, *, kept):
        self.server.fail("SendItem", silent=True)

    def forget_sent(self, message_id):
        with self.box.lock:
            for item in list(self.box.items_in(self.box.well_known("sentitems"))):
                self.box.remove(item)


@pytest.fixture
def server(authority: PrivateAuthority) -> Iterator[ExchangeServer]:
    yield from running(tls=authority.server_context("localhost", "127.0.0.1"))


class _Ews:
    """The transport at our stand-in, logged in to in one way."""

    transport = EwsTransport()
    plugin = "postroom_ews.plugin"
    heavy = HEAVY
    side: type[_Exchange]
    auth: str

    @pytest.fixture
    def harness(self, server: ExchangeServer, authority: PrivateAuthority) -> Iterator[_Exchange]:
        with Relay(server.port) as relay:
            yield self.side(server, relay, authority, self.auth)


class _Receiver(_Ews, ReceiverConformance):
    side = Receiving


class TestReceiverBasic(_Receiver):
    auth = "basic"


class TestReceiverNtlm(_Receiver):
    auth = "ntlm"


class TestReceiverOAuth(_Receiver):
    auth = "oauth"


class _Sender(_Ews, SenderConformance):
    side = Sending


class TestSenderBasic(_Sender):
    auth = "basic"


class TestSenderNtlm(_Sender):
    auth = "ntlm"


class TestSenderOAuth(_Sender):
    auth = "oauth"
