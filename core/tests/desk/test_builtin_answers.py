"""The built-in acknowledgement and loop breaker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from postroom.api import MailboxView, Verdict
from postroom.builtin import acknowledgement, loops
from postroom.mail import ParsedMessage

Parsed = Callable[..., ParsedMessage]
OWN = frozenset(("info@example.org", "help@example.org"))
VIEW = MailboxView("info@example.org", "", "support", OWN)


@pytest.mark.parametrize("template", ["", "We have it."], ids=["default", "own"])
def test_acknowledgement_is_offered_where_the_mailbox_wants_it(
    parsed: Parsed, template: str
) -> None:
    view = replace(VIEW, acknowledgement=template)

    said = acknowledgement.postroom_classify(parsed("From: ann@customer.example"), view)

    assert said == Verdict(acknowledgement=template)


def test_acknowledgement_is_not_offered_elsewhere(parsed: Parsed) -> None:
    assert acknowledgement.postroom_classify(parsed("From: ann@customer.example"), VIEW) is None


@pytest.mark.parametrize(
    "headers",
    [
        ["From: INFO@Example.org"],
        ["From: ann@customer.example", "Reply-To: help@example.org"],
        ["Return-Path: <info@example.org>", "From: ann@customer.example"],
        ["From: ann@customer.example", "X-Loop: info@example.org"],
        ["From: ann@customer.example", "Sender: Support <info@example.org>"],
        ["From: ann@customer.example", "Resent-From: help@example.org"],
        ["Delivered-To: info@example.org"] * 2 + ["From: ann@customer.example"],
        ["Received: from a by b"] * 51 + ["From: ann@customer.example"],
    ],
    ids="from reply-to return-path x-loop sender resent-from delivered-twice hops".split(),
)
def test_what_may_be_our_own_mail_is_not_answered(parsed: Parsed, headers: list[str]) -> None:
    assert loops.postroom_classify(parsed(*headers), VIEW) == Verdict(may_auto_reply=False)


@pytest.mark.parametrize(
    "headers",
    [
        ["From: ann@example.org"],
        ["Delivered-To: help@example.org", "Delivered-To: info@example.org", "From: a@b.example"],
        ["Received: from a by b"] * 20 + ["From: ann@customer.example"],
        ["Subject: no sender"],
    ],
    ids="colleague alias route none".split(),
)
def test_mail_of_others_is_left_alone(parsed: Parsed, headers: list[str]) -> None:
    assert loops.postroom_classify(parsed(*headers, "To: info@example.org"), VIEW) is None
