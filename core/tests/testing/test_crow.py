"""A small transport that keeps the contract passes the whole kit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postroom.testing import ReceiverConformance, Relay, SenderConformance
from postroom_test_servers.crow.harness import PASSWORD, CrowReceiverHarness, CrowSenderHarness
from postroom_test_servers.crow.plugin import CrowTransport
from postroom_test_servers.crow.server import running_crow


class TestCrowReceiver(ReceiverConformance):
    transport = CrowTransport()
    plugin = "postroom_test_servers.crow.plugin"

    @pytest.fixture
    def harness(self) -> Iterator[CrowReceiverHarness]:
        with running_crow(PASSWORD) as server, Relay(server.port) as relay:
            yield CrowReceiverHarness(server, relay)


class TestCrowSender(SenderConformance):
    transport = CrowTransport()
    plugin = "postroom_test_servers.crow.plugin"

    @pytest.fixture
    def harness(self) -> Iterator[CrowSenderHarness]:
        with running_crow(PASSWORD) as server, Relay(server.port) as relay:
            yield CrowSenderHarness(server, relay)
