"""The transport keeps the contract: the cases are the kit's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from example_server import MailService
from harness import KEY, CourierReceiverHarness, CourierSenderHarness
from postroom.testing import ReceiverConformance, Relay, SenderConformance
from postroom_courier.plugin import CourierTransport


@pytest.fixture
def service() -> Iterator[MailService]:
    """The service, anew for each case."""
    with MailService(KEY) as running:
        yield running


class TestReceiver(ReceiverConformance):
    transport = CourierTransport()
    plugin = "postroom_courier.plugin"

    @pytest.fixture
    def harness(self, service: MailService) -> Iterator[CourierReceiverHarness]:
        with Relay(service.port) as relay:
            yield CourierReceiverHarness(service, relay)


class TestSender(SenderConformance):
    transport = CourierTransport()
    plugin = "postroom_courier.plugin"

    @pytest.fixture
    def harness(self, service: MailService) -> Iterator[CourierSenderHarness]:
        with Relay(service.port) as relay:
            yield CourierSenderHarness(service, relay)
