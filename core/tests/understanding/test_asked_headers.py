"""A worker decodes only headers that are asked for; what it makes of a message is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from postroom.api.verdict import FilterRule, MailboxView
from postroom.classification import BuiltIn
from postroom.intake.understanding.understood import Understood, understand_all
from postroom.mail import parse
from postroom_test_servers.loading import load

ROOT = Path(__file__).resolve().parents[3]


corpus = load(ROOT / "tests" / "corpus" / "make_corpus.py")
VIEW = MailboxView(
    address="desk@helpdesk.example",
    name="Desk",
    segment="support",
    own_addresses=frozenset({"desk@helpdesk.example", "ann@customer.example"}),
    filters=(
        FilterRule("program", "header: X-Mailer ", "(?i)outlook|mail", topic="Mail"),
        FilterRule("route", "HEADER:received", "example", assignee="route"),
        FilterRule("subject", "subject", "brake", topic="Brakes"),
    ),
)


@pytest.mark.parametrize("name", [one for one in sorted(corpus.MESSAGES) if one[0] in "cdfgjk"])
def test_what_is_made_of_a_message_is_the_same(name: str) -> None:
    raw = corpus.raw_of(name)
    built_in = BuiltIn()
    whole = parse(raw)

    (made,) = understand_all([raw], built_in.headers(VIEW))

    assert isinstance(made, Understood)
    assert set(made.parsed.headers) <= set(whole.headers)
    assert replace(made.parsed, headers=()) == replace(whole, headers=())
    assert built_in.classify(made.parsed, VIEW) == built_in.classify(whole, VIEW)


def test_headers_that_nobody_asks_for_are_left_out() -> None:
    raw = b"From: Ann <ann@customer.example>\r\nX-One: 1\r\nX-Two: 2\r\n\r\nHi.\r\n"

    (made,) = understand_all([raw], {"x-two"})

    assert isinstance(made, Understood)
    assert made.parsed.headers == (("X-Two", "2"),)
