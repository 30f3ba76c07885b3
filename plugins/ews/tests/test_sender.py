"""Drafts, sending, evidence; and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.api import (
    CANNOT_TELL,
    NOT_SENT,
    OutcomeUnknown,
    Outgoing,
    Rejected,
    Sent,
    SettingsError,
    TransientError,
    codes,
)
from postroom_ews import errors
from postroom_ews.sender import TRANSIT, EwsSender
from postroom_test_servers.context import LoopbackContext
from postroom_test_servers.exchange import ExchangeServer
from postroom_test_servers.exchange_store import Mailbox

OpenSender = Callable[..., EwsSender]
RAW = (
    b"From: Support <support@example.org>\r\nTo: ann@customer.example\r\nSubject: Your brake\r\n"
    b"Message-ID: <1@desk.example.org>\r\n\r\nIt is mended.\r\n"
)


def outgoing(*recipients: str, **more: Any) -> Outgoing:
    values = {
        "message_id": "1@desk.example.org", "sender": "", "raw": RAW,
        "recipients": recipients or ("ann@customer.example",),
        "from_address": "support@example.org",
    }  # fmt: skip
    return Outgoing(**(values | more))


def drafts(box: Mailbox, name: str = "drafts") -> int:
    return len(list(box.items_in(box.well_known(name))))


def test_draft_is_sent_and_a_copy_is_kept(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    sender = open_sender()
    handle = sender.prepare(outgoing())
    assert (drafts(box), exchange.sent) == (1, [])

    result = sender.send(outgoing(), handle)

    assert result.accepted == ("ann@customer.example",)
    assert (drafts(box), drafts(box, "sentitems")) == (0, 1)
    assert [one.recipients for one in exchange.sent] == [("ann@customer.example",)]


def test_draft_whose_answer_is_lost_is_removed_at_once(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    sender = open_sender()
    sender.prepare(outgoing(message_id="2@desk.example.org"))
    exchange.fail("CreateItem", cut="after")

    with pytest.raises(TransientError):
        sender.prepare(outgoing())

    assert drafts(box) == 1


def test_draft_that_nobody_heard_of_is_removed_by_the_next_session(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    first = open_sender()
    other = first.prepare(outgoing(message_id="2@desk.example.org"))
    exchange.fail("CreateItem", cut="after")
    exchange.fail("FindItem", cut="before", times=2)  # as if the process were dead
    with pytest.raises(TransientError):
        first.prepare(outgoing())
    assert drafts(box) == 2
    exchange.heal()

    open_sender().send(outgoing(), None)

    [left] = box.items_in(box.well_known("drafts"))
    assert left.id == json.loads(other or "")["id"]
    assert len(exchange.sent) == 1


@pytest.mark.parametrize("fault", [{"code": "ErrorInvalidRequest"}, {"status": 500}])
def test_server_that_lists_no_drafts_sends_as_well(
    exchange: ExchangeServer, open_sender: OpenSender, fault: dict[str, Any]
) -> None:
    exchange.fail("FindItem", **fault)

    open_sender().send(outgoing(), None)

    assert len(exchange.sent) == 1


def test_no_copy_is_kept_where_none_is_wanted(box: Mailbox, open_sender: OpenSender) -> None:
    open_sender().send(outgoing(save_to_sent=False), None)

    assert (drafts(box), drafts(box, "sentitems")) == (0, 0)


def test_recipient_in_no_header_gets_it_unseen(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    open_sender().send(outgoing("ann@customer.example", "boss@example.org"), None)

    [sent] = exchange.sent
    assert set(sent.recipients) == {"ann@customer.example", "boss@example.org"}
    assert b"boss@example.org" not in sent.raw


def test_other_address_to_send_from_is_asked_for(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    raw = RAW.replace(b"support@", b"help@")
    letter = outgoing(raw=raw, from_address="help@example.org")

    with pytest.raises(SettingsError) as caught:
        open_sender().send(letter, None)
    assert caught.value.code is codes.SENDER_REFUSED

    exchange.send_as["support@example.org"] = {"help@example.org"}
    open_sender().send(letter, None)
    assert [one.sender for one in exchange.sent] == ["help@example.org"]


@pytest.mark.parametrize(
    ("code", "error", "expected"),
    [
        ("ErrorMessageSizeExceeded", Rejected, codes.MESSAGE_TOO_LARGE),
        ("ErrorQuotaExceeded", SettingsError, errors.EWS_QUOTA),
        ("ErrorSendAsDenied", SettingsError, codes.SENDER_REFUSED),
        ("ErrorInvalidRecipients", Rejected, codes.RECIPIENT_REFUSED),
        ("ErrorAccessDenied", SettingsError, codes.AUTH_NOT_ALLOWED),
        ("ErrorMessageSubmissionBlocked", Rejected, codes.MESSAGE_REFUSED),
    ],
)
@pytest.mark.parametrize("operation", ["CreateItem", "SendItem"])
def test_each_refusal_is_an_error_of_its_own(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender, operation: str, code: str,
    error: type[Exception], expected: Any,
) -> None:  # fmt: skip
    exchange.fail(operation, code=code, times=None)

    with pytest.raises(error) as caught:
        open_sender().send(outgoing(), None)

    assert caught.value.code is expected  # type: ignore[attr-defined]
    assert not exchange.sent


@pytest.mark.parametrize(
    "fault",
    [{"status": 413}, {"status": 404, "body": b"HTTP Error 404.13 - Content Length Too Large"}],
)
def test_request_that_is_too_long_for_the_web_server_is_a_message_too_large(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender, fault: dict[str, Any]
) -> None:
    exchange.fail("CreateItem", **fault)

    with pytest.raises(Rejected) as caught:
        open_sender().send(outgoing(), None)

    assert caught.value.code is codes.MESSAGE_TOO_LARGE


def test_refused_draft_has_no_handle_and_send_tells_why(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    exchange.operations.size_limit = 10
    sender = open_sender()

    assert sender.prepare(outgoing()) is None
    with pytest.raises(Rejected):
        sender.send(outgoing(), None)


@pytest.mark.parametrize(
    "fault",
    [{"cut": "after"}, {"cut": "before"}, {"code": "ErrorInternalServerError"},
     {"code": "ErrorTimeoutExpired"}, {"status": 502}, {"status": 504}, {"status": 500}],
)  # fmt: skip
def test_what_may_have_been_sent_is_unknown(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender, fault: dict[str, Any]
) -> None:
    exchange.fail("SendItem", **fault)

    with pytest.raises(OutcomeUnknown):
        open_sender().send(outgoing(), None)

    assert exchange.requests.count("SendItem") == 1


@pytest.mark.parametrize(
    "fault", [{"back_off": 15_000}, {"status": 503}, {"code": "ErrorServerBusy"}]
)
def test_busy_server_has_not_sent(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender, fault: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    exchange.fail("SendItem", **fault)
    sender = open_sender()
    handle = sender.prepare(outgoing())

    with pytest.raises(TransientError):
        sender.send(outgoing(), handle)
    later = time.monotonic() + 16
    monkeypatch.setattr(time, "monotonic", lambda: later)
    sender.send(outgoing(), handle)

    assert (len(exchange.sent), drafts(box)) == (1, 0)


@pytest.mark.parametrize(
    "fault",
    [{"back_off": 50}, {"inner": "ErrorServerBusy", "back_off": 50},
     {"status": 503, "headers": (("Retry-After", "0"),)}],
)  # fmt: skip
def test_short_time_is_waited_and_it_is_sent_once(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender, fault: dict[str, Any]
) -> None:
    exchange.fail("SendItem", times=2, **fault)

    open_sender().send(outgoing(), None)

    assert (len(exchange.sent), drafts(box)) == (1, 0)
    assert exchange.requests.count("SendItem") == 3


def test_lost_answer_after_a_busy_one_is_not_asked_for_again(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    exchange.fail("SendItem", back_off=50)
    exchange.fail("SendItem", cut="after")

    with pytest.raises(OutcomeUnknown):
        open_sender().send(outgoing(), None)

    assert len(exchange.sent) == 1
    assert exchange.requests.count("SendItem") == 2


def test_draft_that_somebody_changed_is_sent_with_its_new_key(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    sender = open_sender()
    handle = sender.prepare(outgoing())
    [draft] = box.items_in(box.well_known("drafts"))
    with box.lock:
        box.touch(draft)

    sender.send(outgoing(), handle)

    assert len(exchange.sent) == 1


def test_draft_that_is_gone_is_not_sent_again(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender
) -> None:
    """Somebody pressed "send" in Outlook, or deleted it: a person decides."""
    sender = open_sender()
    handle = sender.prepare(outgoing())
    [draft] = box.items_in(box.well_known("drafts"))
    with box.lock:
        box.remove(draft)

    with pytest.raises(OutcomeUnknown):
        sender.send(outgoing(), handle)

    assert not exchange.sent


# ---------------------------------------------------------------------- evidence


def test_copy_is_evidence(box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender) -> None:
    exchange.fail("SendItem", cut="after")
    sender = open_sender()
    handle = sender.prepare(outgoing())
    with pytest.raises(OutcomeUnknown):
        sender.send(outgoing(), handle)

    assert sender.find_sent("1@desk.example.org", handle) == Sent("1@desk.example.org")
    assert sender.find_sent("2@desk.example.org", None) is CANNOT_TELL


def test_draft_is_evidence_after_the_time_of_transit_only(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender, context: LoopbackContext
) -> None:
    exchange.fail("SendItem", cut="before")
    sender = open_sender()
    handle = sender.prepare(outgoing())
    with pytest.raises(OutcomeUnknown):
        sender.send(outgoing(), handle)

    assert sender.find_sent("1@desk.example.org", handle) is CANNOT_TELL
    context.time = datetime.now(UTC) + TRANSIT + timedelta(minutes=1)
    assert sender.find_sent("1@desk.example.org", handle) is NOT_SENT


def test_late_attempt_counts_from_its_own_time(
    box: Mailbox, exchange: ExchangeServer, open_sender: OpenSender, context: LoopbackContext
) -> None:
    """A draft that waited in the queue for a day says nothing about an attempt just now."""
    sender = open_sender()
    handle = sender.prepare(outgoing())
    assert handle is not None
    old = json.dumps(json.loads(handle) | {"made_at": datetime.now(UTC).timestamp() - 86_400})
    [draft] = box.items_in(box.well_known("drafts"))
    draft.modified_at -= timedelta(days=1)
    exchange.fail("SendItem", cut="before")

    with pytest.raises(OutcomeUnknown):
        sender.send(outgoing(), old)

    assert sender.find_sent("1@desk.example.org", old) is CANNOT_TELL
