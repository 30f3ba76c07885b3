"""Understanding in a process beside: the same result, and a poisonous message harms only itself."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from postroom.api.transport import Spool
from postroom.api.verdict import FilterRule, MailboxView, Verdict
from postroom.intake.understanding import pool as pool_module
from postroom.intake.understanding.pool import COMMAND, Pool, in_workers
from postroom.intake.understanding.processes import Worker, start
from postroom.intake.understanding.understood import Understood, understand_one
from postroom.mail import parse
from postroom.mail.identity import fingerprint
from postroom.store.packing import unpack
from postroom_test_servers.pigeon import FakePlugins

MAIL = (
    b"Received: from a by b; Tue, 03 Mar 2026 09:20:00 +0100\r\nFrom: Ann =?utf-8?q?R=C3=A9d?= "
    b"<ann@customer.example>\r\nTo: info@desk.example, bo@desk.example\r\nSubject: Brake %d\r\n"
    b"Date: Tue, 03 Mar 2026 09:15:00 +0100\r\nMessage-ID: <m%d@customer.example>\r\n"
    b"References: <a@b> <c@d>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n'
    b"It squeals.\r\n\r\n> When?\r\n--x\r\nContent-Type: application/pdf\r\n"
    b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\n%%PDF\r\n--x--\r\n'
)

POISONED = """
import os, time
from postroom.intake.understanding import understood, worker
honest = understood.understand_all
def understand(batch, *how):
    batch = list(batch)
    for raw in batch:
        text = raw if isinstance(raw, bytes) else os.pread(raw.fileno(), len(raw), 0)
        if b"CRASH" in text: os._exit(1)
        if b"HANG" in text: time.sleep(60)
    return honest(batch, *how)
worker.understand_all = understand
worker.main()
"""

FILTERS_BROKEN = """
from postroom.builtin import filters
from postroom.intake.understanding import worker
def classify(message, mailbox):
    raise KeyError("a bug")
filters.postroom_classify = classify
worker.main()
"""
GROUP = """
import os
from dataclasses import replace
from postroom.intake.understanding import understood, worker
honest = understood.understand_all
def understand(batch, *how):
    return [replace(one, fingerprint=str(os.getpgrp())) for one in honest(batch, *how)]
worker.understand_all = understand
worker.main()
"""
ENDS_SOON = """worker.LONGEST_SECONDS = 0.1
worker.main"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(1)
    yield pool
    pool.close()


def _same(one: Understood | Exception, other: Understood | Exception) -> bool:
    assert isinstance(one, Understood)
    assert isinstance(other, Understood)
    return (
        one.fingerprint == other.fingerprint
        and (one.packed.size, one.packed.sha256) == (other.packed.size, other.packed.sha256)
        and list(one.packed.chunks) == list(other.packed.chunks)
        and [(a.filename, a.sha256, a.size) for a in one.parsed.attachments]
        == [(a.filename, a.sha256, a.size) for a in other.parsed.attachments]
        and all(
            getattr(one.parsed, name) == getattr(other.parsed, name)
            for name in one.parsed.__dataclass_fields__
            if name != "attachments"
        )
    )


def _spooled(raw: bytes) -> Spool:
    spool = Spool()
    spool.write(raw)
    return spool


def test_a_worker_understands_what_this_process_understands(pool: Pool) -> None:
    batch = [MAIL % (n, n) for n in range(20)] + [b"", b"\x00\xff\xfe not a mail", b"\r\n" * 100]

    result = pool.understand(batch).result()

    assert all(_same(a, understand_one(raw)) for a, raw in zip(result, batch, strict=True))


def test_large_messages_are_understood_in_their_place_among_others(pool: Pool) -> None:
    spool = _spooled(MAIL % (7, 7))

    first, middle, last = pool.understand([MAIL % (1, 1), spool, MAIL % (2, 2)]).result()

    subjects = [r.parsed.subject for r in (first, middle, last) if isinstance(r, Understood)]
    assert subjects == ["Brake 1", "Brake 7", "Brake 2"]
    spool.close()


def test_a_large_message_comes_to_the_same_as_its_bytes(pool: Pool) -> None:
    raw = MAIL.replace(b"%%PDF", b"%%PDF" * 1_000_000) % (7, 7)
    spool = _spooled(raw)

    (result,) = pool.understand([spool]).result()

    assert _same(result, understand_one(spool))
    assert isinstance(result, Understood)
    assert (result.packed.size, result.packed.sha256) == (len(raw), sha256(raw).hexdigest())
    assert result.packed.behind  # it was packed there
    assert b"".join(map(unpack, result.packed.chunks)) == raw
    spool.close()


def test_what_a_disk_lost_is_not_taken_for_the_message(pool: Pool) -> None:
    spool = _spooled(MAIL % (7, 7))
    os.ftruncate(spool.fileno(), 100)

    (result,) = pool.understand([spool]).result()

    assert isinstance(result, Exception)
    spool.close()


def test_a_file_without_a_byte_is_an_empty_message(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool()

    empty, other = pool.understand([spool, MAIL % (1, 1)]).result()

    for result in (empty, understand_one(spool)):
        assert isinstance(result, Understood)
        assert result.parsed == parse(b"")
        assert result.fingerprint == fingerprint(b"")
    assert _same(other, understand_one(MAIL % (1, 1)))
    assert caplog.records == []  # no worker died of it
    spool.close()


@pytest.mark.parametrize("is_large", [False, True], ids=["", "large"])
@pytest.mark.parametrize("poison", [b"CRASH", b"HANG"], ids=["crashes", "hangs"])
def test_a_message_that_makes_the_parser_fail_is_the_only_one_set_aside(
    poison: bytes, is_large: bool
) -> None:
    pool = Pool(1, command=[sys.executable, "-c", POISONED], batch_seconds=2, message_seconds=2)
    bad_one = MAIL % (2, 2) + poison
    spool = _spooled(bad_one)
    try:
        good, bad, other = pool.understand(
            [MAIL % (1, 1), spool if is_large else bad_one, MAIL % (3, 3)]
        ).result()
    finally:
        pool.close()
        spool.close()

    assert isinstance(bad, Exception)
    assert _same(good, understand_one(MAIL % (1, 1)))
    assert _same(other, understand_one(MAIL % (3, 3)))


def test_after_one_that_was_the_end_of_a_worker_the_others_share_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Starting a worker takes as long as understanding some hundred messages."""
    started: list[Worker] = []

    def counted(command: list[str], count: int) -> list[Worker]:
        workers = start(command, count)
        started.extend(workers)
        return workers

    monkeypatch.setattr(pool_module, "start", counted)
    batch = [MAIL % (n, n) for n in range(8)]
    batch[2] += b"CRASH"
    pool = Pool(1, command=[sys.executable, "-c", POISONED])
    try:
        results = pool.understand(batch).result()
    finally:
        pool.close()

    assert [isinstance(one, Understood) for one in results] == [n != 2 for n in range(8)]
    assert len(started) == 3  # for the batch, for those up to the bad one, for the others


def test_a_system_without_a_thread_to_spare_sets_no_message_aside(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = threading.Timer

    def exhausted(seconds: float, kill: Callable[[], None]) -> threading.Timer:
        if seconds == 7:
            raise RuntimeError("can't start new thread")
        return real(seconds, kill)

    monkeypatch.setattr(threading, "Timer", exhausted)
    pool = Pool(1, command=[sys.executable, "-c", POISONED], message_seconds=7)
    try:
        results = pool.understand([MAIL % (1, 1) + b"CRASH", MAIL % (2, 2)]).result()
    finally:
        pool.close()

    assert [type(one) for one in results] == [Understood] * 2
    assert "can't start new thread" in caplog.text


def test_messages_are_classified_where_they_are_understood(pool: Pool) -> None:
    rule = FilterRule("squeals", "body", "squeals", topic="Brakes")
    view = MailboxView("info@desk.example", "", "", frozenset(), filters=(rule,))

    spool = _spooled(MAIL % (2, 2))

    small, large = pool.understand([MAIL % (1, 1), spool], view).result()
    spool.close()

    for result in (small, large):
        assert isinstance(result, Understood)
        assert result.classified == (Verdict(topic="Brakes", because="squeals"), [])
        assert result.parsed.header("content-type") == 'multipart/mixed; boundary="x"'


def test_without_a_view_nothing_is_classified_and_all_headers_come(pool: Pool) -> None:
    (result,) = pool.understand([MAIL % (1, 1)]).result()

    assert isinstance(result, Understood)
    assert result.classified is None
    assert result.parsed.header("references") == "<a@b> <c@d>"


def test_what_a_worker_logs_is_logged_by_the_runner(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    rule = FilterRule("bad", "body", "(", topic="Brakes")
    view = MailboxView("info@desk.example", "", "", frozenset(), filters=(rule,))

    pool.understand([MAIL % (1, 1)], view).result()

    (record,) = caplog.records
    assert record.name == "postroom.builtin.filters"
    assert "The filter bad is no pattern" in record.getMessage()


def test_a_bug_of_what_is_built_in_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    view = MailboxView("info@desk.example", "", "", frozenset())
    pool = Pool(1, command=[sys.executable, "-c", FILTERS_BROKEN])
    try:
        (result,) = pool.understand([MAIL % (1, 1)], view).result()
    finally:
        pool.close()

    assert isinstance(result, Understood)
    assert result.classified == (Verdict(), ["The plugin filters failed on a message: KeyError."])
    (record,) = caplog.records
    assert vars(record)["plugin"] == "filters"
    assert "KeyError: 'a bug'" in record.getMessage()


def test_a_worker_that_was_killed_while_it_waited_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = Pool(1)
    try:
        pool.understand([MAIL % (1, 1)]).result()
        (worker,) = pool._workers
        worker._process.kill()
        worker._process.wait()
        results = pool.understand([MAIL % (n, n) for n in range(3)]).result()
    finally:
        pool.close()

    assert [type(result) for result in results] == [Understood] * 3
    assert caplog.records == []  # no batch had to be done message by message


@pytest.mark.parametrize(
    "command", [["/does/not/exist"], [sys.executable, "-c", "1/0"]], ids=["missing", "broken"]
)
def test_without_any_worker_it_is_done_in_place(command: list[str]) -> None:
    pool = Pool(1, command=command)
    try:
        (result,) = pool.understand([MAIL % (1, 1)]).result()
    finally:
        pool.close()

    assert _same(result, understand_one(MAIL % (1, 1)))


def test_what_was_understood_already_is_not_done_in_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no more processes can be started, least of all what made one die."""
    starts = iter([start] * 2)

    def start_twice(command: list[str], count: int) -> list[Worker]:
        try:
            return next(starts)(command, count)
        except StopIteration:
            raise OSError("no more processes") from None

    monkeypatch.setattr(pool_module, "start", start_twice)
    pool = Pool(1, command=[sys.executable, "-c", POISONED])
    try:
        bad, other = pool.understand([MAIL % (1, 1) + b"CRASH", MAIL % (2, 2)]).result()
    finally:
        pool.close()

    assert isinstance(bad, Exception)
    assert _same(other, understand_one(MAIL % (2, 2)))
    assert "No process can be started" in caplog.text


def test_a_pool_is_closed_at_once_although_a_worker_hangs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    hangs = f"open({str(begun)!r}, 'w').close(), time.sleep(60)"
    tells = POISONED.replace("time.sleep(60)", hangs)
    before = set(threading.enumerate())
    pool = Pool(1, command=[sys.executable, "-c", tells])
    result = pool.understand([MAIL % (1, 1) + b"HANG"])
    begun.read_text()  # it hangs now

    pool.close()

    assert set(threading.enumerate()) <= before
    assert caplog.records == []
    assert not result.done()  # nothing that the message would be set aside for


@pytest.mark.parametrize("is_large", [False, True], ids=["", "large"])
def test_a_plugin_that_classifies_gets_all_and_poison_still_harms_only_itself(
    is_large: bool,
) -> None:
    class Sorting(FakePlugins):
        def classifies_elsewhere(self) -> bool:
            return True

    pool = Pool(1, command=[sys.executable, "-c", POISONED], batch_seconds=2, message_seconds=2)
    raws = [MAIL % (1, 1), MAIL % (2, 2) + b"HANG", b"From: a@b.example\r\nX-A: b\r\n\r\nx"]
    batch = [_spooled(raw) if is_large else raw for raw in raws]
    view = MailboxView("info@desk.example", "", "", frozenset())
    try:
        first, bad, last = in_workers(Sorting(), pool).understand(batch, view).result()
    finally:
        pool.close()

    assert isinstance(bad, Exception)
    for result, raw in ((first, raws[0]), (last, raws[2])):
        assert isinstance(result, Understood)
        assert result.parsed == parse(raw)  # with headers, and what is in attachments
        assert result.classified is None
    for raw in batch:
        if isinstance(raw, Spool):
            raw.close()


def test_the_worker_is_this_program() -> None:
    assert COMMAND[0] == sys.executable


def test_modules_in_the_folder_that_the_runner_was_started_in_are_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zstandard.py").write_text("raise SystemExit('a stranger was loaded')")
    monkeypatch.chdir(tmp_path)

    [worker] = start(COMMAND)  # raises where it does not start

    worker.end()


def test_a_key_pressed_at_the_terminal_does_not_reach_a_worker() -> None:
    command = [sys.executable, "-c", GROUP]
    [worker] = start(command)
    try:
        (result,) = worker.understand([b"Subject: x\r\n\r\n"], None, 30)
    finally:
        worker.end()

    assert isinstance(result, Understood)
    assert result.fingerprint != str(os.getpgrp())


def test_a_worker_that_hangs_ends_also_when_nobody_is_there_to_kill_it() -> None:
    [worker] = start([sys.executable, "-c", POISONED.replace("worker.main", ENDS_SOON)])
    try:
        with pytest.raises(EOFError):
            worker.understand([b"HANG"], None, 120)
    finally:
        worker.end()


def test_a_worker_starts_where_a_pipe_cannot_be_made_larger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "the user's pipes have all the pages they may")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "fcntl", refuse)

    start(COMMAND)[0].end()
