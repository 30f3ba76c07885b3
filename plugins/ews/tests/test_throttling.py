"""The time that Exchange names is kept by all sessions of the account that it charges."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from postroom.api import Outgoing, TransientError, codes
from postroom.api.throttling import MARGIN, borrow, give_back
from postroom_ews import link
from postroom_ews.receiver import EwsReceiver
from postroom_ews.sender import EwsSender
from postroom_test_servers.exchange import ExchangeServer
from postroom_test_servers.exchange_store import Mailbox

OpenReceiver = Callable[..., EwsReceiver]
OpenSender = Callable[..., EwsSender]
OUTGOING = Outgoing(
    message_id="a1@example.org",
    sender="support@example.org",
    recipients=("ann@customer.example",),
    raw=b"From: support@example.org\r\nTo: ann@customer.example\r\n\r\nHello\r\n",
    from_address="support@example.org",
)
BUSY = {
    "fault": {"back_off": 60_000},
    "inner": {"inner": "ErrorServerBusy", "back_off": 60_000},
    "unavailable": {"status": 503, "headers": (("Retry-After", "60"),)},
    "too many": {"status": 429, "headers": (("Retry-After", "60"),)},
}


@pytest.mark.parametrize("kind", BUSY)
def test_what_one_session_is_told_every_session_keeps(
    box: Mailbox,
    exchange: ExchangeServer,
    open_receiver: OpenReceiver,
    open_sender: OpenSender,
    kind: str,
) -> None:
    exchange.fail("SyncFolderItems", **BUSY[kind])
    with open_receiver() as receiver, pytest.raises(TransientError):
        list(receiver.list_refs())
    before = list(exchange.requests)

    for ask in (lambda: open_sender().prepare(OUTGOING), lambda: [*open_receiver().list_refs()]):
        with pytest.raises(TransientError) as caught:
            ask()
        assert caught.value.code is codes.SERVER_BUSY
        assert caught.value.retry_after == pytest.approx(60, abs=15)

    assert exchange.requests == before


def test_who_connects_while_another_is_told_to_wait_waits_too(
    box: Mailbox,
    exchange: ExchangeServer,
    open_sender: OpenSender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = borrow(f"{exchange.url.lower()}|support")
    connect, paused = link._Linked._connect_to, list[float]()

    def connect_slowly(self: Any, host: str, port: int) -> Any:
        made = connect(self, host, port)
        if not paused:
            paused.append(time.monotonic())
            gate.pause(0.6)
        return made

    monkeypatch.setattr(link._Linked, "_connect_to", connect_slowly)

    assert open_sender().prepare(OUTGOING)

    assert time.monotonic() - paused[0] >= 0.6 + MARGIN
    assert exchange.requests.count("CreateItem") == 1
    give_back(gate)


def test_mailboxes_that_are_impersonated_have_pauses_of_their_own(
    exchange: ExchangeServer, open_receiver: OpenReceiver, box: Mailbox
) -> None:
    exchange.add_mailbox("other@example.org", user="other", password="x")
    exchange.impersonators.add("support")
    exchange.fail("SyncFolderItems", back_off=60_000)
    with pytest.raises(TransientError):
        list(open_receiver(access="impersonation").list_refs())

    other = open_receiver(access="impersonation", mailbox="other@example.org")

    assert list(other.list_refs()) == []
