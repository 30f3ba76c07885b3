"""``scripts/faults``: every step of every case of `crash_cases`, with one figure for each."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from postroom_test_servers.crash import CrashHarness
from postroom_test_servers.crash_cases import CASES, Servers, count_steps, survive
from postroom_test_servers.dovecot import running_dovecot
from postroom_test_servers.smtp import SmtpServer
from postroom_test_servers.stores import Databases
from postroom_test_servers.tls import PrivateAuthority

KINDS = ("sqlite", "postgresql")


def main() -> None:
    """Run what the command line asks for; the exit code is 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description="Kill runs at every step and count what is lost.")
    parser.add_argument("--stride", type=int, default=1, help="take every so-manieth step")
    parser.add_argument("--first", type=int, default=1, help="the first step to take")
    parser.add_argument("--case", action="append", choices=list(CASES), help="by default all")
    parser.add_argument("--database", action="append", choices=KINDS, help="by default both")
    options = parser.parse_args()
    failures = 0
    with ExitStack() as stack:
        servers = _servers(stack)
        for case in options.case or CASES:
            for kind in options.database or KINDS:
                failures += _figure(servers, case, kind, options.first, options.stride)
    sys.exit(failures > 0)


def _servers(stack: ExitStack) -> Servers:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    certificate = PrivateAuthority(folder).issue("localhost", "127.0.0.1")
    databases = Databases(folder)
    stack.callback(databases.close)
    return Servers(
        dovecot=stack.enter_context(running_dovecot(certificate)),
        databases=databases,
        smtp=stack.enter_context(SmtpServer()),
        harness=stack.enter_context(CrashHarness()),
        folder=folder / "crash",
    )


def _figure(servers: Servers, case: str, kind: str, first: int, stride: int) -> int:
    steps = count_steps(servers, case, kind)
    points = range(first, steps + 1, stride)
    killed = failures = 0
    for step in points:
        try:
            killed += survive(servers, case, kind, step)
        except AssertionError as error:
            failures += 1
            print(f"{case} on {kind}, step {step}: {error}", flush=True)
    print(
        f"{case} on {kind}: {steps} steps, {len(points)} runs, {killed} killed, "
        f"{failures} with something lost, doubled or sent twice",
        flush=True,
    )
    return failures


if __name__ == "__main__":
    main()
