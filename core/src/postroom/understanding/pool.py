"""Workers that understand messages beside the runner, on other cores.

A batch that takes too long, or makes a worker die, is understood again message by message, so that
only the one that does it is set aside.
"""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from postroom.api.transport import Spool
from postroom.understanding.understood import NotUnderstoodError, Result, understand_one

logger = logging.getLogger(__name__)

MESSAGE_SECONDS = 30.0
"""So long one message may take."""
BATCH_SECONDS = 120.0
START_SECONDS = 60.0
"""So long a worker may take to start: on a busy machine that is no message's fault."""
COMMAND = (sys.executable, "-m", "postroom.understanding.worker")
IDLE_SECONDS = 120.0
"""A worker without work ends after that time, and is started again when there is some."""


@dataclass(slots=True)
class _Job:
    batch: list[bytes]
    done: Future[Result] = field(default_factory=Future)


class Pool:
    """A number of workers, started when there is work. Thread-safe.

    :param count: how many; by default one for each other core, four at most
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
        self._count = count or max(1, min(4, (os.cpu_count() or 2) - 1))
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Have a worker started before the first batch is there, which saves the time it takes."""
        self._start()
        self._jobs.put(_Job([]))

    def understand(self, batch: Sequence[bytes | Spool]) -> Callable[[], Result]:
        """Begin to understand a batch; large messages, which are on disk, are done in place."""
        job = _Job([raw for raw in batch if isinstance(raw, bytes)])
        if not job.batch:  # a look that finds nothing new starts no process
            return lambda: [understand_one(raw) for raw in batch]
        self._start()
        self._jobs.put(job)

        def result() -> Result:
            small = iter(job.done.result())
            return [next(small) if isinstance(raw, bytes) else understand_one(raw) for raw in batch]

        return result

    def close(self) -> None:
        """End the workers."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=5)

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
                    _end(worker)
                    worker = None
                    continue
                if job is None:
                    return
                worker = self._do(job, worker)
        finally:
            _end(worker)

    def _do(self, job: _Job, worker: Worker | None) -> Worker | None:
        try:
            worker = worker or Worker(self._command)
            job.done.set_result(worker.understand(job.batch, self._batch_seconds))
            return worker
        except Exception as error:
            logger.warning("A batch is understood message by message: %s", error)
            _end(worker)
        try:
            job.done.set_result([result for raw in job.batch for result in self._alone(raw)])
        except OSError as error:  # no worker can be started: done in place, mail comes first
            logger.error("No process can be started to understand messages in: %s", error)
            job.done.set_result([understand_one(raw) for raw in job.batch])
        return None

    def _alone(self, raw: bytes) -> Result:
        """Understand one message in a worker of its own, in bounded time."""
        worker = Worker(self._command)
        try:
            return worker.understand([raw], self._message_seconds)
        except Exception as error:  # it died or was killed: this is the one
            return [NotUnderstoodError(str(error))]
        finally:
            worker.end()


def _end(worker: Worker | None) -> None:
    if worker is not None:
        worker.end()


class Worker:
    """A worker process. Used by one thread.

    :raises OSError: it cannot be started
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1 << 20,
            pipesize=1 << 20,
        )
        try:
            self.understand([], START_SECONDS)
        except Exception as error:
            self.end()
            raise OSError(f"it does not start: {error}") from error

    def understand(self, batch: Sequence[bytes], seconds: float) -> Result:
        """Return what the worker made of a batch.

        :raises EOFError, OSError: it died, or took longer than `seconds` and was killed
        """
        from postroom.understanding.wire import decode, read_frames, write_frames

        assert self._process.stdin is not None  # noqa: S101 - made with pipes
        assert self._process.stdout is not None  # noqa: S101
        clock = threading.Timer(seconds, self._process.kill)
        clock.daemon = True
        clock.start()
        try:
            write_frames(self._process.stdin, batch)  # type: ignore[arg-type]
            frames = read_frames(self._process.stdout)  # type: ignore[arg-type]
        finally:
            clock.cancel()
        results = decode(frames)
        if len(results) != len(batch):
            raise EOFError("the worker answered for another batch")
        return results

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    logger.debug("A worker was gone already", exc_info=True)
        self._process.wait()
