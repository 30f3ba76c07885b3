"""Out of Exchange Web Services and IMAP into Graph: Exchange serves the same mail in other bytes by
each protocol, and none of it is imported twice."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from postroom.mail.identity import weak_key
from postroom.store.models import Message, Outbox, Question
from postroom_test_servers.desk import PASSWORD, PASSWORD_VARIABLE, Desk, incoming, mail, toml
from postroom_test_servers.dovecot import Account
from postroom_test_servers.exchange import ExchangeServer, running
from postroom_test_servers.exchange_mime import rebuild
from postroom_test_servers.graph import GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.microsoft_login import GRAPH, MicrosoftLogin
from postroom_test_servers.tls import PrivateAuthority

INFO = "info@example.org"
SECRET_VARIABLE = "POSTROOM_TEST_SECRET"
NEW = 7


@pytest.fixture
def exchange(authority: PrivateAuthority) -> Iterator[ExchangeServer]:
    """Exchange, held to Microsoft's schemas."""
    yield from running(tls=authority.server_context("localhost", "127.0.0.1"))


@pytest.fixture
def letters(corpus: ModuleType) -> list[bytes]:
    """Mail of all kinds whose header Exchange keeps, in the sense that counts."""
    names = sorted(corpus.MESSAGES.keys() - corpus.LARGE)[::6]
    raws = {raw for name in names if 0 < len(raw := corpus.raw_of(name)) < 50_000}
    return sorted(raw for raw in raws if weak_key(raw) == weak_key(rebuild(raw)))


@pytest.fixture
def online(
    desk: Desk, graph_server: GraphServer, microsoft_login: MicrosoftLogin,
    authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch,
) -> GraphMailbox:  # fmt: skip
    """The mailbox in Exchange Online, and a credential for it."""
    app = microsoft_login.new_app(roles={GRAPH: ["Mail.ReadWrite", "Mail.Send"]})
    graph_server._takes_token = lambda token: microsoft_login.accepts(token, GRAPH) is not None
    monkeypatch.setenv(SECRET_VARIABLE, app.secret or "")
    desk.apply(
        toml(
            "[[credential]]",
            name="contoso",
            kind="microsoft",
            tenant_id=app.tenant,
            client_id=app.client_id,
            client_secret={"env": SECRET_VARIABLE},
            authority=microsoft_login.authority,
            ca_file=authority.ca_file,
        )
    )
    return graph_server.new_mailbox(INFO)


@pytest.fixture
def to_graph(graph_server: GraphServer, authority: PrivateAuthority) -> list[str]:
    """The command."""
    return [
        *("mailbox", "migrate", INFO, "--to", "graph", "--credential", "contoso"),
        *("--base-url", graph_server.url, "--ca-file", str(authority.ca_file)),
    ]


def by_ews(exchange: ExchangeServer, authority: PrivateAuthority) -> str:
    return toml(
        "[mailbox.incoming]",
        transport="ews",
        url=exchange.url,
        username="info",
        password={"env": PASSWORD_VARIABLE},
        ca_file=authority.ca_file,
    )


def _retrieve(desk: Desk, side: str, count: int) -> None:
    box = toml("[[mailbox]]", address=INFO, start="all", acknowledge=True)
    desk.apply(box, side)
    assert desk.run("run", "--once").exit_code in (0, 3)
    assert desk.audit(INFO)["on_server"] == count


def _move(desk: Desk, command: list[str], known: int) -> None:
    """Migrate, and see that nothing but the new mail arrives."""
    messages, questions = Message.select().count(), Question.select().count()

    [plan] = desk.json(*command, "--dry-run")
    [done] = desk.json(*command)
    assert desk.run("run", "--once").exit_code in (0, 3)

    assert (plan["recognised"], plan["new"]) == (known, NEW)
    assert (done["recognised"], done["new"], done["switched"]) == (known, NEW, True)
    assert Message.select().count() == messages + NEW
    assert Question.select().count() == questions + NEW
    assert Outbox.select().count() == 0
    assert desk.audit(INFO)["stored"] == NEW


def test_from_ews_to_graph(
    desk: Desk, exchange: ExchangeServer, online: GraphMailbox, authority: PrivateAuthority,
    letters: list[bytes], to_graph: list[str],
) -> None:  # fmt: skip
    box = exchange.add_mailbox(INFO, user="info", password=PASSWORD)
    for raw in letters:
        box.deliver(raw)
    _retrieve(desk, by_ews(exchange, authority), len(letters))
    for raw in [*reversed(letters), *[mail(f"new{i}") for i in range(NEW)]]:
        online.put(raw)

    _move(desk, to_graph, len(letters))

    desk.do("mailbox", "migrate", INFO, "--back")
    assert desk.run("run", "--once").exit_code in (0, 3)
    assert desk.audit(INFO)["duplicate"] == len(letters)


def test_from_imap_to_graph(
    desk: Desk, account: Account, online: GraphMailbox, letters: list[bytes], to_graph: list[str],
) -> None:  # fmt: skip
    account.append(*letters)
    served = [message.raw for message in account.messages()]
    _retrieve(
        desk, incoming("imap", account.server.imap, account.name, security="none"), len(served)
    )
    for raw in [*served, *[mail(f"new{i}") for i in range(NEW)]]:
        online.put(raw)

    _move(desk, to_graph, len(served))
