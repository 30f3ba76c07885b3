"""Kills a runner at a numbered step, as ``kill -9`` or a power cut would.

A step is a call that matters: bytes to or from a server, a statement, a commit; each counts twice,
before and after it is done. `CrashHarness` is a process that imports postroom once and then forks a
child for each run, which counts its steps and kills itself at the one it is told.

::

    with CrashHarness() as harness:
        steps = harness.run(url, count=True).steps           # a whole run, counted
        harness.run(url, die_at=steps // 2)      # killed half-way
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import IO, Any, Self

_C_STEPS = {
    *("send", "sendall", "sendmsg", "recv", "recv_into", "recvfrom", "write", "read"),
    *("execute", "executemany", "commit", "rollback", "connect", "exec_params", "exec_prepared"),
    *("exec_", "send_query_params", "send_query", "pipeline_sync", "flush"),
}
_C_MODULES = ("_socket", "_ssl", "sqlite3", "_sqlite3", "psycopg_binary", "socket")
_PYTHON_STEPS = {"execute", "executemany", "commit", "_exec_command"}


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended."""

    steps: int
    """How many it took; 0 if it was killed."""
    exit_code: int
    """Of ``run --once``; -9 if it was killed."""


class CrashHarness:
    """The process that forks runners; the environment is that of this process at `run`.

    :param environ: more of it, from the process's start
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(environ or {})

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=os.environ | self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipe("stdin").close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe("stdout").close()

    def run(
        self,
        url: str,
        *,
        die_at: int = 0,
        count: bool = False,
        beside: bool = False,
        timeout: float = 100.0,
    ) -> Run:
        """Do ``run --once`` on a database in a process of its own.

        :param die_at: the step to be killed at; 0: none
        :param count: count the steps although none is to be killed at, which takes its time
        :param beside: understand messages in a process beside, as always outside of this harness;
            that process takes longer to start than all the rest
        """
        order = {"url": url, "die_at": die_at, "count": count or die_at, "timeout": timeout}
        order["beside"] = beside
        order["environment"] = {k: v for k, v in os.environ.items() if k.startswith("POSTROOM_")}
        self._pipe("stdin").write(json.dumps(order) + "\n")
        self._pipe("stdin").flush()
        if not select.select([self._pipe("stdout")], [], [], timeout + 10)[0]:
            raise TimeoutError("the crash harness does not answer")
        answer = json.loads(self._pipe("stdout").readline())
        return Run(answer["steps"], answer["exit_code"])

    def _pipe(self, name: str) -> IO[str]:
        pipe: IO[str] | None = getattr(self._process, name)
        assert pipe is not None
        return pipe


# ---------------------------------------------------------------------------- in the harness


def main() -> None:
    """Read orders, fork, report; a process without threads, so that forking is safe."""
    import postroom
    import postroom_pop_imap
    import postroom_smtp
    import psycopg  # noqa: F401
    from postroom import mail, plugins

    for package in (postroom, postroom_pop_imap, postroom_smtp):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", ".worker")) and ".testing" not in module.name:
                importlib.import_module(module.name)
    for transport in plugins.load().transports.values():
        for model in (transport.receiver_settings(), transport.sender_settings()):
            if model is not None:
                model.model_json_schema()
    mail.parse(b"Subject: warm\r\n\r\nup\r\n")
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run(order, writing)
        os.close(writing)
        answer = {"steps": 0} | _outcome(child, reading, order["timeout"])
        print(json.dumps(answer), flush=True)


def _outcome(child: int, reading: int, timeout: float) -> dict[str, int]:
    deadline = time.monotonic() + timeout
    with os.fdopen(reading) as pipe:
        if not select.select([pipe], [], [], timeout)[0]:
            os.kill(child, signal.SIGKILL)
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if time.monotonic() > deadline:
        return {"exit_code": 124}
    if told:
        found: dict[str, int] = json.loads(told)
        return found
    return {"exit_code": -9 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)}


def _run(order: dict[str, Any], writing: int) -> None:
    """In the child: one run, then tell and end without any clean-up that is not the runner's."""
    from postroom import plugins
    from postroom.intake.understanding.understood import IN_PLACE
    from postroom.runner.runner import Runner
    from postroom.store import database, models

    os.environ.update(order["environment"])
    steps = itertools.count(1)
    die_at = order["die_at"]
    last = 0

    def step() -> None:
        nonlocal last
        last = next(steps)
        if last == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        database.connect(order["url"])
        if order["count"]:
            _count(step)
        with database.connection():
            runner = Runner(plugins.load(), workers=1)
            if not order["beside"]:
                runner._understanding = IN_PLACE
            outcome = runner.run_once()
        sys.setprofile(None)
        models.database.close()
        told = {"steps": last, "exit_code": outcome.exit_code}
        os.write(writing, json.dumps(told).encode())
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def _count(step: Callable[[], None]) -> None:
    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event in ("c_call", "c_return"):
            if argument.__name__ in _C_STEPS and _module_of(argument).startswith(_C_MODULES):
                step()
        elif event in ("call", "return"):
            code = frame.f_code
            if code.co_name in _PYTHON_STEPS and "/psycopg/" in code.co_filename:
                step()

    threading.setprofile(profile)
    sys.setprofile(profile)


def _module_of(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    return str(type(owner).__module__ if owner is not None else function.__module__)


if __name__ == "__main__":
    main()
