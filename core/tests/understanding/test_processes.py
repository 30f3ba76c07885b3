"""Workers that are started together: one process, which forks the others."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from postroom.api.transport import Spool
from postroom.intake.understanding.pool import COMMAND, FEW, Pool
from postroom.intake.understanding.processes import Worker, _Line, start
from postroom.intake.understanding.understood import Understood

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no pidfd")

MAIL = b"From: ann@customer.example\r\nSubject: Brake %d\r\n\r\nIt squeals."
TELLS = """
import os
from dataclasses import replace
from postroom.intake.understanding import understood, worker
honest = understood.understand_all
def understand(batch, *how):
    batch = list(batch)
    if b"HANG" in batch: os.kill(os.getpid(), 19)
    return [replace(one, fingerprint=str(os.getpid())) for one in honest(batch, *how)]
worker.understand_all = understand
{}
worker.main()
"""
TELLING = [sys.executable, "-c", TELLS.format("")]
CANNOT_FORK = """
def refuse():
    raise OSError("no more processes")
os.fork = refuse
"""


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    started = start(TELLING, 3)
    yield started
    for worker in started:
        worker.end()


def _who(worker: Worker) -> int:
    (result,) = worker.understand([MAIL % 1], None, 30)
    assert isinstance(result, Understood)
    return int(result.fingerprint)


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_each_is_a_process_of_its_own(workers: list[Worker]) -> None:
    pids = [*map(_who, workers)]

    assert len(set(pids)) == 3
    assert os.getpid() not in pids


def test_those_that_were_forked_take_large_messages(workers: list[Worker]) -> None:
    spool = Spool()
    spool.write(MAIL % 7)

    _, second, _ = workers
    (result,) = second.understand([spool], None, 30)

    assert isinstance(result, Understood)
    assert result.parsed.subject == "Brake 7"
    spool.close()


def test_the_first_may_end_before_the_others(workers: list[Worker]) -> None:
    first, second, third = workers
    pids = [*map(_who, workers)]

    first.kill()
    os.waitpid(pids[0], 0)

    assert first.has_ended()
    assert not second.has_ended()
    assert [_who(second), _who(third)] == pids[1:]


def test_one_that_was_killed_is_known_to_have_ended_and_harms_no_other(
    workers: list[Worker],
) -> None:
    first, second, third = workers
    pids = [*map(_who, workers)]

    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises((EOFError, OSError)):
        second.understand([MAIL % 2], None, 30)

    assert [_who(first), _who(third)] == [pids[0], pids[2]]


def test_one_that_hangs_is_killed_after_its_time(workers: list[Worker]) -> None:
    """Stopped, it takes no other signal than the one that cannot be refused."""
    _, second, _ = workers

    with pytest.raises((EOFError, OSError)):
        second.understand([b"HANG"], None, 0.5)

    second.end()
    workers.remove(second)


def test_when_they_are_ended_none_is_left() -> None:
    workers = start(TELLING, 3)
    pids = [*map(_who, workers)]

    for worker in reversed(workers):
        worker.end()

    assert not any(map(_exists, pids))


def test_none_outlives_the_runner() -> None:
    """What led to them closes with it, also when there is no time to end anything."""
    workers = start(TELLING, 2)
    pids = [*map(_who, workers)]
    handles = [os.pidfd_open(pid) for pid in pids]

    for worker in workers:
        worker._line.close()

    for handle, worker in zip(handles, workers, strict=True):
        worker._process.wait()
        os.close(handle)


def test_a_runner_that_was_stopped_while_they_start_sees_no_traceback() -> None:
    line, other = _Line(), _Line()
    numbers = [*line.theirs, *other.theirs]
    arguments = [",".join(map(str, one.theirs)) for one in (line, other)]
    process = subprocess.Popen([*COMMAND, *arguments], pass_fds=numbers, stderr=subprocess.PIPE)
    line.close()
    other.close()

    _, told = process.communicate(timeout=60)

    assert told == b""


def test_where_no_process_can_be_forked_there_is_one() -> None:
    (worker,) = start([sys.executable, "-c", TELLS.format(CANNOT_FORK)], 3)

    assert _who(worker)
    worker.end()


def _forbidden(*_: object) -> int:
    raise PermissionError(errno.EPERM, "the sandbox forbids it")


@pytest.mark.parametrize(("module", "name"), [(os, "pidfd_open"), (signal, "pidfd_send_signal")])
def test_where_forked_processes_cannot_be_held_on_to_there_is_one(
    module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, _forbidden)

    (worker,) = start(COMMAND, 3)

    worker.end()


def test_no_file_is_left_open_where_none_can_be_started() -> None:
    before = os.listdir("/proc/self/fd")

    with pytest.raises(OSError, match="does not start"):
        start([sys.executable, "-c", "1/0"], 3)
    with pytest.raises(FileNotFoundError):
        start(["/does/not/exist"], 3)

    assert os.listdir("/proc/self/fd") == before


def test_a_pool_that_expects_much_starts_its_workers_together_and_ends_all() -> None:
    before = os.listdir("/proc/self/fd")
    pool = Pool(3, command=TELLING)
    pool.expect(FEW + 1)
    waiting = [pool.understand([MAIL % n]) for n in range(30)]

    results = [one for pending in waiting for one in pending.result()]
    pids = {int(one.fingerprint) for one in results if isinstance(one, Understood)}
    ours = {pid for pid in pids if _parent(pid) == os.getpid()}
    pool.close()

    assert len(results) == 30
    assert len(ours) <= 1
    assert not any(map(_exists, pids))
    assert os.listdir("/proc/self/fd") == before


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_no_file_is_left_open_where_there_are_not_enough_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many open files")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(socket, "socketpair", exhausted)

    with pytest.raises(OSError, match="too many"):
        start(COMMAND, 3)

    assert os.listdir("/proc/self/fd") == before
