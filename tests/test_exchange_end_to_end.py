"""Mail in an Exchange mailbox becomes questions and answers, once each: while the server is busy,
forgets how far it was read, fails, and while runs are killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from postroom.store.database import rows
from postroom.store.models import Receipt
from postroom_test_servers.crash_cases import (
    Check,
    Servers,
    _assert_sent_once,
    _database,
    _mailbox,
    crash_servers,
)
from postroom_test_servers.desk import (
    PASSWORD,
    PASSWORD_VARIABLE,
    Desk,
    assert_each_once,
    mail,
    toml,
)
from postroom_test_servers.exchange import ExchangeServer, running
from postroom_test_servers.exchange_store import Mailbox
from postroom_test_servers.microsoft_login import OUTLOOK, MicrosoftLogin
from postroom_test_servers.tls import PrivateAuthority

__all__ = ["crash_servers"]

INFO = "info@example.org"
SEGMENT = toml("[[segment]]", name="support")
POINTS = 2


@pytest.fixture
def exchange(authority: PrivateAuthority) -> Iterator[ExchangeServer]:
    yield from running(tls=authority.server_context("localhost", "127.0.0.1"))


@pytest.fixture
def box(exchange: ExchangeServer) -> Mailbox:
    return exchange.add_mailbox(INFO, user="info", password=PASSWORD)


def sides(exchange: ExchangeServer, authority: PrivateAuthority, auth: str) -> str:
    values = {
        "transport": "ews", "url": exchange.url, "auth": auth, "username": "info",
        "password": {"env": PASSWORD_VARIABLE}, "ca_file": authority.ca_file,
        "timeout_seconds": 20,
    }  # fmt: skip
    return toml("[mailbox.incoming]", **values) + toml("[mailbox.outgoing]", **values)


def mailbox(**values: Any) -> str:
    return toml("[[mailbox]]", address=INFO, segment="support", start="all", **values)


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
def test_mail_comes_in_and_answers_go_out(
    desk: Desk, exchange: ExchangeServer, box: Mailbox, authority: PrivateAuthority, auth: str
) -> None:
    items = [box.deliver(mail(f"in{i}")) for i in range(3)]
    desk.apply(SEGMENT, mailbox(disposition={"move": "Done"}), sides(exchange, authority, auth))

    desk.do("run", "--once")
    desk.do("question", "answer", "1", "--as", "eve", "--text", "It is mended.")
    desk.do("run", "--once")

    assert_each_once([item.mime for item in items])
    assert len(list(box.items_in(box.folder("Done", make=False)))) == 3
    [sent] = exchange.sent
    assert sent.recipients == ("in0@customer.example",)
    assert desk.audit(INFO)["on_server"] == 0
    assert PASSWORD not in "".join(desk.outputs)


def test_credential_opens_the_mailbox_and_the_way_out_is_shown(
    desk: Desk, exchange: ExchangeServer, box: Mailbox, authority: PrivateAuthority,
    microsoft_login: MicrosoftLogin, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    app = microsoft_login.new_app(roles={OUTLOOK: ["full_access_as_app"]})
    exchange.accept_tokens(
        lambda token: "app:postroom" if microsoft_login.accepts(token, OUTLOOK) else None
    )
    monkeypatch.setenv("CONTOSO_SECRET", app.secret or "")
    credential = toml(
        "[[credential]]", name="contoso", kind="microsoft", tenant_id=app.tenant,
        client_id=app.client_id, client_secret={"env": "CONTOSO_SECRET"},
        authority=microsoft_login.authority, ca_file=authority.ca_file,
    )  # fmt: skip
    side = {
        "transport": "ews", "url": exchange.url, "credential": "contoso",
        "ca_file": authority.ca_file,
    }  # fmt: skip
    item = box.deliver(mail("oauth"))
    desk.apply(SEGMENT, credential, mailbox(), toml("[mailbox.incoming]", **side))

    desk.do("run", "--once")
    assert_each_once([item.mime])

    exchange.fail(status=403, times=None)
    assert desk.run("run", "--once").exit_code == 3
    [error] = desk.json("mailbox", "errors", INFO)
    assert error["code"] == "EWS-SWITCHED-OFF"
    assert f"postroom mailbox migrate {INFO} --to graph" in error["next_step"]


def test_busy_and_forgetful_server_loses_and_doubles_nothing(
    desk: Desk, exchange: ExchangeServer, box: Mailbox, authority: PrivateAuthority
) -> None:
    items = [box.deliver(mail(f"a{i}")) for i in range(130)]
    desk.apply(SEGMENT, mailbox(), sides(exchange, authority, "basic"))
    exchange.fail("SyncFolderItems", back_off=10)
    exchange.fail("GetItem", back_off=10, skip=1)
    exchange.fail("GetItem", inner="ErrorServerBusy", skip=3)
    exchange.fail("GetItem", status=503, skip=5)
    exchange.fail("GetItem", cut="before", skip=7)

    codes = [desk.run("run", "--once").exit_code for _ in range(4)]
    items += [box.deliver(mail(f"b{i}")) for i in range(5)]
    exchange.fail("SyncFolderItems", code="ErrorInvalidSyncStateData")
    codes.append(desk.run("run", "--once").exit_code)

    assert set(codes) <= {0, 75}, codes
    assert codes[-1] == 0
    assert_each_once([item.mime for item in items])
    assert Counter(outcome for (outcome,) in rows(Receipt.select(Receipt.outcome))) == {
        "stored": 135
    }


def test_restored_mailbox_is_recognised(
    desk: Desk, exchange: ExchangeServer, box: Mailbox, authority: PrivateAuthority
) -> None:
    """All ids are others, and no state is known."""
    items = [box.deliver(mail(f"r{i}")) for i in range(5)]
    desk.apply(SEGMENT, mailbox(), sides(exchange, authority, "basic"))
    desk.do("run", "--once")

    box.reset_ids()
    items.append(box.deliver(mail("new")))
    desk.do("run", "--once")

    assert_each_once([item.mime for item in items])


# ---------------------------------------------------------------------- killed


@contextmanager
def case(
    servers: Servers, kind: str, exchange: ExchangeServer, authority: PrivateAuthority
) -> Iterator[tuple[str, Check]]:
    box = exchange.add_mailbox(INFO, user="info", password=PASSWORD)
    exchange.operations.sent.clear()
    now = datetime.now(UTC)
    items = [box.deliver(mail(f"k{i}"), now + timedelta(seconds=i)) for i in range(6)]
    served = [item.mime for item in items]
    side = {
        "url": exchange.url, "username": "info", "password": PASSWORD, "auth": "basic",
        "ca_file": str(authority.ca_file), "timeout_seconds": 20,
    }  # fmt: skip
    with _database(servers, kind) as url:
        _mailbox("move", in_=("ews", side), out=("ews", side))

        def check() -> None:
            assert_each_once(served)
            assert not list(box.items_in(box.well_known("inbox")))
            moved = Counter(item.mime for item in box.items_in(box.folder("Done")))
            assert moved == Counter(served)
            _assert_sent_once(cast(Any, SimpleNamespace(received=exchange.sent)), 0)

        yield url, check


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_run_loses_and_doubles_nothing(
    crash_servers: Servers, exchange: ExchangeServer, authority: PrivateAuthority, kind: str
) -> None:
    with case(crash_servers, kind, exchange, authority) as (url, check):
        run = crash_servers.harness.run(url, count=True)
        assert run.exit_code == 0
        check()

    for step in range(run.steps // 4, run.steps, run.steps // POINTS):
        with case(crash_servers, kind, exchange, authority) as (url, check):
            killed = crash_servers.harness.run(url, die_at=step).exit_code == -9
            assert killed or step > run.steps * 0.8, f"step {step} of {run.steps}"
            for _ in range(2):
                assert crash_servers.harness.run(url).exit_code in (0, 3)
            check()
