"""Workers that understand messages beside the runner, on other cores.

A batch that takes too long, or makes a worker die, is understood again message by message, so that
only the one that does it is set aside. Large messages are handed over as the files that they are.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from postroom.api.transport import Spool
from postroom.api.verdict import MailboxView
from postroom.intake.understanding.processes import Worker, start
from postroom.intake.understanding.understood import (
    NotUnderstoodError,
    Pending,
    Raws,
    Result,
    Understanding,
    Understood,
    understand_one,
)

if TYPE_CHECKING:
    from postroom.plugins import Plugins

logger = logging.getLogger(__name__)

MESSAGE_SECONDS = 30.0
"""So long one message may take."""
BATCH_SECONDS = 120.0
COMMAND = (sys.executable, "-P", "-m", "postroom.intake.understanding.worker")
"""Without the folder that the runner was started in: a module there is none of ours."""
FEW = 100
"""So many messages are left to one worker: starting another takes as long as they do."""
IDLE_SECONDS = 120.0
"""A worker without work ends after that time, and is started again when there is some."""


@dataclass(slots=True)
class _Job:
    batch: Raws
    view: MailboxView | None = None
    done: Future[Result] = field(default_factory=Future)


class Pool:
    """A number of workers, started when there is work. Thread-safe.

    :param count: how many; by default one for each core, four at most
    :param command: what a worker is started with
    :param message_seconds: how long one message may take
    """

    def __init__(
        self,
        count: int | None = None,
        *,
        command: Sequence[str] = COMMAND,
        batch_seconds: float = BATCH_SECONDS,
        message_seconds: float = MESSAGE_SECONDS,
    ) -> None:
        self._command = command
        self._batch_seconds = batch_seconds
        self._message_seconds = message_seconds
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._count = count or max(1, min(4, os.cpu_count() or 2))
        self._threads: list[threading.Thread] = []
        self._workers: set[Worker] = set()
        self._unused: list[Worker] = []
        """Those of `_workers` that were started together with another and have no thread yet."""
        self._wanted = 1
        self._is_closed = False
        self._lock = threading.Lock()
        self._one_starts = threading.Lock()
        """One after the other: starting takes a core, and the runner, starting too, needs one."""

    def expect(self, messages: float = inf) -> None:
        """Have workers started before the first batch is there, which saves the time it takes."""
        self._start()
        self._wanted = self._count if messages > FEW else 1
        for _ in range(self._wanted):
            self._jobs.put(_Job([]))

    def understand(self, batch: Raws, view: MailboxView | None = None) -> Pending:
        """Begin to understand a batch, and to classify it where there is a view of its mailbox."""
        job = _Job(batch, view)
        if batch:
            self._start()
            self._jobs.put(job)
        else:  # a look that finds nothing new starts no process
            job.done.set_result([])
        return job.done

    def close(self) -> None:
        """End the workers, also in the middle of a batch: by now nobody waits for what they do."""
        self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        with self._lock:
            for worker in sorted(self._workers, key=lambda worker: not worker.is_forked):
                worker.kill()
        for thread in self._threads:
            thread.join(timeout=1)
        self._end_unused()

    def _start(self) -> None:
        with self._lock:
            if not self._threads:
                for number in range(self._count):
                    thread = threading.Thread(
                        target=self._serve, name=f"understanding-{number}", daemon=True
                    )
                    thread.start()
                    self._threads.append(thread)

    def _serve(self) -> None:
        """One worker's conversation: a batch out, its result in."""
        worker: Worker | None = None
        try:
            while True:
                try:
                    job = self._jobs.get(timeout=IDLE_SECONDS)
                except queue.Empty:
                    self._end(worker)
                    self._end_unused()
                    worker = None
                    continue
                if job is None or self._is_closed:
                    return
                worker = self._do(job, worker)
        finally:
            self._end(worker)

    def _do(self, job: _Job, worker: Worker | None) -> Worker | None:
        if worker is not None and worker.has_ended():  # somebody ended it, for want of memory, say
            self._end(worker)
            worker = None
        try:
            worker = worker or self._begin()
            job.done.set_result(worker.understand(job.batch, job.view, self._batch_seconds))
            return worker
        except Exception as error:
            self._end(worker)
            if self._is_closed:
                return None
            logger.warning("A batch is understood message by message: %s", error)
        results = self._one_by_one(job)
        if not self._is_closed:  # else it is no message's fault that it was not understood
            job.done.set_result(results)
        return None

    def _one_by_one(self, job: _Job) -> Result:
        """Understand each message in bounded time, in a worker that survived those before it:
        to start one for each takes a minute for a full batch."""
        results: Result = []
        worker: Worker | None = None
        try:
            for raw in job.batch:
                if self._is_closed:
                    break
                worker = worker or self._begin()
                try:
                    results += worker.understand([raw], job.view, self._message_seconds)
                except RuntimeError as error:  # no thread for its clock: not the message's fault
                    raise OSError(str(error)) from error
                except Exception as error:  # it died or was killed: this is the one
                    results.append(NotUnderstoodError(str(error)))
                    self._end(worker)
                    worker = None
        except OSError as error:  # no worker can be started: done in place, mail comes first
            logger.error("No process can be started to understand messages in: %s", error)
            results += [understand_one(raw) for raw in job.batch[len(results) :]]
        finally:
            self._end(worker)
        return results

    def _begin(self) -> Worker:
        with self._one_starts:
            with self._lock:
                if self._unused:
                    return self._unused.pop()
                missing = self._wanted - len(self._workers)
            worker, *others = start(self._command, max(1, missing))
            with self._lock:
                self._workers.update((worker, *others))
                self._unused += others
        return worker

    def _end_unused(self) -> None:
        with self._lock:
            workers, self._unused = self._unused, []
        for worker in workers:
            self._end(worker)

    def _end(self, worker: Worker | None) -> None:
        if worker is not None:
            with self._lock:
                self._workers.discard(worker)
            worker.end()


def in_workers(plugins: Plugins, pool: Pool) -> Understanding:
    """Return the pool, which also gives what is in attachments where a plugin from elsewhere
    classifies."""
    return _Whole(pool) if plugins.classifies_elsewhere() else pool


class _Whole:
    """Understands messages in workers, which keep the contents of attachments to themselves; so
    messages with some are read again in place, where by then they are known to do no harm."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.expect = pool.expect

    def understand(
        self,
        batch: Raws,
        view: MailboxView | None = None,  # noqa: ARG002 - classifying is left to who asks
    ) -> Pending:
        """See `Understanding`."""
        return _WholePending(batch, self._pool.understand(batch))


@dataclass(frozen=True, slots=True)
class _WholePending:
    batch: Raws
    understood: Pending

    def done(self) -> bool:
        return self.understood.done()

    def result(self) -> Result:
        return [*map(_whole, self.batch, self.understood.result())]


def _whole(raw: bytes | Spool, result: Understood | Exception) -> Understood | Exception:
    if isinstance(result, Exception) or not result.parsed.attachments:
        return result
    return understand_one(raw)
