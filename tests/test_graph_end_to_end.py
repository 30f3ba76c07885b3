"""Mailboxes in Exchange Online, from a config file to questions and answers: through Microsoft
Graph, with a real credential, against stand-ins that make trouble as Microsoft does."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postroom.api.throttling import borrow, give_back
from postroom.store import raws
from postroom.store.database import rows
from postroom.store.models import Outbox, Raw, Receipt
from postroom_test_servers.desk import Desk, assert_each_once, mail, toml
from postroom_test_servers.graph import CUT, GraphServer
from postroom_test_servers.graph_contract import Witness
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.graph_wire import GraphRequest, refusal
from postroom_test_servers.microsoft_login import GRAPH, App, MicrosoftLogin
from postroom_test_servers.points import takes_all
from postroom_test_servers.tls import PrivateAuthority

SUPPORT = "support@example.org"
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's files go with the test, also those of the processes that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.fixture
def graph(authority: PrivateAuthority, microsoft_login: MicrosoftLogin) -> Iterator[GraphServer]:
    """Graph, which takes the tokens of the login."""
    witness = Witness()
    with GraphServer(
        authority.server_context("localhost", "127.0.0.1"),
        takes_token=lambda token: microsoft_login.accepts(token, GRAPH) is not None,
    ) as server:
        server.witness = witness
        yield server
    assert not witness.complaints, witness.complaints[:10]


@pytest.fixture
def mailbox(graph: GraphServer) -> GraphMailbox:
    """The mailbox of Support."""
    return graph.new_mailbox(SUPPORT)


@pytest.fixture
def app(microsoft_login: MicrosoftLogin) -> App:
    """Our application in Microsoft Entra."""
    return microsoft_login.new_app(roles={GRAPH: ["Mail.ReadWrite", "Mail.Send"]})


@pytest.fixture
def configure(
    desk: Desk,
    graph: GraphServer,
    app: App,
    microsoft_login: MicrosoftLogin,
    authority: PrivateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Configure mailboxes: ``configure(folders=["inbox"], disposition="seen")``."""
    monkeypatch.setenv("CONTOSO_SECRET", app.secret or "")

    def configure(*addresses: str, folders: list[str] | None = None, **values: Any) -> None:
        side = {
            "transport": "graph",
            "credential": "contoso",
            "base_url": graph.url,
            "ca_file": authority.ca_file,
        }
        tables = [
            toml(
                "[[credential]]",
                name="contoso",
                kind="microsoft",
                tenant_id=app.tenant,
                client_id=app.client_id,
                client_secret={"env": "CONTOSO_SECRET"},
                authority=microsoft_login.authority,
                ca_file=authority.ca_file,
            )
        ]
        for address in addresses or (SUPPORT,):
            tables += [
                toml("[[mailbox]]", **({"address": address, "start": "all"} | values)),
                toml("[mailbox.incoming]", **side, folders=folders or ["inbox"]),
                toml("[mailbox.outgoing]", **side),
            ]
        desk.apply(*tables)

    return configure


def start_run() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "postroom", "run", "--once"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_after(graph: GraphServer, requests: int) -> None:
    """Start a run and kill it once it has made so many requests."""
    target = graph.count + requests
    run = start_run()
    while graph.count < target and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()


def run_to_the_end() -> None:
    """Run until nothing is left to do."""
    for _ in range(12):
        run = start_run()
        output, _ = run.communicate(timeout=240)
        assert "Traceback" not in output, output
        if run.returncode == 0:
            return
        assert run.returncode == 75, output
    pytest.fail("the mailbox is never done")


class Trouble:
    """Every so often all delta tokens die, or all access tokens."""

    def __init__(self, mailbox: GraphMailbox, login: MicrosoftLogin) -> None:
        self._mailbox, self._login = mailbox, login
        self._lock = threading.Lock()
        self._listings = self._others = 0

    def __call__(self, request: GraphRequest) -> None:
        """Make trouble; the request itself goes on."""
        with self._lock:
            if "/delta" in request.path:
                self._listings += 1
                if self._listings % 9 == 5:
                    self._mailbox.expire_tokens()
            else:
                self._others += 1
                if self._others % 350 == 150:
                    self._login.revoke_tokens()


@pytest.mark.timeout(1200)
def test_a_full_mailbox_through_every_trouble(
    desk: Desk,
    graph: GraphServer,
    mailbox: GraphMailbox,
    microsoft_login: MicrosoftLogin,
    configure: Callable[..., None],
):
    """Throttling, dead tokens of both kinds, server errors, replays, a runner that is killed; 500
    messages here, 2,000 with scripts/faults."""
    in_all = 2000 if takes_all() else 500
    orders = mailbox.add_folder("Orders", mailbox.well_known["inbox"])
    for number in range(in_all * 3 // 4):
        mailbox.put(mail(f"inbox{number}"))
    for number in range(in_all // 4):
        mailbox.put(mail(f"order{number}"), folder=orders.id)
    mailbox.with_empty_pages = mailbox.with_replays = True
    graph.throttle_every, graph.retry_after = in_all * 9 // 20, "0.8"
    graph.on(".", Trouble(mailbox, microsoft_login), times=float("inf"))  # type: ignore[arg-type]
    graph.on(r"\$value", refusal(503, "serviceNotAvailable", retry_after="0.3"), times=2)
    graph.on(r"\$value", refusal(500, "ErrorInternalServerTransientError"), times=2)
    graph.on(r"GET .*\$value", CUT, times=2)
    configure(folders=["inbox", "Inbox/Orders"], disposition="seen")

    for requests in (30, in_all // 6, in_all // 3):
        kill_after(graph, requests)
    run_to_the_end()

    assert_each_once([message.mime() for message in mailbox.messages.values()])
    audit = desk.audit(SUPPORT)
    assert audit["on_server"] == audit["stored"] == in_all
    assert audit["unaccounted"] == audit["unsettled"] == 0
    assert all(message.is_read for message in mailbox.messages.values())
    assert graph.most_at_once[SUPPORT] <= 4
    assert graph.early == []
    assert graph.without_immutable_ids == []


def test_runners_that_come_in_a_pause_keep_it_and_share_the_mailbox(
    desk: Desk, graph: GraphServer, mailbox: GraphMailbox, configure: Callable[..., None]
):
    """Two runners are killed while the server wants nobody to ask; two more are started at once,
    and have mail to send as well."""
    configure(disposition="seen")
    for number in range(4):
        mailbox.put(mail(f"first{number}"))
    desk.run("run", "--once")
    for number in range(40):
        mailbox.put(mail(f"later{number}"))
    graph.latency, graph.throttle_every, graph.retry_after = 0.02, 40, "0.5"
    graph.on(r"\$value", refusal(429, "ApplicationThrottled", retry_after="5"))
    gate = borrow(f"{graph.url}|{SUPPORT}")
    runners = [start_run(), start_run()]
    _wait_for(
        lambda: gate.remaining() > 0
    )  # what is killed before it has heard of it knows nothing
    give_back(gate)
    for runner in runners:
        runner.kill()
        runner.communicate()
    for number in range(1, 5):
        desk.do("question", "answer", str(number), "--text", "Please bring it in.")

    for runner in [start_run(), start_run()]:
        output, _ = runner.communicate(timeout=240)
        assert "Traceback" not in output, output
    run_to_the_end()

    assert all(message.is_read for message in mailbox.messages.values())
    assert len(mailbox.delivered) == 4
    assert graph.early == []
    assert graph.most_at_once[SUPPORT] <= 4
    audit = desk.audit(SUPPORT)
    assert audit["on_server"] == audit["stored"] == 44


def test_answer_whose_response_never_came_is_sent_exactly_once(
    desk: Desk, graph: GraphServer, mailbox: GraphMailbox, configure: Callable[..., None]
):
    mailbox.put(mail("bike"))
    configure()
    desk.do("run", "--once")
    [question] = desk.questions()
    desk.do("question", "answer", str(question["number"]), "--text", "Bring it in.")
    graph.on(r"POST .*/send$", CUT, after=True)

    for _ in range(2):
        assert desk.run("run", "--once").exit_code == 0

    assert [to for _, to, _ in mailbox.delivered] == [("bike@customer.example",)]
    assert [row[0] for row in rows(Outbox.select(Outbox.state))] == ["sent"]
    drafts = mailbox.folders[mailbox.well_known["drafts"]]
    assert not drafts.present


def test_answer_that_the_killed_runner_may_have_sent_is_sent_exactly_once(
    desk: Desk, graph: GraphServer, mailbox: GraphMailbox, configure: Callable[..., None]
):
    mailbox.put(mail("bike"))
    configure()
    desk.do("run", "--once")
    [question] = desk.questions()
    desk.do("question", "answer", str(question["number"]), "--text", "Bring it in.")
    victims: list[subprocess.Popen[str]] = []

    def kill(_: GraphRequest) -> Any:
        victims[0].send_signal(signal.SIGKILL)
        return CUT

    graph.on(r"POST .*/send$", kill, after=True)
    victims.append(start_run())
    victims[0].communicate(timeout=60)

    assert desk.run("run", "--once").exit_code == 0

    assert len(mailbox.delivered) == 1
    assert [row[0] for row in rows(Outbox.select(Outbox.state))] == ["sent"]


def test_reply_to_a_message_id_that_exchange_made_joins_its_question(
    desk: Desk, mailbox: GraphMailbox, configure: Callable[..., None]
):
    mailbox.rewrites_message_ids = True
    mailbox.put(mail("bike"))
    configure()
    desk.do("run", "--once")
    [question] = desk.questions()
    desk.do("question", "answer", str(question["number"]), "--text", "Bring it in.")
    desk.do("run", "--once")
    [sent] = [m for m in mailbox.messages.values() if m.sent_at]
    assert "OUTLOOK.COM" in sent.internet_id

    mailbox.put(mail("reply", f"In-Reply-To: {sent.internet_id}", subject="Thanks"))
    desk.do("run", "--once")

    [question] = desk.questions()
    assert {one["kind"] for one in question["messages"]} == {"question", "answer", "reply"}


def test_many_mailboxes_share_one_token(
    desk: Desk,
    graph: GraphServer,
    microsoft_login: MicrosoftLogin,
    configure: Callable[..., None],
):
    addresses = [f"desk{number}@example.org" for number in range(40)]
    for address in addresses:
        graph.new_mailbox(address).put(mail(address.partition("@")[0]))
    configure(*addresses)

    assert desk.run("run", "--once").exit_code == 0

    assert Receipt.select().where(Receipt.outcome == "stored").count() == len(addresses)
    assert sum(microsoft_login.grants.values()) == 1


def test_new_mail_is_fetched_at_once_although_the_next_visit_is_far(
    desk: Desk, graph: GraphServer, mailbox: GraphMailbox, configure: Callable[..., None]
):
    mailbox.put(mail("first"))
    configure(poll_seconds=3600)
    runner = subprocess.Popen(
        [sys.executable, "-m", "postroom", "run"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        _wait_for(lambda: Receipt.select().count() == 1)
        _wait_for(lambda: any("$filter" in one for one in graph.requests))
        mailbox.put(mail("second"))
        _wait_for(lambda: Receipt.select().count() == 2)
    finally:
        runner.send_signal(signal.SIGTERM)
        output, _ = runner.communicate(timeout=60)

    assert runner.returncode == 0, output
    assert "Traceback" not in output
    assert graph.most_at_once[SUPPORT] <= 4


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_token_and_no_secret_is_shown_logged_or_stored(
    desk: Desk,
    graph: GraphServer,
    mailbox: GraphMailbox,
    microsoft_login: MicrosoftLogin,
    app: App,
    configure: Callable[..., None],
    database_url: str,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level("DEBUG")
    mailbox.put(mail("bike"))
    mailbox.permissions = {"read"}
    configure(disposition="seen")

    desk.run("run", "--once")
    for command in ("status", "doctor"):
        desk.run(command, "--json")
    desk.run("mailbox", "errors", SUPPORT, "--json")
    desk.run("mailbox", "show", SUPPORT, "--json")

    said = "\n".join([*desk.outputs, caplog.text])
    kept = [*_stored_bytes(database_url)]
    for secret in [*microsoft_login.issued, app.secret or ""]:
        assert secret not in said
        assert all(secret.encode() not in piece for piece in kept)
    assert microsoft_login.issued


def _stored_bytes(url: str) -> Iterator[bytes]:
    path = Path(url.removeprefix("sqlite:///"))
    if path.exists():
        yield from (one.read_bytes() for one in path.parent.glob(f"{path.name}*"))
    yield from (raws.load(row[0]) for row in rows(Raw.select(Raw.id)))


REFUSALS = {
    "access policy": ("ErrorAccessDenied", 403, "GRAPH-ACCESS-DENIED"),
    "no consent": ("Authorization_RequestDenied", 403, "GRAPH-CONSENT-MISSING"),
    "on premises": ("MailboxNotEnabledForRESTAPI", 404, "GRAPH-MAILBOX-NOT-ENABLED"),
    "wrong name": ("ErrorInvalidUser", 404, "GRAPH-NO-MAILBOX"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_each_refusal_has_its_own_sentence(
    desk: Desk,
    graph: GraphServer,
    mailbox: GraphMailbox,
    configure: Callable[..., None],
    case: str,
):
    code, status, ours = REFUSALS[case]
    graph.on("/users/", refusal(status, code), times=float("inf"))
    configure()

    assert desk.run("run", "--once").exit_code == 3

    [error] = desk.json("mailbox", "errors", SUPPORT)
    assert error["code"] == ours
    assert SUPPORT in error["sentence"]
    assert error["next_step"]
