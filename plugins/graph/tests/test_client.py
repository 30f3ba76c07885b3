"""Throttling, tokens, links and error bodies: what HTTP with Graph has to get right."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from postroom.api import AuthError, SettingsError, Token, TransientError, codes
from postroom_graph.errors import GraphError, explain, parse_error
from postroom_graph.receiver import GraphReceiver
from postroom_graph.settings import GraphReceiverSettings
from postroom_test_servers.graph import GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.graph_wire import GraphAnswer, refusal
from pydantic import ValidationError

OpenReceiver = Callable[..., GraphReceiver]
ALWAYS = float("inf")
RAW = b"From: ann@customer.example\r\nSubject: a\r\n\r\na\r\n"


def listed(receiver: GraphReceiver) -> int:
    return len(list(receiver.list_refs()))


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_short_pause_is_waited_for_and_kept(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer, status: int
):
    mailbox.put(RAW)
    graph_server.on("/delta", refusal(status, "Busy", retry_after="0.25"))
    begun = time.monotonic()

    assert listed(open_receiver()) == 1

    assert time.monotonic() - begun >= 0.25
    assert graph_server.early == []


@pytest.mark.parametrize("told", ["117", "117.5", "date", "1e30"])
def test_a_long_pause_is_told_and_keeps_every_session_of_the_mailbox_away(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer, told: str
):
    value = told
    if told == "date":
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=117), usegmt=True)
    graph_server.on("/delta", refusal(429, "TooManyRequests", retry_after=value))
    with pytest.raises(TransientError) as caught:
        listed(open_receiver())
    before = graph_server.count

    with pytest.raises(TransientError) as later:
        listed(open_receiver())

    assert graph_server.count == before
    for one in (caught.value, later.value):
        assert one.retry_after is not None
        assert 115 < one.retry_after <= 24 * 3600 + 1


@pytest.mark.parametrize("told", [None, "soon", "-5", "nan", "inf"])
def test_without_a_usable_time_we_back_off_and_try_again(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer, told: str | None
):
    mailbox.put(RAW)
    graph_server.on("/delta", refusal(429, "TooManyRequests", retry_after=told))

    assert listed(open_receiver()) == 1


def test_a_server_in_trouble_is_given_up_after_some_tries(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    graph_server.on("/delta", refusal(500, "ErrorInternalServerTransientError"), times=ALWAYS)

    with pytest.raises(TransientError) as caught:
        listed(open_receiver())

    assert caught.value.code is codes.SERVER_BUSY
    assert 2 < graph_server.count < 8


def test_interrupting_ends_a_wait_for_the_servers_time(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    receiver = open_receiver()

    def interrupt(_: Any) -> GraphAnswer:
        receiver.interrupt()
        return refusal(429, "TooManyRequests", retry_after="20")

    graph_server.on("/delta", interrupt)
    begun = time.monotonic()

    with pytest.raises(TransientError):
        listed(receiver)

    assert time.monotonic() - begun < 10


def test_a_refused_token_is_replaced_once_and_then_final(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer, context: Any
):
    graph_server.on("/delta", refusal(401, "InvalidAuthenticationToken"), times=ALWAYS)

    with pytest.raises(AuthError) as caught:
        listed(open_receiver())

    assert len(context.rejected) == 1
    assert context.mailbox in caught.value.sentence


def test_tokens_that_expire_all_the_time_lose_nothing(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer, context: Any
):
    from postroom.api import Fetched, Limits

    refs = [mailbox.put(RAW + str(n).encode()).immutable_id for n in range(30)]
    graph_server.token_life = 7

    found = open_receiver().fetch(
        None, limits=Limits(), wanted=lambda page: [item.ref for item in page]
    )

    assert [one.ref for one in found if isinstance(one, Fetched)] == refs
    assert len(context.rejected) >= 4


def test_a_token_about_to_expire_is_replaced_before_it_is_refused(
    open_receiver: OpenReceiver, graph_server: GraphServer, context: Any
):
    lent: list[datetime] = []

    def token(purpose: str, *, rejected: Token | None = None) -> Token:
        assert rejected is None
        lent.append(datetime.now(UTC) + timedelta(seconds=5 if not lent else 3600))
        return Token(graph_server.issue(), lent[-1])

    context.token = token
    receiver = open_receiver()

    assert listed(receiver) == listed(receiver) == 0
    assert len(lent) == 2


def test_every_request_asks_for_immutable_ids_and_names_itself(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    seen: list[dict[str, str]] = []
    graph_server.on(".", lambda request: seen.append(dict(request.headers)), times=ALWAYS)  # type: ignore[arg-type, func-returns-value]
    mailbox.put(RAW)

    listed(open_receiver(folders=["inbox", "Sent Items"]))

    assert len({one["client-request-id"] for one in seen}) == len(seen) > 2
    assert graph_server.without_immutable_ids == []


def test_a_page_that_is_no_json_is_not_graph(
    open_receiver: OpenReceiver, graph_server: GraphServer
):
    graph_server.witness = None
    graph_server.on("/delta", GraphAnswer(200, b"<html>Please sign in</html>"))

    with pytest.raises(TransientError) as caught:
        listed(open_receiver())

    assert caught.value.code is codes.PROTOCOL


def test_a_redirect_is_not_followed(open_receiver: OpenReceiver, graph_server: GraphServer):
    graph_server.witness = None
    graph_server.on("/delta", GraphAnswer(302, None, {"Location": "https://evil.example/"}))

    with pytest.raises(TransientError):
        listed(open_receiver())


def test_a_certificate_that_is_not_trusted_is_a_settings_error(open_receiver: OpenReceiver):
    with pytest.raises(SettingsError) as caught:
        listed(open_receiver(ca_file=None))

    assert caught.value.code is codes.TLS_UNTRUSTED


def test_nobody_there_is_transient(open_receiver: OpenReceiver, free_port: int):
    with pytest.raises(TransientError) as caught:
        listed(open_receiver(base_url=f"https://localhost:{free_port}/v1.0"))

    assert caught.value.code is codes.PORT_REFUSED


BODIES = {
    "usual": (
        b'{"error":{"code":"A","message":"m","innerError":{"code":"B","request-id":"r"}}}',
        ("a", "b"), "m", "r",
    ),
    "other spelling": (
        b'{"error":{"code":"A","message":"m","innererror":{"innererror":{"code":"C"}}}}',
        ("a", "c"), "m", "",
    ),
    "as a login server": (b'{"error":"invalid","error_description":"m"}', ("invalid",), "m", ""),
    "old": (b'{"odata.error":{"code":"A","message":{"value":"m"}}}', ("a",), "m", ""),
    "a page": (b"<html><b>Bad</b>\r\n gateway</html>", (), "Bad gateway", ""),
    "nothing": (b"", (), "", ""),
    "a list": (b"[1]", (), "[1]", ""),
    "nulls": (b'{"error":{"code":null,"message":null,"innerError":null}}', (), "", ""),
    "no text": (b"\xff\xfe\x00", (), "\N{REPLACEMENT CHARACTER}" * 2, ""),
}  # fmt: skip


@pytest.mark.parametrize("shape", BODIES)
def test_error_bodies_of_every_shape_are_read(shape: str):
    body, wanted_codes, message, request_id = BODIES[shape]

    error = parse_error(400, body)

    assert (error.codes, error.message, error.request_id) == (wanted_codes, message, request_id)


def test_a_refusal_is_told_with_its_code_as_microsoft_writes_it():
    body = b'{"error":{"code":"Forbidden","message":"m","innerError":{"code":"ErrorAccessDenied"}}}'

    error = explain(parse_error(403, body), "graph", "a@example.org", "list it")

    assert error.sentence == "graph refused to list it for a@example.org: 403 ErrorAccessDenied m"


def test_a_token_stands_in_no_error():
    body = b'{"error":{"code":"x","message":"bad token s3cret and eyJhbGciOiJub25lIn0.e30.x"}}'

    error = parse_error(401, body, secret="s3cret")

    assert error.message == "bad token *** and ***"


EXPLAINED = {
    (401, "InvalidAuthenticationToken"): (AuthError, "TOKEN-REFUSED"),
    (403, "ErrorAccessDenied"): (AuthError, "GRAPH-ACCESS-DENIED"),
    (403, "Authorization_RequestDenied"): (AuthError, "GRAPH-CONSENT-MISSING"),
    (403, "SomethingElse"): (AuthError, "AUTH-NOT-ALLOWED"),
    (404, "MailboxNotEnabledForRESTAPI"): (SettingsError, "GRAPH-MAILBOX-NOT-ENABLED"),
    (404, "ErrorInvalidUser"): (SettingsError, "GRAPH-NO-MAILBOX"),
    (404, "Request_ResourceNotFound"): (SettingsError, "GRAPH-NO-MAILBOX"),
    (400, "BadRequest"): (TransientError, "PROTOCOL"),
    (429, "ApplicationThrottled"): (TransientError, "SERVER-BUSY"),
    (503, "serviceNotAvailable"): (TransientError, "SERVER-BUSY"),
    (507, "quotaLimitReached"): (TransientError, "GRAPH-MAILBOX-FULL"),
    (403, "ErrorQuotaExceeded"): (TransientError, "GRAPH-MAILBOX-FULL"),
    (400, "ErrorSubmissionQuotaExceeded"): (TransientError, "GRAPH-SENDING-LIMIT"),
}


@pytest.mark.parametrize(("status", "code"), EXPLAINED)
def test_each_refusal_becomes_its_error(status: int, code: str):
    kind, name = EXPLAINED[status, code]

    error = explain(GraphError(status, (code.lower(),), "why"), "graph", "a@example.org", "list it")

    assert type(error) is kind
    assert error.code.name == name
    assert "a@example.org" in error.sentence
    assert "why" in error.sentence


@pytest.mark.parametrize(
    "url",
    ["http://graph.microsoft.com/v1.0", "ftp://x/v1.0", "https://", "graph", "https://u@x/v1.0",
     "https://x/v1.0?a=b", "https://x:99999/v1.0", "https://[/v1.0"],
)  # fmt: skip
def test_tokens_go_only_where_nobody_can_listen(url: str):
    with pytest.raises(ValidationError):
        GraphReceiverSettings(credential="c", base_url=url)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://graph.microsoft.us/v1.0/", "https://graph.microsoft.us/v1.0"),
        ("https://graph.microsoft.us", "https://graph.microsoft.us/v1.0"),
        ("http://127.0.0.1:8080/v1.0", "http://127.0.0.1:8080/v1.0"),
    ],
)
def test_a_base_url_is_put_in_form(given: str, used: str):
    assert GraphReceiverSettings(credential="c", base_url=given).base_url == used
