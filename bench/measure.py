"""Runs a command and tells how long it took and how much memory it held at most.

A process inherits its parent's peak through fork and exec, so commands are started by this very
file, run on its own: a bare interpreter that holds next to nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRATCH = Path(__file__).parents[1] / ".bench"
"""What is kept from run to run: the peers' environment and bytecode."""
BYTECODE = SCRATCH / "bytecode"


@dataclass(frozen=True, slots=True)
class Measured:
    """`seconds` from start to end of the whole process, `peak` resident memory in bytes."""

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
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - begun
    unit = 1 if sys.platform == "darwin" else 1024
    code = os.waitstatus_to_exitcode(status)
    figures = {"seconds": seconds, "peak": usage.ru_maxrss * unit, "code": code}
    os.write(report, json.dumps(figures).encode())


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
