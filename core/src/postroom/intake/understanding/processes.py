"""Worker processes as the runner sees them: started, asked, ended.

To each lead two pipes for frames, and a socket for the open files of large messages. Where several
are wanted one is started, which forks the others when it has loaded what all of them need: loading
takes as long as understanding some hundred messages.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol

from postroom.api.transport import Spool
from postroom.api.verdict import MailboxView
from postroom.intake.understanding.understood import Raws, Result, Understood, understand_one
from postroom.store.packing import written_behind

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
"""So long a worker may take to start: on a busy machine that is no message's fault."""
_PIPE_BYTES = 1 << 20


def start(command: Sequence[str], count: int = 1) -> list[Worker]:
    """Start workers: `count` at the most; where the system cannot fork them, one.

    :raises OSError: none can be started
    """
    with contextlib.ExitStack() as unused:
        count = count if _can_fork() else 1
        lines = [unused.enter_context(contextlib.closing(_Line())) for _ in range(count)]
        line, *others = lines
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, _listed([0, 1, *line.theirs[2:]]), *(_listed(o.theirs) for o in others)],
            stdin=line.theirs[0],
            stdout=line.theirs[1],
            pass_fds=[*line.theirs[2:], *(number for other in others for number in other.theirs)],
            process_group=0,  # Ctrl-C is for the runner, also while a worker starts
        )
        unused.pop_all()
    for one in lines:
        one.hand_over()
    try:
        first = Worker(line, process)
    except OSError:
        for other in others:
            other.close()
        raise
    return [first, *filter(None, map(_forked, others))]


class Worker:
    """A worker process. Used by one thread.

    :raises OSError: it did not start
    """

    def __init__(self, line: _Line, process: _Process) -> None:
        self._line = line
        self._process = process
        try:
            self.understand([], None, START_SECONDS)
        except Exception as error:
            self.end()
            raise OSError(f"it does not start: {error}") from error

    def understand(self, batch: Raws, view: MailboxView | None, seconds: float) -> Result:
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
        """Add to what was made of a large message where the chunks to be stored come from."""
        if isinstance(raw, bytes):
            return result
        if self._line.files is None:  # it could not be handed over
            return understand_one(raw)
        if isinstance(result, Understood):
            result.packed = written_behind(result.packed, raw)
        return result

    def _ask(self, batch: Raws, view: MailboxView | None) -> list[bytes]:
        from postroom.intake.understanding.wire import Request, encode, read_frames, write_frames

        large = {n: raw for n, raw in enumerate(batch) if isinstance(raw, Spool)}
        if self._line.files:
            for raw in large.values():
                socket.send_fds(self._line.files, [b"f"], [raw.fileno()])
        request = Request(view, {place: len(raw) for place, raw in large.items()})
        small = [raw if isinstance(raw, bytes) else b"" for raw in batch]
        write_frames(self._line.requests, [encode(request), *small])
        return read_frames(self._line.answers)

    def kill(self) -> None:
        """End the process, whatever it does; from any thread."""
        self._process.kill()

    @property
    def is_forked(self) -> bool:
        """Say whether another one of them has started it, which sees to its end while it lives."""
        return isinstance(self._process, _Forked)

    def has_ended(self) -> bool:
        """Say whether the process is gone."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End the process, and let go of what led to it."""
        self.kill()
        self._line.close()
        self._process.wait()


class _Line:
    """What leads to a worker: our ends, and the other ones until the worker has them."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as opened:
            there, self.requests = _pipe(opened)
            self.answers, back = _pipe(opened)
            self.files, files = _socket_pair(opened)
            _widen(self.requests, self.answers)
            opened.pop_all()
        self._handed_over: list[BinaryIO | socket.socket] = [there, back]
        if files:
            self._handed_over.append(files)

    @property
    def theirs(self) -> list[int]:
        """Return the numbers of the other ends: to read requests, to write answers, for files."""
        return [end.fileno() for end in self._handed_over]

    def hand_over(self) -> None:
        """Let go of the other ends."""
        for end in self._handed_over:
            end.close()
        self._handed_over.clear()

    def close(self) -> None:
        """Let go of all there is."""
        self.hand_over()
        for stream in (self.requests, self.answers, self.files):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    logger.debug("A worker was gone already", exc_info=True)


class _Process(Protocol):
    """What is asked of a process here, as `subprocess.Popen` has it."""

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self) -> object: ...


class _Forked:
    """A process that another one forked, by an open file that stands for it (pidfd_open(2)): its
    number may be another's already."""

    def __init__(self, file: int) -> None:
        self._file = file

    def poll(self) -> int | None:
        """Return a number if it has ended."""
        return 0 if self._ends_within(0) else None

    def kill(self) -> None:
        """End it; it is gone, then, before the one that forked it can be ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._file, signal.SIGKILL)
        self._ends_within(1_000)

    def wait(self) -> None:
        """Wait for its end. Whoever forked it has seen to it, or else we may have to: as the first
        process of a container we inherit it."""
        self._ends_within(None)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._file, os.WEXITED | os.WNOHANG)
        os.close(self._file)

    def _ends_within(self, milliseconds: int | None) -> bool:
        waiting = select.poll()  # one for each call: two threads cannot wait with the same one
        waiting.register(self._file, select.POLLIN)
        return bool(waiting.poll(milliseconds))


def _forked(line: _Line) -> Worker | None:
    """Return the worker at the other end; None if it was not forked, or did not start."""
    assert line.files is not None  # noqa: S101 - where processes are forked there are sockets
    try:
        line.files.settimeout(START_SECONDS)
        _, numbers, _, _ = socket.recv_fds(line.files, 1, 1)
        line.files.settimeout(None)
        if numbers:
            return Worker(line, _Forked(numbers[0]))
    except OSError:
        logger.debug("A worker was not forked", exc_info=True)
    line.close()
    return None


def _can_fork() -> bool:
    """Say whether a forked process can be held on to and ended: Linux from 5.3 on, where no
    sandbox forbids it."""
    try:
        this = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(this, 0)
        finally:
            os.close(this)
    except (AttributeError, OSError):
        return False
    return True


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def _pipe(opened: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    """Return the end to read from and the end to write to."""
    source, target = os.pipe()
    return (
        opened.enter_context(open(source, "rb", _PIPE_BYTES)),
        opened.enter_context(open(target, "wb", _PIPE_BYTES)),
    )


def _widen(*pipes: BinaryIO) -> None:
    """Let pipes hold most batches whole, where the system and its bound for a user allow that."""
    for pipe in pipes:
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _socket_pair(
    opened: contextlib.ExitStack,
) -> tuple[socket.socket | None, socket.socket | None]:
    """Return what open files are handed over through, where the system can do that."""
    if not hasattr(socket, "send_fds"):
        return None, None
    ours, theirs = map(opened.enter_context, socket.socketpair())
    return ours, theirs
