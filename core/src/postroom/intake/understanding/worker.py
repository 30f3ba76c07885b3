"""The worker process: reads batches from a pipe, writes results to another.

Started by `processes`; ends when its input ends, so it never outlives the runner. Large messages
come as open files through a socket; without one there are none. An argument has the numbers of
these three; for each further argument a process is forked that has what this one has loaded.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator

import postroom.mail.large  # noqa: F401  # before the first batch, not with it
from postroom.api.verdict import MailboxView
from postroom.classification import BuiltIn
from postroom.intake.understanding.understood import Result, Understood, understand_all
from postroom.intake.understanding.wire import (
    KEPT_HEADERS,
    Request,
    Told,
    decode_request,
    encode,
    encode_result,
    read_frames,
    write_frames,
)
from postroom.store.packing import pack_behind

MEMORY_BYTES = 4 << 30
"""What a message may make the worker take; beyond it, understanding that message fails."""

LONGEST_SECONDS = 150.0
"""After that time with one batch a worker ends by itself: the runner, which would have killed it
sooner, is gone."""


def main() -> None:
    """Serve until the runner goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and so is a service manager's stop
    _limit_memory()
    gc.freeze()
    gc.set_threshold(50_000)  # what is made of a batch is let go as a whole
    sys.stdout = sys.stderr  # nothing but frames may get into the pipe
    built_in = BuiltIn()
    numbers = _forked(*([int(number) for number in one.split(",")] for one in sys.argv[1:]))
    source, target = os.fdopen(numbers[0], "rb"), os.fdopen(numbers[1], "wb")
    files = socket.socket(fileno=numbers[2]) if len(numbers) > 2 else None
    told = _Teller()
    logging.getLogger().addHandler(told)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            asked, *batch = read_frames(source)
            request = decode_request(asked)
            _end_after(LONGEST_SECONDS)
            with contextlib.ExitStack() as open_files:
                raws = list(_with_files(batch, request, files, open_files))
                results = _understood(raws, request.view, built_in)
            _end_after(0)
            write_frames(target, [*map(encode_result, results), encode(told.take())])


def _forked(own: list[int], *others: list[int]) -> list[int]:
    """Fork a process for each of the others; return, in each process, the numbers of its files."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever waits for a process does so elsewhere
    for place, numbers in enumerate(others):
        if _is_forked():
            _replace_by_nothing(*own, *itertools.chain(*others[place + 1 :]))
            try:
                with socket.socket(fileno=os.dup(numbers[2])) as files:
                    socket.send_fds(files, [b"p"], [os.pidfd_open(os.getpid())])
            except OSError:  # the runner is gone, or cannot hold on to this process
                sys.exit(1)
            return numbers
        for number in numbers:
            os.close(number)
    return own


def _is_forked() -> bool:
    """Fork; return True in the new process, False in this one, also if there can be no other."""
    try:
        return os.fork() == 0
    except OSError:
        return False


def _replace_by_nothing(*numbers: int) -> None:
    """Let go of files that are for other processes; their numbers stay taken, of which two are
    standard input and output."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nothing, number)
    os.close(nothing)


def _understood(
    raws: Iterable[bytes | _Passed], view: MailboxView | None, built_in: BuiltIn
) -> Result:
    """Understand a batch, and classify it where there is a view of its mailbox."""
    headers = None if view is None else KEPT_HEADERS | built_in.headers(view)
    results = understand_all(raws, headers, pack_behind)
    if view is None:
        return results
    for result in results:
        if isinstance(result, Understood):
            result.classified = built_in.classify(result.parsed, view)
    return results


def _with_files(
    batch: list[bytes],
    request: Request,
    files: socket.socket | None,
    open_files: contextlib.ExitStack,
) -> Iterator[bytes | _Passed]:
    """Yield the messages, those that are files in their places."""
    for place, raw in enumerate(batch):
        size = request.large.get(place)
        if size is None or files is None:
            yield raw
        else:
            _, (number,), _, _ = socket.recv_fds(files, 1, 1)
            yield open_files.enter_context(_Passed(number, size))


class _Passed:
    """A large message that the runner has on disk; what is read of it here is what `Spool` has."""

    def __init__(self, number: int, size: int) -> None:
        self._number = number
        self._size = size

    def __enter__(self) -> _Passed:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._number)

    def __len__(self) -> int:
        return self._size

    def fileno(self) -> int:
        """Return the number of the open file."""
        return self._number


class _Teller(logging.Handler):
    """Keeps what is logged for the runner, which has somewhere to log to."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[Told] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if len(self._lines) < 100:
            plugin = getattr(record, "plugin", "")
            self._lines.append(Told(record.name, record.levelno, self.format(record), plugin))

    def take(self) -> list[Told]:
        """Return what was kept since the last time."""
        lines, self._lines = self._lines, []
        return lines


def _end_after(seconds: float) -> None:
    """Have the system end this process then, whatever it does; 0: no more."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    main()
