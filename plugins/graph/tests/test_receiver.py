"""Retrieving: delta queries, folders, what Microsoft's side may do in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from postroom.api import (
    AuthError,
    Checkpoint,
    Disposition,
    Fetched,
    Limits,
    Listed,
    SettingsError,
    Settled,
    TransientError,
    Unavailable,
    codes,
)
from postroom_graph import cursor as cursor_module
from postroom_graph.receiver import GraphReceiver
from postroom_test_servers.graph import CUT, GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.graph_wire import GraphAnswer, GraphRequest, refusal

OpenReceiver = Callable[..., GraphReceiver]
ALWAYS = float("inf")


def mail(name: str) -> bytes:
    return (
        f"From: Ann <ann@customer.example>\r\nTo: support@example.org\r\nSubject: {name}\r\n"
        f"Message-ID: <{name}@customer.example>\r\n\r\nHow much is {name}?\r\n"
    ).encode()


def put(mailbox: GraphMailbox, count: int, folder: str = "inbox", name: str = "m") -> list[str]:
    return [
        mailbox.put(mail(f"{name}{number}"), folder=folder).immutable_id for number in range(count)
    ]


class Run:
    """What one fetch brought."""

    def __init__(
        self, receiver: GraphReceiver, cursor: str | None = None, known: Any = (), **limits: Any
    ) -> None:
        self.known = set(known)
        self.fetched: list[Fetched] = []
        self.unavailable: list[Unavailable] = []
        self.cursors: list[str] = []
        self.error: Exception | None = None
        try:
            for one in receiver.fetch(cursor, limits=Limits(**limits), wanted=self._wanted):
                if isinstance(one, Fetched):
                    self.fetched.append(one)
                elif isinstance(one, Unavailable):
                    self.unavailable.append(one)
                elif isinstance(one, Checkpoint):
                    self.cursors.append(one.cursor)
        except (TransientError, SettingsError, AuthError) as error:
            self.error = error

    def _wanted(self, page: Any) -> list[str]:
        return [item.ref for item in page if item.ref not in self.known]

    @property
    def refs(self) -> list[str]:
        return [one.ref for one in self.fetched]


def test_a_visit_that_finds_nothing_costs_one_request(
    open_receiver: OpenReceiver, graph_server: GraphServer, mailbox: GraphMailbox
):
    put(mailbox, 3)
    cursor = Run(open_receiver()).cursors[-1]
    before = graph_server.count

    run = Run(open_receiver(), cursor)

    assert graph_server.count - before == 1
    assert not run.fetched
    assert run.cursors


def test_only_what_came_since_is_listed(open_receiver: OpenReceiver, mailbox: GraphMailbox):
    put(mailbox, 3)
    cursor = Run(open_receiver()).cursors[-1]
    new = put(mailbox, 2, name="new")

    assert Run(open_receiver(), cursor).refs == new


def test_more_folders_than_the_cursor_holds_are_retrieved_all_the_same(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cursor_module, "MOST_BYTES", 1000)
    folders = [mailbox.add_folder(f"Orders {n}", mailbox.well_known["inbox"]) for n in range(12)]
    names = [f"Inbox/{one.name}" for one in folders]
    known = [ref for one in folders for ref in put(mailbox, 1, one.id)]
    first = Run(open_receiver(folders=names))
    assert first.refs == known
    cursor = first.cursors[-1]
    assert 1 < len(cursor_module.parse_cursor(cursor, "")) < 12
    new = [ref for one in folders for ref in put(mailbox, 1, one.id, "new")]

    again = Run(open_receiver(folders=names), cursor, known)

    assert again.refs == new
    assert max(len(one) for one in first.cursors + again.cursors) <= 1000


def test_messages_carry_date_and_conversation(open_receiver: OpenReceiver, mailbox: GraphMailbox):
    put(mailbox, 1)

    [found] = Run(open_receiver()).fetched

    [message] = mailbox.messages.values()
    assert found.received_at == message.received_at
    assert found.conversation
    assert found.raw == message.mime()


@pytest.mark.parametrize("code", ["SyncStateNotFound", "resyncRequired", "syncStateInvalid", "x"])
def test_a_dead_token_means_a_full_round_without_downloading_twice(
    open_receiver: OpenReceiver, graph_server: GraphServer, mailbox: GraphMailbox, code: str
):
    known = put(mailbox, 4)
    cursor = Run(open_receiver()).cursors[-1]
    new = put(mailbox, 1, name="new")
    graph_server.on("deltatoken|delta", refusal(410, code))

    run = Run(open_receiver(), cursor, known)

    assert run.refs == new
    assert run.error is None


def test_a_token_that_dies_in_the_middle_of_a_round_loses_and_doubles_nothing(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer, monkeypatch: Any
):
    monkeypatch.setattr("postroom_graph.listing.PAGE", 3)
    refs = put(mailbox, 10)
    pages = iter([False, True, False, False, True])

    def die(request: GraphRequest) -> GraphAnswer | None:
        if next(pages, False):
            mailbox.expire_tokens()
        return None

    graph_server.on("/delta", die, times=ALWAYS)

    run = Run(open_receiver())

    assert run.error is None
    assert sorted(run.refs) == sorted(refs)


def test_a_server_whose_tokens_never_live_is_given_up(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    put(mailbox, 1)
    graph_server.on("/delta", refusal(410, "SyncStateNotFound"), times=ALWAYS)

    assert isinstance(Run(open_receiver()).error, TransientError)


def test_empty_pages_and_replays_are_read_through(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, monkeypatch: Any
):
    monkeypatch.setattr("postroom_graph.listing.PAGE", 2)
    mailbox.with_empty_pages = mailbox.with_replays = True
    refs = put(mailbox, 9)

    receiver = open_receiver()

    assert Run(receiver).refs == refs
    assert [item.ref for item in receiver.list_refs()] == refs


def test_a_kill_in_the_middle_of_the_first_round_goes_on_from_the_last_page(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer, monkeypatch: Any
):
    monkeypatch.setattr("postroom_graph.listing.PAGE", 4)
    refs = put(mailbox, 12)
    first = Run(open_receiver())
    before = graph_server.count

    run = Run(open_receiver(), first.cursors[0])

    assert run.refs == refs[4:]
    assert graph_server.count - before == 2 + 8


def test_what_was_said_to_be_removed_and_is_back_is_the_same_message(
    open_receiver: OpenReceiver, mailbox: GraphMailbox
):
    [ref] = put(mailbox, 1)
    cursor = Run(open_receiver()).cursors[-1]
    message = mailbox.messages[ref]
    mailbox.move(message, mailbox.well_known["junkemail"])
    gone = Run(open_receiver(), cursor, [ref])
    mailbox.move(message, mailbox.well_known["inbox"])

    back = Run(open_receiver(), gone.cursors[-1], [ref])

    assert not gone.fetched
    assert not back.fetched
    assert [item.ref for item in open_receiver().list_refs()] == [ref]


def test_a_message_that_vanishes_before_its_download_is_not_yielded(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    refs = put(mailbox, 3)

    def vanish(request: GraphRequest) -> None:
        mailbox.remove(mailbox.messages[refs[1]])

    graph_server.on("/delta", vanish, after=True)  # type: ignore[arg-type]

    run = Run(open_receiver())

    assert run.refs == [refs[0], refs[2]]
    assert not run.unavailable


def test_a_404_for_a_message_that_is_there_makes_it_unreadable_and_not_gone(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    refs = put(mailbox, 3)
    graph_server.on(r"\$value", refusal(404, "ErrorItemNotFound"))

    run = Run(open_receiver())

    assert len(run.fetched) == 2
    assert len(run.unavailable) == 1
    assert {*run.refs, run.unavailable[0].ref} == set(refs)


def test_mail_moved_away_while_it_is_listed_is_still_had_under_its_id(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    [ref] = put(mailbox, 1)

    def move(request: GraphRequest) -> None:
        mailbox.move(mailbox.messages[ref], mailbox.well_known["junkemail"])

    graph_server.on("/delta", move, after=True)  # type: ignore[arg-type]

    assert Run(open_receiver()).refs == [ref]


@pytest.mark.parametrize("name", ["Inbox/Orders", "inbox/orders", "Sales/EMEA", "Team/North/A"])
def test_folders_are_found_by_path(open_receiver: OpenReceiver, mailbox: GraphMailbox, name: str):
    inbox = mailbox.well_known["inbox"]
    team = mailbox.add_folder("Team")
    places = {
        "inbox/orders": mailbox.add_folder("Orders", inbox).id,
        "sales/emea": mailbox.add_folder("Sales/EMEA").id,
        "team/north/a": mailbox.add_folder("North/A", team.id).id,
    }
    refs = put(mailbox, 2, folder=places[name.lower()])
    put(mailbox, 1)

    assert Run(open_receiver(folders=[name])).refs == refs


def test_folders_beyond_the_first_page_are_found(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, monkeypatch: Any
):
    monkeypatch.setattr("postroom_graph.folders._PAGE", "3")
    for number in range(10):
        mailbox.add_folder(f"Folder {number}")
    last = mailbox.add_folder("Zoo")
    refs = put(mailbox, 1, folder=last.id)

    assert Run(open_receiver(folders=["zoo"])).refs == refs


def test_a_missing_folder_is_told_after_the_others_were_retrieved(
    open_receiver: OpenReceiver, mailbox: GraphMailbox
):
    refs = put(mailbox, 2)

    run = Run(open_receiver(folders=["Nowhere", "archive", "inbox"]))

    assert run.refs == refs
    assert isinstance(run.error, SettingsError)
    assert run.error.code is codes.FOLDER_MISSING
    assert run.error.problems


def test_a_folder_that_was_replaced_is_listed_from_the_start(
    open_receiver: OpenReceiver, mailbox: GraphMailbox
):
    old = mailbox.add_folder("Orders")
    put(mailbox, 1, folder=old.id)
    cursor = Run(open_receiver(folders=["Orders"])).cursors[-1]
    old.name = "Old orders"
    refs = put(mailbox, 2, folder=mailbox.add_folder("Orders").id, name="new")

    assert Run(open_receiver(folders=["Orders"]), cursor).refs == refs


@pytest.mark.parametrize("cursor", ["", "x", "{}", '{"v":1,"links":[]}', '{"v":2}', "[1]"])
def test_an_unusable_cursor_means_a_listing_from_the_start(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, cursor: str
):
    refs = put(mailbox, 2)

    assert Run(open_receiver(), cursor).refs == refs


def test_a_cursor_that_leads_to_another_server_is_not_followed(
    open_receiver: OpenReceiver, mailbox: GraphMailbox
):
    refs = put(mailbox, 1)
    evil = json.dumps({"v": 1, "links": {"inbox": ["inbox", "https://evil.example/delta"]}})

    assert Run(open_receiver(), evil).refs == refs


@pytest.mark.parametrize(
    "link",
    ["https://evil.example/v1.0/x", "http://localhost/x", "//evil.example/x", 7, "https://["],
)
def test_a_link_to_another_server_is_not_followed(
    open_receiver: OpenReceiver, graph_server: GraphServer, link: Any
):
    page = GraphAnswer(200, {"value": [], "@odata.nextLink": link})
    graph_server.witness = None
    graph_server.on("/delta", page)

    error = Run(open_receiver()).error

    assert isinstance(error, TransientError)
    assert error.code is codes.PROTOCOL


def test_a_relative_link_is_followed(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    refs = put(mailbox, 1)
    path = "/v1.0/users/support%40example.org/mailFolders/inbox/messages/delta"
    graph_server.on("/delta", GraphAnswer(200, {"value": [], "@odata.nextLink": path}))

    assert Run(open_receiver()).refs == refs


def test_an_item_without_a_date_is_asked_for_it(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    refs = put(mailbox, 2)
    page = {"value": [{"id": refs[0]}, {"id": "AAgone"}, {"id": ""}, None], "@odata.deltaLink": ""}
    graph_server.witness = None
    graph_server.on("/delta", GraphAnswer(200, page))
    pages: list[list[Listed]] = []

    def wanted(listed: Any) -> list[str]:
        pages.append(list(listed))
        return [item.ref for item in listed]

    found = list(open_receiver().fetch(None, limits=Limits(), wanted=wanted))

    assert [one.ref for one in found if isinstance(one, Fetched)] == [refs[0]]
    assert [[item.received_at is None for item in page] for page in pages] == [
        [True, True],
        [False],
    ]


def test_a_message_that_breaks_every_connection_does_not_stop_the_others(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    refs = put(mailbox, 5)
    graph_server.on(rf"{refs[1][:30]}.*\$value", CUT, times=ALWAYS)

    run = Run(open_receiver())

    assert run.error is None
    assert sorted([*run.refs, run.unavailable[0].ref]) == sorted(refs)
    assert [one.ref for one in run.unavailable] == [refs[1]]


# ---------------------------------------------------------------------------- dispositions


def settle(receiver: GraphReceiver, refs: list[str], disposition: Disposition) -> list[Any]:
    return list(receiver.settle(refs, disposition))


def test_moving_makes_the_folder_with_all_that_is_missing_on_its_path(
    open_receiver: OpenReceiver, mailbox: GraphMailbox
):
    refs = put(mailbox, 3)

    done = settle(open_receiver(), refs, Disposition("move", "Archive/2026/Done"))

    assert done == [Settled(ref) for ref in refs]
    [place] = {message.folder for message in mailbox.messages.values()}
    assert mailbox.folders[place].name == "Done"
    again = settle(open_receiver(), refs, Disposition("move", "archive/2026/done"))
    assert len(again) == 3
    assert {message.folder for message in mailbox.messages.values()} == {place}


def test_a_message_moved_to_a_watched_folder_is_known_there_under_its_id(
    open_receiver: OpenReceiver, mailbox: GraphMailbox
):
    done_folder = mailbox.add_folder("Done")
    [ref] = put(mailbox, 1)
    receiver = open_receiver(folders=["inbox", "Done"])

    assert settle(receiver, [ref], Disposition("move", "done")) == [Settled(ref, ref)]
    assert mailbox.messages[ref].folder == done_folder.id


@pytest.mark.parametrize("action", ["seen", "move", "delete"])
def test_what_is_gone_is_settled(open_receiver: OpenReceiver, mailbox: GraphMailbox, action: Any):
    refs = put(mailbox, 2)
    mailbox.remove(mailbox.messages[refs[0]])

    done = settle(open_receiver(), refs, Disposition(action, "Done"))

    assert done == [Settled(ref) for ref in refs]


def test_a_mailbox_that_is_gone_settles_nothing(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    refs = put(mailbox, 2)
    receiver = open_receiver()
    graph_server.on("PATCH", refusal(404, "MailboxNotEnabledForRESTAPI"), times=ALWAYS)

    with pytest.raises(SettingsError):
        settle(receiver, refs, Disposition("seen"))


def test_without_the_right_to_write_nothing_is_settled(
    open_receiver: OpenReceiver, mailbox: GraphMailbox
):
    refs = put(mailbox, 2)
    mailbox.permissions = {"read"}

    with pytest.raises(AuthError) as caught:
        settle(open_receiver(), refs, Disposition("delete"))

    assert caught.value.code.name == "GRAPH-ACCESS-DENIED"
    assert set(mailbox.messages) == set(refs)


# ---------------------------------------------------------------------------- waiting


def test_waiting_ends_when_mail_comes_and_each_look_is_one_request(
    open_receiver: OpenReceiver, mailbox: GraphMailbox, graph_server: GraphServer
):
    put(mailbox, 3)
    receiver = open_receiver()
    receiver.wait(0)
    before = graph_server.count
    graph_server.on("/delta", lambda _: put(mailbox, 1, name="new") and None)  # type: ignore[arg-type, return-value]

    assert receiver.wait(20) is True

    assert graph_server.count - before <= 2


def test_waiting_in_vain_says_so(open_receiver: OpenReceiver, mailbox: GraphMailbox):
    receiver = open_receiver()

    assert receiver.wait(0.01) is False
