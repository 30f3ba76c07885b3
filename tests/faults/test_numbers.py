"""Servers that reuse, reorder, renumber and lose what they list: nothing lost, nothing doubled, and
nothing deleted that is not stored."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from postroom.api import TransientError, codes
from postroom.store.models import Mailbox, Outbox, Receipt
from postroom_test_servers.crash_cases import Servers
from postroom_test_servers.desk import (
    Desk,
    assert_each_once,
    digest,
    incoming,
    mail,
    received_digests,
    toml,
)
from postroom_test_servers.dovecot import Account
from postroom_test_servers.points import say, takes_all
from postroom_test_servers.proxy import running_proxy
from postroom_test_servers.shelf import Item, Shelf
from postroom_test_servers.shelves import shelf_mailbox, visit

SEEDS = range(600 if takes_all() else 8)
MOVES = 40
LOST = TransientError(codes.CONNECTION_LOST, "The connection is gone.")


class Server:
    """What may happen on a server, and to it, between and during visits."""

    def __init__(self, shelf: Shelf, chance: random.Random) -> None:
        self.shelf, self.chance = shelf, chance
        self.count = 0
        self.taken_away: set[str] = set()
        """Digests of what somebody removed: it may never have been seen."""
        shelf.has_dates, shelf.has_sizes = chance.random() < 0.7, chance.random() < 0.7
        shelf.on_settle = self._must_be_stored

    def _must_be_stored(self, ref: str) -> None:
        item = self.shelf.items.get(ref)
        if item is not None:
            assert Receipt.select().where(Receipt.sha256 == digest(item.raw)).exists()

    def _new(self) -> bytes:
        self.count += 1  # each has another size: where a listing tells sizes, reuse is seen
        return mail(f"m{self.count}", text="x" * self.count)

    def _any(self) -> Item | None:
        return self.chance.choice(list(self.shelf.items.values())) if self.shelf.items else None

    def _remove(self, item: Item) -> None:
        self.taken_away.add(digest(item.raw))
        self.shelf.items.pop(item.ref, None)

    def deliver(self) -> None:
        """New mail comes, at the end or in the middle of the listing."""
        self.shelf.put(self._new(), received_at=self._some_time())
        if self.chance.random() < 0.3:
            self.shuffle()

    def deliver_again(self) -> None:
        """The same mail comes twice, or a person copies it."""
        if item := self._any():
            self.shelf.put(item.raw, received_at=self._some_time())

    def remove(self) -> None:
        """A person deletes mail."""
        if item := self._any():
            self._remove(item)

    def reuse(self) -> None:
        """A number is given to other mail, where the listing lets it be seen."""
        if (item := self._any()) and (self.shelf.has_sizes or self.shelf.has_dates):
            self._remove(item)
            self.shelf.put(
                self._new(), ref=item.ref, received_at=item.received_at and self._some_time()
            )

    def renumber(self) -> None:
        """All numbers change."""
        self.shelf.rename_all()

    def shuffle(self) -> None:
        """The listing has another order."""
        items = list(self.shelf.items.items())
        self.chance.shuffle(items)
        self.shelf.items = dict(items)

    def read(self) -> None:
        """A person reads mail."""
        if item := self._any():
            item.seen = True

    def lose_cursor(self) -> None:
        """The cursor is lost or wound back."""
        Mailbox.update(cursor=self.chance.choice([None, "1"])).execute()

    def break_fetching(self) -> None:
        """The next visits break, or mail vanishes while it is taken."""

        def on_fetch(ref: str) -> None:
            if self.chance.random() < 0.2:
                raise LOST
            if self.chance.random() < 0.2 and (item := self._any()) and item.ref != ref:
                self._remove(item)

        self.shelf.on_fetch = on_fetch

    def break_settling(self) -> None:
        """The connection breaks while mail is deleted."""

        def on_settle(ref: str) -> None:
            self._must_be_stored(ref)
            if self.chance.random() < 0.3:
                raise LOST

        self.shelf.on_settle = on_settle

    def be_unreadable(self) -> None:
        """One message cannot be read for a while."""
        if item := self._any():
            self.shelf.unreadable[item.ref] = LOST

    def recover(self) -> None:
        """Everything works again."""
        self.shelf.unreadable.clear()
        self.shelf.on_fetch = lambda _: None
        self.shelf.on_settle = self._must_be_stored

    def _some_time(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.chance.randrange(10**7))


@pytest.mark.timeout(0 if takes_all() else 120)
@pytest.mark.parametrize("disposition", ["leave", "delete"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whatever_a_server_does_to_its_numbers(store: str, disposition: str) -> None:
    names = [name for name in vars(Server) if not name.startswith("_")]
    for seed in SEEDS:
        chance = random.Random(seed)
        address = f"info{seed}@example.org"
        with shelf_mailbox(address=address, disposition=disposition) as (shelf, runner):
            server = Server(shelf, chance)
            for _ in range(MOVES):
                getattr(server, chance.choice([*names, "deliver", "deliver"]))()
                if chance.random() < 0.5:
                    visit(runner)
            left = {digest(item.raw) for item in shelf.items.values()}
            server.recover()
            for _ in range(3):
                Receipt.update(next_try_at=0).where(Receipt.next_try_at.is_null(False)).execute()
                visit(runner)

            delivered = {digest(mail(f"m{i}", text="x" * i)) for i in range(1, server.count + 1)}
            found = received_digests(address)
            lost = (delivered - server.taken_away | left) - found.keys()
            assert not lost, f"seed {seed}: {len(lost)} lost"
            assert set(found.values()) <= {1}, f"seed {seed}: doubled"
            assert disposition == "leave" or not shelf.items, f"seed {seed}: left on the server"
            Mailbox.update(enabled=False).execute()
    say(f"{len(SEEDS)} servers with {MOVES} moves each, {disposition}: 0 lost, 0 doubled")


@pytest.mark.timeout(0 if takes_all() else 120)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_twenty_resets_of_uidvalidity(
    desk: Desk, account: Account, servers: Servers, run_once: Callable[[], int]
) -> None:
    chance = random.Random()
    served: set[bytes] = set()
    with running_proxy(account.server.imap) as proxy:
        desk.apply(
            toml("[[segment]]", name="support"),
            toml("[[mailbox]]", address="info@example.org", segment="support", start="all",
                 disposition="delete"),
            incoming("imap", proxy.port, account.name, security="none"),
        )  # fmt: skip
        for reset in range(20):
            account.append(*[mail(f"r{reset}m{i}") for i in range(chance.randrange(1, 8))])
            served |= {message.raw for message in account.messages()}
            proxy.break_after(received=chance.randrange(500, 4000), faults=1)
            run_once()
            # What is left has other numbers, or its numbers are other mail's.
            left = {message.raw for message in account.messages()}
            if chance.random() < 0.5:
                account.reset_uidvalidity()
            else:
                account.recreate(*left, mail(f"r{reset}other"))
                served |= {message.raw for message in account.messages()}
        proxy.break_after()
        run_once()
        run_once()

    assert account.messages() == []
    assert_each_once(served)
    assert Outbox.select().count() == 0
    say(f"20 resets of UIDVALIDITY among {len(served)} mails: 0 lost, 0 doubled, 0 wrongly deleted")
