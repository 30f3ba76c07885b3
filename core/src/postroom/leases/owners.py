"""Who holds a lease: names that tell whether a process of this host is still alive."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Final

_ENDED: Final = "ZX"
"""States of a process that has ended, and that its parent does not know of yet."""


def _host() -> str:
    # Two containers may share a host name but not the namespace their process ids count in.
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}/{namespace}"


def _started(pid: int) -> str | None:
    """Return what tells a process from a later one with its number; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        pass
    else:
        return None if fields[0] in _ENDED else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return "?"
    return "?"


def new_owner() -> str:
    """Return a name for a worker of this process: host, process, and what makes it unique."""
    pid = os.getpid()
    return f"{_host()} {pid} {_started(pid)} {uuid.uuid4().hex[:8]}"


def is_dead(owner: str) -> bool:
    """Say whether the owner was a process of this host that is no more."""
    host, pid, started, _ = (*owner.split(" "), "", "", "", "")[:4]
    return host == _host() and pid.isdigit() and _started(int(pid)) != started
