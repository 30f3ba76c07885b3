"""Runs a command and tells how long it took and how much memory it held at most.

A process inherits its parent's peak through fork and exec, so commands are started by this very
file, run on its own: a bare interpreter that holds next to nothing. What a command starts itself
counts: their memory is added up, several times a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRATCH = Path(__file__).parents[1] / ".bench"
"""What is kept from run to run: the peers' environment and bytecode."""
BYTECODE = SCRATCH / "bytecode"
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """`seconds` from start to end of the whole process, `peak` resident memory in bytes, that
    of processes it started included."""

    seconds: float
    peak: int
    code: int
    output: str


def run_measured(command: Sequence[str | Path], environment: Mapping[str, str]) -> Measured:
    """Run a command to its end.

    :param environment: added to this process's own
    """
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as report:
        done = subprocess.run(
            [sys.executable, "-I", "-S", __file__, str(write_end), *map(str, command)],
            env={**_environment(), **environment},
            pass_fds=[write_end],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        os.close(write_end)
        figures = json.loads(report.read())
    return Measured(figures["seconds"], figures["peak"], figures["code"], done.stdout)


def _environment() -> dict[str, str]:
    """Return this process's, so that programs find their bytecode as they do once installed."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPYCACHEPREFIX": str(BYTECODE)}


def _main(report: int, command: list[str]) -> None:
    begun = time.perf_counter()
    os.set_inheritable(report, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    child = os.posix_spawnp(command[0], command, os.environ, setsigmask=[])
    together = 0
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        together = max(together, _resident(child))
        signal.sigtimedwait([signal.SIGCHLD], _SAMPLE_SECONDS)
    seconds = time.perf_counter() - begun
    peak = max(usage.ru_maxrss * 1024, together)
    code = os.waitstatus_to_exitcode(status)
    os.write(report, json.dumps({"seconds": seconds, "peak": peak, "code": code}).encode())


def _resident(process: int) -> int:
    """Return the resident bytes of a process and of those it started."""
    try:
        folder = Path("/proc", str(process))
        pages = int((folder / "statm").read_text().split()[1])
        children = (folder / "task" / str(process) / "children").read_text().split()
        for task in (folder / "task").iterdir():
            if task.name != str(process):
                children += (task / "children").read_text().split()
    except (OSError, IndexError):  # it ended just now
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(int(one)) for one in children)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
