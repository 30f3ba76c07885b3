"""The worker process: reads batches on standard input, writes results on standard output.

Started by `pool`; ends when its input ends, so it never outlives the runner.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys

import postroom.mail.large  # noqa: F401  # before the first batch, not with it
from postroom.understanding.understood import understand_one
from postroom.understanding.wire import encode, read_frames, write_frames

MEMORY_BYTES = 4 << 30
"""What a message may make the worker take; beyond it, understanding that message fails."""


def main() -> None:
    """Serve until the runner goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and so is a service manager's stop
    _limit_memory()
    gc.freeze()
    gc.set_threshold(50_000)  # what is made of a batch is let go as a whole
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing but frames may get into the pipe
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            batch = read_frames(source)
            write_frames(target, [encode(understand_one(raw)) for raw in batch])


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    main()
