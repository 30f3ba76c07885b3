"""The built-in filters."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import regex  # type: ignore[import-untyped]  # has no stubs
from postroom.api import FilterRule, MailboxView, Verdict
from postroom.builtin import filters
from postroom.mail import ParsedMessage

Parsed = Callable[..., ParsedMessage]
HEAD = (
    "From: Ann <ann@customer.example>",
    "To: Support <info@example.org>",
    "Cc: boss@customer.example",
    "Subject: Invoice 17",
    "X-Spam-Flag: NO",
    "X-Spam-Flag: YES",
)
EVIL = "(a|aa)+$"
EVIL_TEXT = "a" * 60 + "!"


def classify(message: ParsedMessage, *rules: FilterRule) -> Verdict | None:
    view = MailboxView("info@example.org", "", "support", frozenset(), filters=rules)
    return filters.postroom_classify(message, view)


@pytest.mark.parametrize(
    ("field", "pattern"),
    [
        ("subject", "(?i)invoice"),
        ("body", r"pay\b"),
        ("from", r"^ann@customer\.example$"),
        ("from", r"^Ann <"),
        ("to", "^info@"),
        ("to", "boss"),
        ("header:x-spam-flag", "^YES$"),
    ],
)
def test_rule_that_fits_sets_its_fields(parsed: Parsed, field: str, pattern: str) -> None:
    rule = FilterRule("money", field, pattern, topic="Billing", assignee="eve", status="assigned")

    verdict = classify(parsed(*HEAD, text="Shall we pay this?"), rule)

    assert verdict == Verdict(topic="Billing", assignee="eve", status="assigned", because="money")


@pytest.mark.parametrize("field", ["subject", "body", "from", "to", "header:X-Other", "nonsense"])
def test_rule_that_does_not_fit_says_nothing(parsed: Parsed, field: str) -> None:
    assert classify(parsed(*HEAD), FilterRule("other", field, "parcel", topic="Parcels")) is None


def test_first_rule_to_set_a_field_wins(parsed: Parsed) -> None:
    first = FilterRule("one", "subject", "Invoice", topic="Billing")
    second = FilterRule("two", "subject", "17", topic="Other", assignee="eve")

    verdict = classify(parsed(*HEAD), first, second)

    assert verdict == Verdict(topic="Billing", assignee="eve", because="one, two")


def test_stop_ends_the_rules(parsed: Parsed) -> None:
    first = FilterRule("one", "subject", "Invoice", topic="Billing", stop=True)

    verdict = classify(parsed(*HEAD), first, FilterRule("two", "subject", ".", assignee="eve"))

    assert verdict == Verdict(topic="Billing", because="one")


def test_ignore_carries_the_reason(parsed: Parsed) -> None:
    verdict = classify(parsed(*HEAD), FilterRule("ads", "from", "ann", ignore="advertisements"))

    assert verdict == Verdict(ignore="advertisements", because="ads")


def test_pattern_that_never_ends_is_skipped_and_named(
    parsed: Parsed, caplog: pytest.LogCaptureFixture
) -> None:
    message = parsed(*HEAD, text=EVIL_TEXT)
    evil = FilterRule("evil", "body", EVIL, topic="Never")
    good = FilterRule("good", "subject", "Invoice", topic="Billing")

    begun = time.monotonic()
    verdict = classify(message, evil, good)

    assert time.monotonic() - begun < 5
    assert verdict == Verdict(topic="Billing", because="good (skipped: evil)")
    assert "evil took too long" in caplog.text


def test_all_rules_together_have_a_time_limit(parsed: Parsed) -> None:
    message = parsed(*HEAD, text=EVIL_TEXT)
    rules = [FilterRule(f"evil {n}", "body", EVIL, topic="Never") for n in range(50)]

    begun = time.monotonic()
    verdict = classify(message, *rules)

    assert time.monotonic() - begun < 5
    assert verdict is not None
    assert verdict.topic is None


def test_many_short_searches_have_a_time_limit_too(
    parsed: Parsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    milliseconds = itertools.count()
    monkeypatch.setattr(filters.time, "thread_time", lambda: next(milliseconds) / 1_000)
    message = parsed(*HEAD, *(f"X-Hop: {n}" for n in range(filters.MOST_VALUES)))

    verdict = classify(message, FilterRule("slow", "header:x-hop", "never", topic="Never"))

    assert verdict == Verdict(because="(skipped: slow)")


def test_busy_threads_of_the_process_take_no_time_from_a_rule(parsed: Parsed) -> None:
    message = parsed(*HEAD, text="a" * 15 + "!")  # some milliseconds of search
    rule = FilterRule("slow", "body", "(a|aa)+$|!", topic="Found")

    with busy_threads(4):
        verdicts = [classify(message, rule) for _ in range(10)]

    assert verdicts == [Verdict(topic="Found", because="slow")] * 10


@contextmanager
def busy_threads(count: int) -> Iterator[None]:
    """Keep the processor busy in other threads."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            sum(range(1_000))

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_compiling_takes_no_time_from_a_rule(
    parsed: Parsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(pattern: str) -> object:
        begun = time.process_time()
        while time.process_time() - begun < 2 * filters.BUDGET_SECONDS:
            pass
        return regex.compile(pattern)

    monkeypatch.setattr(filters, "_compile", slowly)

    verdict = classify(parsed(*HEAD), FilterRule("money", "subject", "Invoice", topic="Billing"))

    assert verdict == Verdict(topic="Billing", because="money")


def test_rule_that_is_no_pattern_is_skipped(parsed: Parsed) -> None:
    verdict = classify(parsed(*HEAD), FilterRule("broken", "subject", "(", topic="Never"))

    assert verdict == Verdict(because="(skipped: broken)")


def test_only_the_beginning_of_a_long_body_is_looked_at(parsed: Parsed) -> None:
    message = parsed(*HEAD, text="x\n" * filters.LONGEST + "invoice")

    assert classify(message, FilterRule("late", "body", "invoice", topic="Never")) is None
