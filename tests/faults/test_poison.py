"""One bad message never keeps the others from arriving."""

from __future__ import annotations

import random
from types import ModuleType

import pytest
from postroom.mail import large
from postroom.store.models import Message, Receipt
from postroom_test_servers.desk import assert_each_once, digest, mail
from postroom_test_servers.points import say, takes_all
from postroom_test_servers.shelves import shelf_mailbox, visit


@pytest.mark.timeout(0 if takes_all() else 120)
def test_every_nasty_message_as_the_first_of_ten(store: str, corpus: ModuleType) -> None:
    names = sorted(corpus.MESSAGES.keys() - corpus.LARGE)
    tried = names if takes_all() else random.sample(names, 25)
    with shelf_mailbox() as (shelf, runner):
        for number, name in enumerate(tried):
            others = [mail(f"n{number}m{i}") for i in range(9)]
            poison = corpus.raw_of(name)
            shelf.put(poison, *others)

            visit(runner)

            stored = Receipt.select(Receipt.sha256).where(Receipt.outcome == "stored")
            digests = {receipt.sha256 for receipt in stored}
            assert {digest(raw) for raw in others} <= digests, name
            became = Receipt.get(Receipt.sha256 == digest(poison))
            assert became.outcome in ("stored", "duplicate", "quarantined"), name
            shelf.items.clear()
    say(f"{len(tried)} of {len(names)} nasty messages, each the first of ten: the other nine came")


@pytest.mark.parametrize("error", [RuntimeError, RecursionError, MemoryError, AssertionError])
def test_a_parser_that_raises_keeps_nobody_away(
    store: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [mail(f"m{i}") for i in range(10)]
    real = large.fingerprint

    def fingerprint(raw: bytes) -> str:
        if raw == raws[0]:
            raise error
        return real(raw)

    monkeypatch.setattr(large, "fingerprint", fingerprint)
    with shelf_mailbox(disposition="delete") as (shelf, runner):
        shelf.put(*raws)

        visit(runner)

        assert_each_once(raws)
        assert Message.select().where(Message.direction == "in").count() == 9
        assert [item.raw for item in shelf.items.values()] == raws[:1]  # waits for its release


def test_a_message_that_cannot_be_written_is_set_aside_alone(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postroom.intake import filing

    raws = [mail(f"m{i}") for i in range(10)]
    real = filing.insert_messages

    def insert(mailbox_id: int, items: list[filing.Prepared], instant: object) -> None:
        if any(item.incoming.parsed.message_id == "m4@customer.example" for item in items):
            raise ValueError("a column does not take it")
        real(mailbox_id, items, instant)  # type: ignore[arg-type]

    monkeypatch.setattr(filing, "insert_messages", insert)
    with shelf_mailbox() as (shelf, runner):
        shelf.put(*raws)

        visit(runner)

    assert_each_once(raws)
    assert Receipt.select().where(Receipt.outcome == "quarantined").count() == 1
