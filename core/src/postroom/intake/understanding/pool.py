"""Workers that understand messages beside the runner, on other cores.

A batch that takes too long, or makes a worker die, is understood again message by message, so that
only the one that does it is set aside. Large messages are handed over as the files that they are.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from math import inf
from typing import IO, TYPE_CHECKING

from postroom.api.transport import Spool
from postroom.api.verdict import MailboxView
from postroom.intake.understanding.understood import (
    NotUnderstoodError,
    Result,
    Understanding,
    Understood,
    understand_one,
)
from postroom.store.packing import pack

if TYPE_CHECKING:
    from postroom.plugins import Plugins

logger = logging.getLogger(__name__)

MESSAGE_SECONDS = 30.0
"""So long one message may take."""
BATCH_SECONDS = 120.0
START_SECONDS = 60.0
"""So long a worker may take to start: on a busy machine that is no message's fault."""
COMMAND = (sys.executable, "-P", "-m", "postroom.intake.understanding.worker")
"""Without the folder that the runner was started in: a module there is none of ours."""
FEW = 100
"""So many messages are left to one worker: starting another takes as long as they do."""
IDLE_SECONDS = 120.0
"""A worker without work ends after that time, and is started again when there is some."""
_PIPE_BYTES = 1 << 20

Batch = Sequence[bytes | Spool]


@dataclass(slots=True)
class _Job:
    batch: Batch
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
        self._is_closed = False
        self._lock = threading.Lock()
        self._one_starts = threading.Lock()
        """One after the other: starting takes a core, and the runner, starting too, needs one."""

    def expect(self, messages: float = inf) -> None:
        """Have workers started before the first batch is there, which saves the time it takes."""
        self._start()
        for _ in range(self._count if messages > FEW else 1):
            self._jobs.put(_Job([]))

    def understand(self, batch: Batch, view: MailboxView | None = None) -> Callable[[], Result]:
        """Begin to understand a batch, and to classify it where there is a view of its mailbox."""
        job = _Job(batch, view)
        if not batch:  # a look that finds nothing new starts no process
            return list
        self._start()
        self._jobs.put(job)
        return job.done.result

    def close(self) -> None:
        """End the workers, also in the middle of a batch: by now nobody waits for what they do."""
        self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        with self._lock:
            for worker in self._workers:
                worker.kill()
        for thread in self._threads:
            thread.join(timeout=1)

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
        results: Result = []
        try:
            for raw in job.batch:
                results.append(self._alone(raw, job.view))
        except OSError as error:  # no worker can be started: done in place, mail comes first
            logger.error("No process can be started to understand messages in: %s", error)
            results += [understand_one(raw) for raw in job.batch[len(results) :]]
        return results

    def _alone(self, raw: bytes | Spool, view: MailboxView | None) -> Understood | Exception:
        """Understand one message in a worker of its own, in bounded time."""
        worker = self._begin()
        try:
            return worker.understand([raw], view, self._message_seconds)[0]
        except Exception as error:  # it died or was killed: this is the one
            return NotUnderstoodError(str(error))
        finally:
            self._end(worker)

    def _begin(self) -> Worker:
        with self._one_starts:
            worker = Worker(self._command)
        with self._lock:
            self._workers.add(worker)
        return worker

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
        batch: Batch,
        view: MailboxView | None = None,  # noqa: ARG002 - classifying is left to who asks
    ) -> Callable[[], Result]:
        """See `Understanding`."""
        result = self._pool.understand(batch)
        return lambda: [*map(_whole, batch, result())]


def _whole(raw: bytes | Spool, result: Understood | Exception) -> Understood | Exception:
    if isinstance(result, Exception) or not result.parsed.attachments:
        return result
    return understand_one(raw)


class Worker:
    """A worker process. Used by one thread.

    :raises OSError: it cannot be started
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._files, theirs = _socket_pair()
        numbers = [theirs.fileno()] if theirs else []
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=numbers,
                bufsize=_PIPE_BYTES,
                process_group=0,  # Ctrl-C is for the runner, also while a worker starts
            )
        except BaseException:
            if self._files:
                self._files.close()
            raise
        finally:
            if theirs:
                theirs.close()
        _widen(self._process.stdin, self._process.stdout)
        try:
            self.understand([], None, START_SECONDS)
        except Exception as error:
            self.end()
            raise OSError(f"it does not start: {error}") from error

    def understand(self, batch: Batch, view: MailboxView | None, seconds: float) -> Result:
        """Return what the worker made of a batch.

        :raises EOFError, OSError: it died, or took longer than `seconds` and was killed
        """
        from postroom.intake.understanding.wire import decode_results, decode_told

        clock = threading.Timer(seconds, self._process.kill)
        clock.daemon = True
        clock.start()
        try:
            *answers, told = self._ask(batch, view)
        finally:
            clock.cancel()
            clock.join()  # it ends at once, and leaves no thread behind
        results = decode_results(answers)
        if len(results) != len(batch):
            raise EOFError("the worker answered for another batch")
        for line in decode_told(told):
            extra = {"plugin": line.plugin} if line.plugin else {}
            logging.getLogger(line.logger).log(line.level, "%s", line.text, extra=extra)
        return [self._whole(result, raw) for result, raw in zip(results, batch, strict=True)]

    def _whole(self, result: Understood | Exception, raw: bytes | Spool) -> Understood | Exception:
        """Add to what was made of a large message that it is packed while it is stored."""
        if isinstance(raw, bytes):
            return result
        if self._files is None:  # it could not be handed over
            return understand_one(raw)
        return replace(result, packed=pack(raw)) if isinstance(result, Understood) else result

    def _ask(self, batch: Batch, view: MailboxView | None) -> list[bytes]:
        from postroom.intake.understanding.wire import Request, encode, read_frames, write_frames

        assert self._process.stdin is not None  # noqa: S101 - made with pipes
        assert self._process.stdout is not None  # noqa: S101
        large = {n: raw for n, raw in enumerate(batch) if isinstance(raw, Spool)}
        if self._files:
            for raw in large.values():
                socket.send_fds(self._files, [b"f"], [raw.fileno()])
        request = Request(view, {place: raw.sha256 for place, raw in large.items()})
        small = [raw if isinstance(raw, bytes) else b"" for raw in batch]
        write_frames(self._process.stdin, [encode(request), *small])  # type: ignore[arg-type]
        return read_frames(self._process.stdout)  # type: ignore[arg-type]

    def kill(self) -> None:
        """End the process, whatever it does; from any thread."""
        self._process.kill()

    def has_ended(self) -> bool:
        """Say whether the process is gone."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End the process, and let go of what led to it."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._files):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    logger.debug("A worker was gone already", exc_info=True)
        self._process.wait()


def _widen(*pipes: IO[bytes] | None) -> None:
    """Let pipes hold most batches whole, where the system and its bound for a user allow that."""
    for pipe in pipes:
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[arg-type]


def _socket_pair() -> tuple[socket.socket | None, socket.socket | None]:
    """Return what open files are handed over through, where the system can do that."""
    return socket.socketpair() if hasattr(socket, "send_fds") else (None, None)
