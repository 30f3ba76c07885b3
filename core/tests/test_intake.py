"""When what was retrieved is committed."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from postroom.api import Capability, SettingsError, TransientError, codes
from postroom.api.transport import (
    Delivery,
    Fetched,
    Limits,
    Listed,
    Receiver,
    Spool,
    SpoolError,
    Transport,
)
from postroom.errors import DiskFullError
from postroom.intake import intake
from postroom.intake.conversations import Conversations, Incoming
from postroom.intake.entrances import Entrance
from postroom.intake.understanding.pool import Pool
from postroom.intake.understanding.understood import IN_PLACE, Understanding
from postroom.leases.leases import NoLease
from postroom.mailboxes import mailboxes
from postroom.store.models import Mailbox, Outbox, Receipt, Trouble
from postroom_test_servers import shelves
from postroom_test_servers.desk import mail
from postroom_test_servers.pigeon import FakePlugins, PigeonSettings
from postroom_test_servers.shelf import Item, ShelfReceiver

pytestmark = pytest.mark.usefixtures("store")

MESSAGES = 100


class Tortoise(Transport):
    """Hands out messages one by one, each after `pace` seconds of the clock it has."""

    name = "tortoise"
    title = "Tortoise"
    capabilities = Capability.NONE

    def __init__(self, pace: float) -> None:
        self.pace, self.now = pace, 0.0
        self.stored: list[int] = []
        """How many were in the database when each was handed out."""

    def receiver_settings(self) -> type[PigeonSettings]:
        return PigeonSettings

    def open_receiver(self, settings: Any, context: Any) -> Receiver:
        return _Walk(self)


class _Walk(Receiver):
    def __init__(self, tortoise: Tortoise) -> None:
        self._tortoise = tortoise

    def fetch(self, cursor: str | None, *, limits: Any, wanted: Any) -> Iterator[Fetched]:
        refs = [str(number) for number in range(MESSAGES)]
        wanted([Listed(ref) for ref in refs])
        for ref in refs:
            self._tortoise.now += self._tortoise.pace
            self._tortoise.stored.append(Receipt.select().count())
            yield Fetched(ref, f"Subject: {ref}\r\nMessage-ID: <{ref}@a.example>\r\n\r\n".encode())

    def list_refs(self) -> Any:
        raise NotImplementedError

    def settle(self, refs: Any, disposition: Any) -> Any:
        raise NotImplementedError

    def check(self) -> Any:
        raise NotImplementedError

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


def _walk(pace: float, monkeypatch: pytest.MonkeyPatch) -> Tortoise:
    tortoise = Tortoise(pace)
    monkeypatch.setattr(intake, "monotonic", lambda: tortoise.now)
    lease = NoLease(mailboxes.add("info@example.org").id)
    entrance = Entrance("-", acknowledges=False, transport=tortoise)
    tally = intake.Retrieval(lease, FakePlugins([tortoise]), entrance=entrance).run()
    assert tally.complete
    assert Receipt.select().count() == MESSAGES
    return tortoise


@pytest.mark.parametrize("pace", [0.5, 1.0, 5.0])
def test_a_slow_server_s_mail_is_committed_within_seconds(
    pace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a runner is killed: what it does in some seconds, it has done."""
    tortoise = _walk(pace, monkeypatch)

    longest = 3 * intake.BATCH_SECONDS + pace
    waiting = [number - stored for number, stored in enumerate(tortoise.stored)]
    assert max(waiting) * pace <= longest


def test_a_fast_server_s_mail_is_committed_in_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    tortoise = _walk(0.001, monkeypatch)

    assert set(tortoise.stored) == {0}


class Tray(Transport):
    """Hands out files; its temporary folder takes only so many at a time."""

    name = "tray"
    title = "Tray"
    capabilities = Capability.NONE

    def __init__(self, room: int) -> None:
        self.room, self.most = room, 0
        self.files: list[Spool] = []

    def receiver_settings(self) -> type[PigeonSettings]:
        return PigeonSettings

    def open_receiver(self, settings: Any, context: Any) -> Receiver:
        return _Carried(self)

    def put(self, raw: bytes) -> Spool:
        self.files = [file for file in self.files if not file._file.closed]
        if len(self.files) >= self.room:
            raise SpoolError("The temporary folder is full.")
        spool = Spool()
        spool.write(raw)
        self.files.append(spool)
        self.most = max(self.most, len(self.files))
        return spool


class _Carried(_Walk):
    def __init__(self, tray: Tray) -> None:
        self._tray = tray

    def fetch(self, cursor: str | None, *, limits: Any, wanted: Any) -> Iterator[Fetched]:
        listed = [Listed(str(number)) for number in range(MESSAGES)]
        chosen = wanted(listed)
        for ref in [item.ref for item in listed if item.ref in chosen]:
            raw = f"Subject: {ref}\r\nMessage-ID: <{ref}@a.example>\r\n\r\n".encode()
            yield Fetched(ref, self._tray.put(raw))


def _carry(tray: Tray, lease: NoLease, understanding: Understanding = IN_PLACE) -> None:
    entrance = Entrance("-", acknowledges=False, transport=tray)
    plugins = FakePlugins([tray])
    intake.Retrieval(lease, plugins, understanding=understanding, entrance=entrance).run()


def test_few_files_are_open_at_a_time_however_small_they_are() -> None:
    tray = Tray(MESSAGES)

    _carry(tray, NoLease(mailboxes.add("info@example.org").id))

    assert Receipt.select().count() == MESSAGES
    assert tray.most <= (intake.BATCHES_AHEAD + 1) * intake.BATCH_BYTES // intake.SPOOL_BYTES


def test_what_was_made_of_a_batch_is_let_go_without_a_search_for_garbage() -> None:
    tray = Tray(MESSAGES)
    lease = NoLease(mailboxes.add("info@example.org").id)
    gc.collect()
    gc.disable()
    try:
        _carry(tray, lease)
        left = [one for one in gc.get_objects() if isinstance(one, Conversations | Incoming)]
    finally:
        gc.enable()

    assert Receipt.select().count() == MESSAGES
    assert left == []


def test_large_messages_wait_only_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    tray = Tray(MESSAGES)
    monkeypatch.setattr(intake, "AHEAD_BYTES", 0)
    monkeypatch.setattr(intake, "BATCH_BYTES", 1)  # each is a batch

    _carry(tray, NoLease(mailboxes.add("info@example.org").id))

    assert Receipt.select().count() == MESSAGES
    assert tray.most == 2  # one is understood, the next one is fetched


def test_what_came_before_the_temporary_folder_was_full_is_stored() -> None:
    """Else it would be as full at the next visit, for ever."""
    tray = Tray(room=3)
    lease = NoLease(mailboxes.add("info@example.org").id)

    for visit in range(1, 4):
        with pytest.raises(DiskFullError):
            _carry(tray, lease)

        assert Receipt.select().count() == 3 * visit


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EACCES, "set TMPDIR"),
    ],
)
def test_what_is_wrong_with_the_temporary_folder_decides_what_to_do(
    number: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)

    with pytest.raises(DiskFullError, match=os.strerror(number)) as raised:
        _carry(Tray(MESSAGES), NoLease(mailboxes.add("info@example.org").id))

    assert step in raised.value.next_step


@contextmanager
def _understanding(is_beside: bool) -> Iterator[Understanding]:
    pool = Pool(1)
    try:
        yield pool if is_beside else IN_PLACE
    finally:
        pool.close()


@pytest.mark.parametrize("is_beside", [False, True], ids=["in place", "beside"])
def test_a_temporary_folder_that_loses_bytes_loses_no_mail(
    is_beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is retrieved again, and no plugin is blamed."""
    tray = Tray(MESSAGES)
    lease = NoLease(mailboxes.add("info@example.org").id)
    put = tray.put

    def put_in_vain(raw: bytes) -> Spool:
        spool = put(raw)
        os.ftruncate(spool.fileno(), 10)
        return spool

    with monkeypatch.context() as broken, _understanding(is_beside) as understanding:
        broken.setattr(tray, "put", put_in_vain)
        with pytest.raises(DiskFullError, match="does not give a large message back"):
            _carry(tray, lease, understanding)

    for file in tray.files:
        file.close()
    assert Receipt.select().count() == 0
    with _understanding(is_beside) as understanding:
        _carry(tray, lease, understanding)
    assert {one.outcome for one in Receipt.select()} == {"stored"}
    assert Receipt.select().count() == MESSAGES


def test_all_is_listed_again_for_what_could_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor may be behind it."""
    cursors, fetch = [], ShelfReceiver.fetch

    def noting(receiver: ShelfReceiver, cursor: str | None, **more: Any) -> Iterator[Delivery]:
        cursors.append(cursor)
        return fetch(receiver, cursor, **more)

    monkeypatch.setattr(ShelfReceiver, "fetch", noting)
    with shelves.shelf_mailbox() as (shelf, runner):
        [ref] = shelf.put(mail("a"))
        shelf.unreadable[ref] = TransientError(codes.PROTOCOL, "It cannot be read.")
        shelves.visit(runner)
        shelves.visit(runner)
        shelf.unreadable.clear()
        Receipt.update(next_try_at=0).execute()

        shelves.visit(runner)

    assert cursors == [None, "1", None]
    assert [one.outcome for one in Receipt.select().where(Receipt.gone_at.is_null())] == ["stored"]


def test_a_listing_that_ends_in_a_missing_folder_closes_no_receipt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it did not show may be in that folder."""
    monkeypatch.setattr(ShelfReceiver, "fetch", _without_a_folder(ShelfReceiver.fetch))
    with shelves.shelf_mailbox() as (shelf, runner):
        shelf.put(mail("a"), mail("b"))
        shelves.visit(runner)
        shelf.items.popitem()
        Mailbox.update(cursor=None).execute()

        shelves.visit(runner)

    assert Trouble.get().code == "FOLDER-MISSING"
    assert Receipt.select().where(Receipt.gone_at.is_null()).count() == 2


def _without_a_folder(fetch: Any) -> Any:
    def fetching(*arguments: Any, **more: Any) -> Iterator[Delivery]:
        yield from fetch(*arguments, **more)
        raise SettingsError(codes.FOLDER_MISSING, "There is no folder Archive.")

    return fetching


def test_without_dates_what_the_first_listing_held_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def deliver(_: ShelfReceiver, item: Item, limits: Limits) -> Delivery:
        return Fetched(item.ref, item.raw)

    monkeypatch.setattr(ShelfReceiver, "_deliver", deliver)
    with shelves.shelf_mailbox(start="now", start_at=datetime.now(UTC)) as (shelf, runner):
        shelf.has_dates = False
        shelf.put(mail("a"))
        shelves.visit(runner)
        shelf.put(mail("b"))
        shelves.visit(runner)

    outcomes = [(one.outcome, one.reason) for one in Receipt.select().order_by(Receipt.id)]
    assert outcomes == [("ignored", "before-start"), ("stored", None)]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one after the other"])
def test_a_duplicate_s_bytes_are_kept_where_they_are_others(at_once: bool) -> None:
    with shelves.shelf_mailbox() as (shelf, runner):
        for raw in (mail("a"), mail("a"), b"Received: by another.example\r\n" + mail("a")):
            shelf.put(raw)
            if not at_once:
                shelves.visit(runner)
        shelves.visit(runner)

    receipts = [(one.outcome, one.raw_id is not None) for one in Receipt.select()]
    assert sorted(receipts) == [("duplicate", False), ("duplicate", True), ("stored", True)]


@pytest.mark.parametrize("has_date", [True, False])
def test_mail_of_which_nobody_knows_when_it_came_is_not_acknowledged(
    has_date: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have come before the mailbox was watched."""

    def deliver(_: ShelfReceiver, item: Item, limits: Limits) -> Delivery:
        return Fetched(item.ref, item.raw, item.received_at if has_date else None)

    monkeypatch.setattr(ShelfReceiver, "_deliver", deliver)
    with shelves.shelf_mailbox(acknowledge=True) as (shelf, runner):
        shelf.has_dates = has_date
        shelf.put(mail("a"))
        shelves.visit(runner)

    assert Outbox.select().count() == has_date


def test_what_turns_out_to_be_old_stays_as_it_is_on_the_server() -> None:
    """Also where the server tells its date only with the message."""
    begin = datetime.now(UTC)
    with shelves.shelf_mailbox(start_at=begin, disposition="delete") as (shelf, runner):
        shelf.has_dates = False
        shelf.put(mail("a"), received_at=begin - timedelta(days=1))
        shelves.visit(runner)

    assert (Receipt.get().reason, len(shelf.items)) == ("before-start", 1)
