"""No request before the server's time is over, by the server's clock, whatever is under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from postroom.api import Fetched, Limits, OutcomeUnknown, Outgoing, TransientError
from postroom.api.throttling import Gate, borrow, give_back
from postroom_graph.receiver import GraphReceiver
from postroom_graph.sender import GraphSender
from postroom_test_servers.graph import GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.graph_wire import GraphAnswer, GraphRequest, refusal

OpenReceiver = Callable[..., GraphReceiver]
OpenSender = Callable[..., GraphSender]
Letter = Callable[..., Outgoing]
RAW = b"From: ann@customer.example\r\nSubject: a\r\n\r\n"
ALWAYS = float("inf")
SECONDS = 0.6


@pytest.fixture
def mailboxs_gate(graph_server: GraphServer) -> Iterator[Gate]:
    """What the sessions of the mailbox share."""
    gate = borrow(f"{graph_server.url}|support@example.org")
    yield gate
    give_back(gate)


@pytest.fixture
def crew() -> Iterator[ThreadPoolExecutor]:
    """Threads for sessions."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def until(condition: Callable[[], bool]) -> None:
    """Wait for what has to come."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def fetched(receiver: GraphReceiver) -> list[str]:
    found = receiver.fetch(None, limits=Limits(), wanted=lambda page: [one.ref for one in page])
    return [one.ref for one in found if isinstance(one, Fetched)]


def sent(mailbox: GraphMailbox) -> int:
    return len(mailbox.folders[mailbox.well_known["sentitems"]].present)


def as_seconds() -> str:
    return f"{SECONDS}"


def as_date() -> str:
    """Name the next whole second but one, as a server does that rounds up."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize("named", [as_seconds, as_date])
@pytest.mark.parametrize("status", [429, 503])
def test_who_connects_while_the_mailbox_is_closed_does_not_ask(
    open_receiver: OpenReceiver,
    open_sender: OpenSender,
    letter: Letter,
    graph_server: GraphServer,
    mailbox: GraphMailbox,
    mailboxs_gate: Gate,
    crew: ThreadPoolExecutor,
    status: int,
    named: Callable[[], str],
):
    ref = mailbox.put(RAW).immutable_id
    sender, receiver = open_sender(), open_receiver()
    sender.find_sent("nobody@example.org", None)  # has a connection from now on
    graph_server.under_way = 0
    graph_server.handshakes.clear()
    downloads = crew.submit(fetched, receiver)
    until(lambda: receiver._client._sockets._in_handshake != {})
    graph_server.on("/messages$", lambda _: refusal(status, "Busy", retry_after=named()))
    lookup = crew.submit(sender.find_sent, "nobody@example.org", None)
    until(lambda: mailboxs_gate.remaining() > 0)

    graph_server.handshakes.set()

    assert downloads.result() == [ref]
    lookup.result()
    assert graph_server.early == []


def test_of_several_downloads_those_that_connect_keep_the_pause_of_the_first(
    open_receiver: OpenReceiver,
    graph_server: GraphServer,
    mailbox: GraphMailbox,
    mailboxs_gate: Gate,
    crew: ThreadPoolExecutor,
):
    wanted = [mailbox.put(RAW + str(n).encode()).immutable_id for n in range(8)]
    receiver = open_receiver()
    graph_server.under_way = 0

    def hold(_: GraphRequest) -> None:
        graph_server.handshakes.clear()

    def close(_: GraphRequest) -> GraphAnswer:
        until(lambda: len(receiver._client._sockets._in_handshake) == 2)
        return refusal(429, "ApplicationThrottled", retry_after=as_seconds())

    graph_server.on("/delta", hold)  # type: ignore[arg-type]
    graph_server.on("value$", close)
    downloads = crew.submit(fetched, receiver)
    until(lambda: mailboxs_gate.remaining() > 0)

    graph_server.handshakes.set()

    assert sorted(downloads.result()) == sorted(wanted)
    assert graph_server.early == []


def test_request_that_was_held_has_not_arrived(
    open_sender: OpenSender,
    letter: Letter,
    graph_server: GraphServer,
    mailbox: GraphMailbox,
    mailboxs_gate: Gate,
    crew: ThreadPoolExecutor,
):
    """Sending is held while it connects, for longer than a session waits: nothing was sent."""
    sender = open_sender()
    handle = sender.prepare(letter())
    sender._client._client()._transport.close()  # type: ignore[attr-defined]
    graph_server.handshakes.clear()
    sending = crew.submit(sender.send, letter(), handle)
    until(lambda: sender._client._sockets._in_handshake != {})
    before = graph_server.count
    mailboxs_gate.pause(117)

    graph_server.handshakes.set()

    with pytest.raises(TransientError) as caught:
        sending.result()
    assert not isinstance(caught.value, OutcomeUnknown)
    assert caught.value.retry_after == pytest.approx(117, abs=10)
    assert graph_server.count == before


def test_pause_is_kept_whose_answer_breaks_off(
    open_sender: OpenSender, letter: Letter, graph_server: GraphServer, mailbox: GraphMailbox
):
    """The head of a 429 says all: the message was not sent, and is sent when it is time."""
    graph_server.witness = None
    headers = {"Retry-After": as_seconds(), "Content-Length": "999"}
    graph_server.on("/send", GraphAnswer(429, b"{", headers))

    result = open_sender().send(letter(), None)

    assert result.accepted
    assert sent(mailbox) == 1
    assert graph_server.early == []


def test_both_sides_at_once_lose_nothing_and_never_come_early(
    open_receiver: OpenReceiver,
    open_sender: OpenSender,
    letter: Letter,
    graph_server: GraphServer,
    mailbox: GraphMailbox,
    crew: ThreadPoolExecutor,
):
    wanted = [mailbox.put(RAW + str(n).encode()).immutable_id for n in range(20)]
    graph_server.throttle_every, graph_server.retry_after = 12, "0.4"

    def send(number: int) -> None:
        with open_sender() as sender:
            sender.send(letter(message_id=f"answer-{number}@desk.example.org"), None)

    downloads = crew.submit(fetched, open_receiver())
    for sending in [crew.submit(send, number) for number in range(4)]:
        sending.result()

    assert sorted(downloads.result()) == sorted(wanted)
    assert sent(mailbox) == 4
    assert graph_server.early == []
    assert graph_server.most_at_once["support@example.org"] <= 4


def test_request_that_was_interrupted_counts_until_the_server_may_be_done_with_it(
    open_receiver: OpenReceiver,
    graph_server: GraphServer,
    mailbox: GraphMailbox,
    crew: ThreadPoolExecutor,
):
    for number in range(8):
        mailbox.put(RAW + str(number).encode())
    graph_server.latency = 0.3
    for _ in range(3):
        before = graph_server.count
        receiver = open_receiver()
        downloads = crew.submit(fetched, receiver)
        until(lambda: graph_server.count > before + 2)  # noqa: B023 - it is called here
        receiver.interrupt()
        with pytest.raises(TransientError):
            downloads.result()

    assert len(fetched(open_receiver())) == 8
    assert graph_server.most_at_once["support@example.org"] <= 4


def test_session_that_is_closed_while_it_connects_asks_nothing_and_leaves_nothing_open(
    open_receiver: OpenReceiver,
    graph_server: GraphServer,
    mailbox: GraphMailbox,
    crew: ThreadPoolExecutor,
):
    mailbox.put(RAW)
    receiver = open_receiver()
    opened: list[Any] = []
    trace = receiver._client._sockets.trace

    def hear(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.start_tls.complete":
            opened.append(info["return_value"].get_extra_info("socket"))
        trace(event, info)

    receiver._client._sockets.trace = hear  # type: ignore[method-assign]
    graph_server.handshakes.clear()
    downloads = crew.submit(fetched, receiver)
    until(lambda: receiver._client._sockets._in_handshake != {})
    before = graph_server.count

    receiver.close()
    graph_server.handshakes.set()

    assert isinstance(downloads.exception(30), TransientError)
    assert graph_server.count == before
    assert all(connection.fileno() == -1 for connection in opened)
