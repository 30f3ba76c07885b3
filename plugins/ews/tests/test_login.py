"""Who logs in, as whom the mailbox is opened, what goes wrong with it, and what is not shared."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from postroom.api import AuthError, Limits, SettingsError, TransientError, TransportError, codes
from postroom_ews import autodiscover, errors, retirement
from postroom_ews.plugin import EwsTransport
from postroom_ews.receiver import EwsReceiver
from postroom_test_servers.context import LoopbackContext
from postroom_test_servers.exchange import ExchangeServer
from postroom_test_servers.exchange_store import Mailbox
from postroom_test_servers.tls import PrivateAuthority

OpenReceiver = Callable[..., EwsReceiver]
RAW = b"From: a@customer.example\r\nTo: support@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


def refs(receiver: EwsReceiver) -> list[str]:
    return [one.ref for one in receiver.list_refs()]


def raised(receiver: EwsReceiver) -> TransportError:
    with pytest.raises(TransportError) as caught:
        refs(receiver)
    return caught.value


# ---------------------------------------------------------------------- as whom


def test_shared_mailbox_is_opened_by_a_delegate(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    shared = exchange.add_mailbox("sales@example.org")
    item = shared.deliver(RAW)
    receiver = open_receiver(mailbox="sales@example.org")
    assert raised(receiver).code is codes.AUTH_NOT_ALLOWED

    exchange.delegates["support"] = {"sales@example.org"}
    assert refs(receiver) == [item.id]


def test_mailbox_is_opened_by_impersonation(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    item = exchange.add_mailbox("sales@example.org").deliver(RAW)
    receiver = open_receiver(mailbox="sales@example.org", access="impersonation")
    assert raised(receiver).code is errors.EWS_IMPERSONATION

    exchange.impersonators.add("support")
    assert refs(receiver) == [item.id]
    assert exchange.headers_seen[-1]["X-AnchorMailbox"] == "sales@example.org"


def test_unknown_mailbox_is_told(box: Mailbox, open_receiver: OpenReceiver) -> None:
    assert raised(open_receiver(mailbox="nobody@example.org")).code is errors.EWS_MAILBOX


def test_method_that_the_server_lacks_is_told(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    exchange.login.methods = ("ntlm",)

    error = raised(open_receiver(auth="basic"))

    assert isinstance(error, AuthError)
    assert error.code is codes.AUTH_UNSUPPORTED
    assert "ntlm" in error.sentence


def test_password_is_tried_once(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    """Trying again locks accounts."""
    exchange.users["support"] = "another"
    before = exchange.connections

    assert raised(open_receiver(auth="basic")).code is codes.AUTH_REFUSED
    assert exchange.connections == before + 1


def test_endpoint_is_found_by_autodiscover(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    item = box.deliver(RAW)
    asked: list[str] = []

    def candidates(address: str) -> list[str]:
        asked.append(address)
        nobody = "https://localhost:1/autodiscover/autodiscover.xml"
        return [
            nobody,
            exchange.url.replace("/EWS/Exchange.asmx", "/Autodiscover/Autodiscover.xml"),
        ]

    monkeypatch.setattr(autodiscover, "candidates", candidates)

    assert refs(open_receiver(url=None)) == [item.id]
    assert asked == ["support@example.org"]

    monkeypatch.setattr(autodiscover, "candidates", lambda _: ["https://localhost:1/"])
    assert raised(open_receiver(url=None)).code is errors.EWS_UNKNOWN_URL


def test_autodiscover_asks_over_https_only() -> None:
    urls = autodiscover.candidates("info@example.org")

    assert urls[0] == "https://autodiscover.example.org/autodiscover/autodiscover.xml"
    assert all(url.startswith("https://") for url in urls)


# ---------------------------------------------------------------------- the end of EWS


def test_exchange_online_that_refuses_ews_is_told_by_name(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver, context: LoopbackContext
) -> None:
    exchange.tokens["token"] = "app:postroom"
    context.tokens["ews"] = "token"
    context.time = datetime(2026, 11, 25, 12, tzinfo=UTC)
    settings = {"username": None, "password": None, "credential": "contoso"}
    closing = (("Connection", "close"),)
    for headers in ((), closing):
        exchange.fail(status=403, headers=headers)
        error = raised(open_receiver(**settings))

        assert isinstance(error, SettingsError)
        assert error.code is errors.EWS_SWITCHED_OFF
        assert "October 2026" in error.sentence
        assert "1 April 2027: 127 days are left" in error.sentence
        assert "postroom mailbox migrate support@example.org --to graph" in error.next_step


def test_other_server_that_forbids_ews_is_told_too(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    exchange.fail(status=403)

    error = raised(open_receiver())

    assert error.code is errors.EWS_FORBIDDEN
    assert "Get-CASMailbox" in error.next_step
    assert "migrate support@example.org --to graph" in error.next_step


@pytest.mark.parametrize(
    ("day", "left", "said"),
    [((2026, 11, 25), 127, "127 days are left"), ((2027, 3, 31), 1, "1 day is left"),
     ((2027, 4, 1), 0, "has switched EWS off"), ((2028, 1, 1), 0, "has switched EWS off")],
)  # fmt: skip
def test_days_that_are_left_are_counted(day: tuple[int, int, int], left: int, said: str) -> None:
    now = datetime(*day, 12, tzinfo=UTC)

    assert retirement.days_left(now) == left
    assert said in retirement.notice(now)


def test_check_warns_of_the_end_while_all_is_well(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver, context: LoopbackContext
) -> None:
    exchange.tokens["token"] = "app:postroom"
    context.tokens["ews"] = "token"
    settings = {"username": None, "password": None, "credential": "contoso"}

    steps = list(open_receiver(**settings).check())

    assert [step.outcome for step in steps] == ["ok", "ok", "ok", "ok", "warn"]
    assert "--to graph" in steps[-1].next_step
    assert [step.outcome for step in open_receiver().check()] == ["ok"] * 4


def test_password_for_exchange_online_is_explained() -> None:
    explainer = errors.Explainer(
        "outlook.office365.com", 443, mailbox="info@example.org", address="info@example.org",
        username="info", method="basic",
    )  # fmt: skip
    refused = errors.HttpRefused.__new__(errors.HttpRefused)
    refused.status, refused.headers, refused.content = 401, {}, b""  # type: ignore[assignment]

    error = explainer.explain(refused, "open the mailbox", datetime(2026, 11, 25, tzinfo=UTC))

    assert isinstance(error, AuthError)
    assert "no passwords for EWS since October 2022" in error.sentence


@pytest.mark.parametrize(
    ("fault", "code"),
    [({"status": 404}, codes.SETTINGS_INVALID),
     ({"status": 302, "headers": (("Location", "https://mail.example.org/owa/"),)},
      codes.SETTINGS_INVALID),
     ({"status": 200, "body": b"<html>Welcome</html>"}, codes.PROTOCOL)],
)  # fmt: skip
def test_what_is_no_ews_is_told(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver, fault: dict[str, Any],
    code: Any,
) -> None:  # fmt: skip
    exchange.fail(**fault)

    assert raised(open_receiver()).code is code


# ---------------------------------------------------------------------- nothing is shared


def test_tls_settings_of_one_mailbox_are_no_others(
    box: Mailbox, open_receiver: OpenReceiver, monkeypatch: pytest.MonkeyPatch,
    authority: PrivateAuthority,
) -> None:  # fmt: skip
    """Also against the environment, which requests would let win."""
    item = box.deliver(RAW)
    trusting, distrusting = open_receiver(), open_receiver(ca_file=None)
    assert refs(trusting) == [item.id]
    assert raised(distrusting).code is codes.TLS_UNTRUSTED
    assert refs(open_receiver(ca_file=None, verify_tls=False)) == [item.id]

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
    assert raised(open_receiver(ca_file=None)).code is codes.TLS_UNTRUSTED
    assert refs(trusting) == [item.id]


def test_nothing_is_set_on_the_library(box: Mailbox, open_receiver: OpenReceiver) -> None:
    from exchangelib.protocol import BaseProtocol, CachingProtocol

    names = ("HTTP_ADAPTER_CLS", "USERAGENT", "TIMEOUT", "RETRY_WAIT", "SESSION_POOLSIZE")
    before = {name: getattr(BaseProtocol, name) for name in names}

    refs(open_receiver())

    assert {name: getattr(BaseProtocol, name) for name in names} == before
    assert not CachingProtocol._protocol_cache


def test_password_stands_in_no_log(
    box: Mailbox, open_receiver: OpenReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    box.deliver(RAW)
    with caplog.at_level(logging.DEBUG):
        receiver = open_receiver()
        list(receiver.fetch(None, limits=Limits(), wanted=lambda p: [i.ref for i in p]))

    assert "Kanarienvogel" not in caplog.text
    assert "Authorization" not in caplog.text


def test_connections_with_a_server_are_bounded(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from postroom_ews import gate

    monkeypatch.setattr(gate, "WORKING", 2)
    monkeypatch.setattr(gate, "_gates", {})
    receivers = [open_receiver(), open_receiver(), open_receiver(timeout_seconds=0.3)]
    refs(receivers[0])
    refs(receivers[1])

    error = raised(receivers[2])
    assert isinstance(error, TransientError)
    assert error.code is codes.SERVER_BUSY
    receivers[0].close()
    refs(open_receiver())
    assert exchange.most_open <= 3  # the server may learn late that one was closed


def test_settings_without_an_account_are_refused() -> None:
    from pydantic import ValidationError

    model = EwsTransport().receiver_settings()
    for values in (
        {}, {"username": "a"}, {"auth": "oauth"}, {"auth": "ntlm", "credential": "x"},
        {"username": "a", "password": "b", "mailbox": "a"},
        {"username": "a", "password": "b", "url": "http://mail.example.org/EWS/Exchange.asmx"},
        {"username": "a", "password": "b", "folders": ["inbox", "Inbox"]},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            model.model_validate(values)


def test_library_is_loaded_by_sessions_only() -> None:
    code = (
        "import sys, postroom.cli, postroom.runner.runner, postroom.plugins\n"
        "from postroom.plugins import Plugins\n"
        "print([m for m in ('exchangelib', 'requests', 'lxml') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
