"""The transport keeps the contract, on a real SMTP server, with a password and with tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postroom.api import Token
from postroom.testing import Arrived, Relay, RelayedSender, SenderConformance, without
from postroom_smtp.plugin import SmtpTransport
from postroom_test_servers.smtp import SmtpServer

PASSWORD = "Kanarienvogel-7f3a9c"
HEAVY = ("smtplib", "ssl", "pydantic", "email")


class SmtpHarness(RelayedSender):
    """aiosmtpd behind a relay."""

    impatient = {"timeout_seconds": 0.5, "data_timeout_seconds": 0.5}  # noqa: RUF012
    patience_seconds = 0.5
    tells_retry_after = False  # SMTP has no words for it
    server_loggers = ("mail.log",)  # aiosmtpd's
    unsupported = without("the settings hold a password", "token", "expire_token")

    def __init__(self, server: SmtpServer, relay: Relay) -> None:
        self.server, self.relay = server, relay
        server.users["info"] = PASSWORD

    def settings(self):
        return {
            "host": "127.0.0.1",
            "port": self.relay.port,
            "security": "none",
            "username": "info",
            "password": PASSWORD,
            "timeout_seconds": 20,
        }

    def heal(self):
        super().heal()
        self.server.forget_scripts()
        self.server.size_limit = 32 << 20
        self.server.users["info"] = PASSWORD

    def received(self):
        return [Arrived(one.sender, one.recipients, one.raw) for one in self.server.received]

    def refuse_password(self):
        self.server.users["info"] = "another"

    def throttle(self, retry_after):
        self.server.answer("MAIL", "451 4.7.0 too much mail, come back later", times=None)

    def refuse_recipient(self, address):
        self.server.refuse_recipient(address)

    def defer_recipient(self, address):
        self.server.defer_recipient(address, times=None)

    def refuse_message(self):
        self.server.answer("END", "554 5.7.1 spam", times=None)

    def limit_size(self, most):
        self.server.size_limit = most

    def cut_before_end(self):
        self.server.cut("DATA")

    def cut_after_end(self, *, kept):
        self.server.cut("END", accept=kept)

    def be_silent_after_end(self, *, kept):
        self.server.stall("END", accept=kept)

    def drop_connections(self):
        self.server.drop_connections()


class TokenHarness(SmtpHarness):
    """The same account, with access tokens (XOAUTH2)."""

    unsupported = {}  # noqa: RUF012

    def __init__(self, server: SmtpServer, relay: Relay) -> None:
        super().__init__(server, relay)
        self.number = 1
        self.is_refused = False
        self._renew()

    def settings(self):
        return {**super().settings(), "password": None, "credential": "contoso"}

    def token(self, purpose: str, rejected: Token | None) -> Token:
        assert purpose == "smtp"
        if rejected is not None and rejected.value == self._value():
            self.number += 1
            self._renew()
        return Token(self._value())

    def expire_token(self):
        self.server.tokens["info"] = "none is right"

    def refuse_password(self):
        self.is_refused = True
        self.expire_token()

    def heal(self):
        super().heal()
        self.is_refused = False
        self._renew()

    def _value(self) -> str:
        return f"{PASSWORD}-{self.number}"

    def _renew(self) -> None:
        if not self.is_refused:
            self.server.tokens["info"] = self._value()


class TestSmtp(SenderConformance):
    transport = SmtpTransport()
    plugin = "postroom_smtp.plugin"
    heavy = HEAVY

    @pytest.fixture
    def database(self, database_url: str) -> str:
        """SQLite and PostgreSQL."""
        return database_url

    @pytest.fixture
    def harness(self, smtp_server: SmtpServer) -> Iterator[SmtpHarness]:
        with Relay(smtp_server.port) as relay:
            yield SmtpHarness(smtp_server, relay)


class TestSmtpWithTokens(SenderConformance):
    transport = SmtpTransport()
    plugin = "postroom_smtp.plugin"
    heavy = HEAVY

    @pytest.fixture
    def harness(self, smtp_server: SmtpServer) -> Iterator[TokenHarness]:
        with Relay(smtp_server.port) as relay:
            yield TokenHarness(smtp_server, relay)
