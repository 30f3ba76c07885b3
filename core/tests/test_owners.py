"""Who owns a lease, and whether they are alive."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from postroom.leases.owners import is_dead, new_owner

OWNER = "from postroom.leases.owners import new_owner; print(new_owner(), flush=True); input()"


def test_this_process_is_alive_and_one_of_another_host_may_be():
    assert not is_dead(new_owner())
    assert not is_dead(new_owner().replace(new_owner().split(" ")[0], "elsewhere/1", 1))


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="states stand in /proc")
def test_killed_process_is_dead_although_its_parent_has_not_asked_for_it_yet():
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        owner = process.stdout.readline().strip()
        assert not is_dead(owner)

        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped

        assert is_dead(owner)
    assert is_dead(owner)
