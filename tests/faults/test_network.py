"""A connection that ends after any byte, in either direction, loses and doubles nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from postroom.store.models import Outbox
from postroom_test_servers.crash_cases import Servers, incoming_case, outgoing_case
from postroom_test_servers.points import points, say, takes_all
from postroom_test_servers.proxy import Proxy, running_proxy

KINDS = ["sqlite", "postgresql"] if takes_all() else ["sqlite"]
RunOnce = Callable[[], int]


def _length(proxy: Proxy, direction: str) -> int:
    """Return how many bytes the longest connection took that way, and forget."""
    place = ("received", "sent").index(direction)
    longest = max(passed[place] for passed in proxy.passed)
    proxy.passed.clear()
    return longest


@pytest.mark.timeout(0 if takes_all() else 120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["received", "sent"])
@pytest.mark.parametrize(
    ("transport", "disposition"), [("imap", "move"), ("imap", "delete"), ("pop3", "delete")]
)
def test_a_cut_while_mail_is_taken(
    servers: Servers,
    run_once: RunOnce,
    kind: str,
    direction: str,
    transport: str,
    disposition: str,
) -> None:
    with running_proxy(getattr(servers.dovecot, transport)) as proxy:
        with incoming_case(servers, kind, transport, disposition, port=proxy.port) as (_, check):
            assert run_once() == 0
            check()
        length = _length(proxy, direction)
        tried = list(points(length, stride=151 if direction == "received" else 67))

        for byte in tried:
            fault = ("cut", "reset")[byte % 2]
            with incoming_case(servers, kind, transport, disposition, port=proxy.port) as (
                _,
                check,
            ):
                proxy.break_after(**{direction: byte}, fault=fault, faults=1)  # type: ignore[arg-type]
                broken = run_once()
                proxy.break_after()
                repaired = run_once()

                assert broken in (0, 75), byte
                assert repaired in (0, 75), byte  # an acknowledgement may wait for its next try
                _send_what_waits(run_once)
                check()
    say(
        f"{transport}, {disposition}, {kind}, cut after {len(tried)} of {length} bytes "
        f"{direction}: 0 lost, 0 doubled"
    )


@pytest.mark.timeout(0 if takes_all() else 120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["received", "sent"])
def test_a_cut_while_mail_is_sent(
    servers: Servers, run_once: RunOnce, kind: str, direction: str
) -> None:
    with running_proxy(servers.smtp.port) as proxy:
        with outgoing_case(servers, kind, port=proxy.port, answers_to_send=3) as (_, check):
            assert run_once() == 0
            check()
        length = _length(proxy, direction)
        tried = list(points(length, stride=43 if direction == "received" else 97))
        unknown = 0

        for byte in tried:
            fault = ("cut", "reset")[byte % 2]
            with outgoing_case(servers, kind, port=proxy.port, answers_to_send=3) as (_, check):
                ids = {row.internet_id for row in Outbox.select()}
                proxy.break_after(**{direction: byte}, fault=fault, faults=1)  # type: ignore[arg-type]
                run_once()
                proxy.break_after()
                _send_what_waits(run_once)

                check()
                assert {row.internet_id for row in Outbox.select()} == ids
                unknown += Outbox.select().where(Outbox.state == "unknown").count()
    say(
        f"smtp, {kind}, cut after {len(tried)} of {length} bytes {direction}: "
        f"0 sent twice, {unknown} unknown"
    )


def _send_what_waits(run_once: RunOnce) -> None:
    """Let the time pass that a mail waits for its next try."""
    Outbox.update(next_try_at=None).where(Outbox.state == "queued").execute()
    assert run_once() in (0, 3)
