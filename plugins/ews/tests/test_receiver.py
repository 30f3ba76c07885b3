"""Listing, downloading, settling and waiting."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.api import (
    Checkpoint,
    Disposition,
    Fetched,
    Limits,
    Oversized,
    SettingsError,
    Settled,
    Spool,
    TransientError,
    Unavailable,
    codes,
)
from postroom_ews.receiver import EwsReceiver
from postroom_test_servers.exchange import ExchangeServer
from postroom_test_servers.exchange_store import Item, Mailbox

OpenReceiver = Callable[..., EwsReceiver]
DAY = datetime(2026, 11, 2, tzinfo=UTC)


def letter(number: int, size: int = 0) -> bytes:
    return (
        f"From: ann@customer.example\r\nTo: support@example.org\r\nSubject: Letter {number}\r\n"
        f"Message-ID: <{number}@customer.example>\r\n\r\n{'x' * 70}\r\n".encode()
        + (b"y" * 74 + b"\r\n") * (size // 76)
    )


def deliver(box: Mailbox, *numbers: int, **more: Any) -> list[Item]:
    return [box.deliver(letter(one), DAY + timedelta(minutes=one), **more) for one in numbers]


def fetch(receiver: EwsReceiver, cursor: str | None = None, **more: Any) -> list[Any]:
    limits = more.pop("limits", Limits())
    return list(receiver.fetch(cursor, limits=limits, wanted=lambda page: [i.ref for i in page]))


def refs(deliveries: list[Any]) -> list[str]:
    return [one.ref for one in deliveries if isinstance(one, Fetched)]


def cursor_of(deliveries: list[Any]) -> str:
    return next(one.cursor for one in reversed(deliveries) if isinstance(one, Checkpoint))


# ---------------------------------------------------------------------- listing


def test_more_than_a_page_is_listed_oldest_first(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    items = deliver(box, *range(1100))

    found = [one.ref for one in open_receiver().list_refs()]

    assert found == [item.id for item in items]
    assert exchange.requests.count("SyncFolderItems") == 3


def test_only_what_is_new_is_listed_from_a_cursor(
    box: Mailbox, open_receiver: OpenReceiver
) -> None:
    deliver(box, *range(20))
    receiver = open_receiver()
    cursor = cursor_of(fetch(receiver))

    [new] = deliver(box, 21)
    asked: list[str] = []
    done = list(
        receiver.fetch(
            cursor, limits=Limits(), wanted=lambda page: asked.extend(i.ref for i in page) or asked
        )
    )

    assert asked == refs(done) == [new.id]


def test_what_was_moved_in_and_out_between_visits_is_listed_as_it_is(
    box: Mailbox, open_receiver: OpenReceiver
) -> None:
    first, second = deliver(box, 1, 2)
    receiver = open_receiver()
    cursor = cursor_of(fetch(receiver))
    with box.lock:
        away = box.move(first, box.folder("Elsewhere"))
        box.move(second, box.folder("Elsewhere"))
        back = box.move(away, box.well_known("inbox"))

    assert refs(fetch(receiver, cursor)) == [back.id]


@pytest.mark.parametrize("code", ["ErrorInvalidSyncStateData", "ErrorSyncFolderNotFound"])
def test_invalid_state_starts_over_once(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver, code: str
) -> None:
    items = deliver(box, 1, 2, 3)
    receiver = open_receiver()
    cursor = cursor_of(fetch(receiver))
    exchange.fail("SyncFolderItems", code=code)

    assert refs(fetch(receiver, cursor)) == [item.id for item in items]


def test_state_that_dies_within_a_listing_doubles_nothing(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    deliver(box, *range(1100))
    exchange.fail("SyncFolderItems", code="ErrorInvalidSyncStateData", skip=1)

    found = [one.ref for one in open_receiver().list_refs()]

    assert len(found) == len(set(found)) == 1100


@pytest.mark.parametrize(
    "cursor",
    ["", "nonsense", "[]", '{"folders": 1}', '{"mailbox": "support@example.org", "folders": {}}',
     json.dumps({"mailbox": "other@example.org", "folders": {"inbox": "abc"}}),
     json.dumps({"mailbox": "support@example.org", "folders": {"inbox": "bm9uc2Vuc2U="}})],
)  # fmt: skip
def test_unusable_cursor_means_from_the_start(
    box: Mailbox, open_receiver: OpenReceiver, cursor: str
) -> None:
    items = deliver(box, 1, 2)

    assert refs(fetch(open_receiver(), cursor)) == [item.id for item in items]


def test_server_that_never_knows_a_state_ends_the_visit(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    deliver(box, *range(600))
    exchange.fail("SyncFolderItems", code="ErrorInvalidSyncStateData", skip=1)
    exchange.fail("SyncFolderItems", code="ErrorInvalidSyncStateData", skip=2)

    with pytest.raises(TransientError):
        list(open_receiver().list_refs())


def test_cursor_that_would_be_too_long_leaves_the_longest_state_out() -> None:
    from postroom_ews.listing import format_cursor, parse_cursor

    states = {"inbox": "a" * 30_000, "Orders": "b" * 50_000, "Done": "c" * 20_000}

    cursor = format_cursor("info@example.org", states)

    assert len(cursor) < 65_536
    assert set(parse_cursor(cursor, "info@example.org")) == {"inbox", "Done"}


def test_folders_are_found_by_well_known_name_and_by_path(
    box: Mailbox, open_receiver: OpenReceiver
) -> None:
    box.folder("Inbox/Orders/2026")
    [first] = deliver(box, 1)
    [second] = deliver(box, 2, folder="Inbox/Orders/2026")
    [third] = deliver(box, 3, folder="junkemail")
    receiver = open_receiver(folders=["Inbox", "inbox/orders/2026", "junkemail"])

    assert refs(fetch(receiver)) == [first.id, second.id, third.id]


def test_missing_folder_is_told_after_the_others_were_read(
    box: Mailbox, open_receiver: OpenReceiver
) -> None:
    [item] = deliver(box, 1)
    receiver = open_receiver(folders=["Nowhere", "inbox"])
    got: list[Any] = []

    deliveries = receiver.fetch(None, limits=Limits(), wanted=lambda p: [i.ref for i in p])

    with pytest.raises(SettingsError) as caught:
        got.extend(deliveries)

    assert caught.value.code is codes.FOLDER_MISSING
    assert refs(got) == [item.id]


# ---------------------------------------------------------------------- downloading


def test_large_message_comes_as_a_spool_and_too_large_ones_are_told(
    box: Mailbox, open_receiver: OpenReceiver
) -> None:
    large = box.deliver(letter(1, 300_000), DAY)
    larger = box.deliver(letter(2, 900_000), DAY)
    largest = box.deliver(letter(3, 9_000_000), DAY)
    limits = Limits(spool_above=200_000, max_message_bytes=500_000)

    done = {one.ref: one for one in fetch(open_receiver(), limits=limits) if hasattr(one, "ref")}

    spool = done[large.id].raw
    assert isinstance(spool, Spool)
    assert b"".join(spool.pieces()) == large.mime
    spool.close()
    assert done[larger.id] == Oversized(larger.id, len(larger.mime), DAY)
    assert isinstance(done[largest.id], Oversized)


def test_unreadable_message_is_told_and_the_others_come(
    box: Mailbox, open_receiver: OpenReceiver
) -> None:
    first, bad, last = deliver(box, 1, 2, 3)
    bad.is_unreadable = True

    done = fetch(open_receiver())

    [unavailable] = [one for one in done if isinstance(one, Unavailable)]
    assert refs(done) == [first.id, last.id]
    assert unavailable.ref == bad.id
    assert unavailable.error.code is codes.MESSAGE_UNREADABLE
    assert "ErrorMimeContentConversionFailed" in unavailable.error.sentence


def test_message_on_which_the_server_fails_stops_no_other(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    first, second = deliver(box, 1, 2)
    exchange.fail("GetItem", status=500, body=b"Server Error", times=2)  # the batch, then the first

    done = fetch(open_receiver())

    [unavailable] = [one for one in done if isinstance(one, Unavailable)]
    assert unavailable.ref == first.id
    assert refs(done) == [second.id]


def test_server_that_fails_on_everything_makes_no_message_unreadable(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    deliver(box, 1, 2)
    exchange.fail("GetItem", status=500, body=b"Server Error", times=None)

    with pytest.raises(TransientError):
        fetch(open_receiver())


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 502}, {"inner": "ErrorServerBusy"}, {"cut": "before"}]
)
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_busy_server_makes_no_message_unreadable(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver, fault: dict[str, Any],
    skip: int,
) -> None:  # fmt: skip
    deliver(box, *range(45))
    exchange.fail("GetItem", skip=skip, times=2, **fault)
    receiver, got = open_receiver(), list[Any]()

    with pytest.raises(TransientError):
        got.extend(receiver.fetch(None, limits=Limits(), wanted=lambda p: [i.ref for i in p]))

    assert not [one for one in got if isinstance(one, Unavailable)]


def test_message_that_vanishes_is_not_yielded(box: Mailbox, open_receiver: OpenReceiver) -> None:
    first, second = deliver(box, 1, 2)
    receiver = open_receiver()

    def wanted(page: Any) -> list[str]:
        with box.lock:
            box.remove(first)
        return [one.ref for one in page]

    done = list(receiver.fetch(None, limits=Limits(), wanted=wanted))

    assert refs(done) == [second.id]


def test_batches_are_bounded_by_count_and_bytes(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    for number in range(10):
        box.deliver(letter(number, 100_000), DAY)

    done = fetch(open_receiver(), limits=Limits(batch_bytes=250_000))

    assert len(refs(done)) == 10
    assert exchange.requests.count("GetItem") == 5


# ---------------------------------------------------------------------- a busy server


def busy(kind: str, milliseconds: int) -> dict[str, Any]:
    seconds = (("Retry-After", str(milliseconds // 1000)),)
    return {
        "fault": {"back_off": milliseconds},
        "unavailable": {"status": 503, "headers": seconds},
        "unavailable, closing": {"status": 503, "headers": (*seconds, ("Connection", "close"))},
        "too many": {"status": 429, "headers": seconds},
        "inner": {"inner": "ErrorServerBusy"},
        "code": {"code": "ErrorServerBusy"},
    }[kind]


@pytest.mark.parametrize("operation", ["SyncFolderItems", "GetItem"])
@pytest.mark.parametrize(
    ("kind", "told"),
    [("fault", 117), ("unavailable", 117), ("unavailable, closing", 117), ("too many", 117),
     ("inner", None), ("code", None)],
)  # fmt: skip
def test_busy_server_is_transient_and_its_time_is_told(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver, kind: str,
    told: float | None, operation: str,
) -> None:  # fmt: skip
    deliver(box, 1)
    exchange.fail(operation, times=None, **busy(kind, 117_000))

    with pytest.raises(TransientError) as caught:
        fetch(open_receiver())

    assert caught.value.code is codes.SERVER_BUSY
    assert caught.value.retry_after == told


def test_short_time_is_waited_and_the_work_goes_on(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    items = deliver(box, 1, 2)
    for operation in ("SyncFolderItems", "GetItem"):
        exchange.fail(operation, back_off=50)
        exchange.fail(operation, inner="ErrorServerBusy", back_off=50)

    assert refs(fetch(open_receiver())) == [item.id for item in items]


def test_server_that_is_busy_for_ever_is_not_asked_for_ever(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    deliver(box, 1)
    exchange.fail("GetItem", inner="ErrorServerBusy", back_off=1, times=None)

    with pytest.raises(TransientError) as caught:
        fetch(open_receiver())

    assert caught.value.retry_after == 0.001
    assert exchange.requests.count("GetItem") <= 10


def test_answer_is_read_whole_where_the_server_closes_after_it(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    items = [box.deliver(letter(number, 3 << 20), DAY) for number in range(3)]
    exchange.says_close = True

    done = fetch(open_receiver(), limits=Limits(batch_bytes=4 << 20))

    for one in done:
        if isinstance(one, Fetched) and isinstance(one.raw, Spool):
            one.raw.close()
    assert sorted(refs(done)) == sorted(item.id for item in items)
    assert exchange.most_open <= 2  # the last one may still be closing


# ---------------------------------------------------------------------- settling


def test_moved_message_gets_a_new_ref_only_where_it_is_watched(
    box: Mailbox, open_receiver: OpenReceiver
) -> None:
    [first, second] = deliver(box, 1, 2)
    box.folder("Done")
    watched = open_receiver(folders=["inbox", "Done"])
    [settled] = watched.settle([first.id], Disposition("move", "Done"))

    assert settled.new_ref in box.items
    assert list(watched.settle([settled.new_ref], Disposition("move", "Done"))) == [
        Settled(settled.new_ref)
    ]
    assert list(open_receiver().settle([second.id], Disposition("move", "Done"))) == [
        Settled(second.id)
    ]


def test_folder_to_move_to_is_made_with_its_path(box: Mailbox, open_receiver: OpenReceiver) -> None:
    [item] = deliver(box, 1)

    list(open_receiver().settle([item.id], Disposition("move", "Done/2026 & später")))

    assert len(list(box.items_in(box.folder("Done/2026 & später", make=False)))) == 1


@pytest.mark.parametrize(("deletion", "kept"), [("deleted-items", 1), ("hard", 0)])
def test_deleting_is_to_deleted_items_or_for_good(
    box: Mailbox, open_receiver: OpenReceiver, deletion: str, kept: int
) -> None:
    [item] = deliver(box, 1)

    list(open_receiver(deletion=deletion).settle([item.id], Disposition("delete")))

    assert len(list(box.items_in(box.well_known("deleteditems")))) == kept
    assert not list(box.items_in(box.well_known("inbox")))


def test_no_read_receipt_is_sent_where_the_version_knows_how(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    """2010 knows no SuppressReadReceipts: the schema of then would refuse it."""
    exchange.newest_version = "Exchange2010_SP2"
    [item] = deliver(box, 1)
    receiver = open_receiver()

    assert refs(fetch(receiver)) == [item.id]
    assert list(receiver.settle([item.id], Disposition("seen"))) == [Settled(item.id)]
    assert item.is_read
    assert receiver.exchange().account.version.api_version == "Exchange2010_SP2"


def test_message_that_was_moved_before_the_answer_was_lost_is_settled(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    [item] = deliver(box, 1)
    exchange.fail("MoveItem", cut="after")
    receiver = open_receiver()

    assert list(receiver.settle([item.id], Disposition("move", "Done"))) == [Settled(item.id)]
    assert len(box.items) == 1


# ---------------------------------------------------------------------- waiting


def test_news_wakes_who_waits(box: Mailbox, open_receiver: OpenReceiver) -> None:
    receiver = open_receiver()
    assert receiver.wait(0) is False

    def deliver_later() -> None:
        deliver(box, 1)

    timer = threading.Timer(0.2, deliver_later)
    timer.start()
    assert receiver.wait(30) is True
    timer.join()


def test_news_since_it_got_ready_is_told_at_once(box: Mailbox, open_receiver: OpenReceiver) -> None:
    receiver = open_receiver()
    receiver.wait(0)
    deliver(box, 1)

    assert receiver.wait(30) is True


def test_silence_is_no_news_and_the_subscription_stays(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    receiver = open_receiver()
    receiver.wait(0)

    assert receiver.wait(0.3) is False
    deliver(box, 1)
    assert receiver.wait(30) is True
    assert exchange.requests.count("Subscribe") == 1


def test_lost_subscription_is_made_anew(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    receiver = open_receiver()
    receiver.wait(0)
    exchange.operations.subscriptions.clear()

    assert receiver.wait(30) is True  # nobody knows what was missed
    receiver.wait(0)
    deliver(box, 1)
    assert receiver.wait(30) is True
    assert exchange.requests.count("Subscribe") == 2


def test_server_without_streaming_is_polled(
    box: Mailbox, exchange: ExchangeServer, open_receiver: OpenReceiver
) -> None:
    exchange.operations.can_stream = False
    receiver = open_receiver()
    receiver.wait(0)

    assert receiver.wait(0.1) is True
    assert exchange.requests.count("Subscribe") == 1
