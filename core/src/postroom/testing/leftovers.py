"""What this process holds open, to see whether closed sessions have left something."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from postroom.testing import expectations

_DESCRIPTORS = "/dev/fd"
"""Linux and macOS list a process's files and sockets there; elsewhere threads have to do."""
_LOOK_SECONDS = 0.02
_MOST_LOOKS = 50


@dataclass(frozen=True, slots=True)
class Holdings:
    """Threads by their names, and how many files and sockets."""

    threads: tuple[str, ...]
    files_and_sockets: int


def holdings() -> Holdings:
    """Return what there is now."""
    names = sorted(thread.name for thread in threading.enumerate())
    files = os.listdir(_DESCRIPTORS) if os.path.isdir(_DESCRIPTORS) else ()
    return Holdings(tuple(names), len(files))


def at_rest() -> Holdings:
    """Return what there is once nothing ends any more: the server's side of a connection may take
    a moment."""
    found = [holdings()]
    patience = threading.Event()
    while len(found) < _MOST_LOOKS and found[-3:] != [found[-1]] * 3:
        patience.wait(_LOOK_SECONDS)
        found.append(holdings())
    return found[-1]


def left_over(before: Holdings, *, fewer_than: int) -> dict[str, Any]:
    """Return what there is more of than before, though it had the time to end.

    :param fewer_than: what grew by less does not count
    """
    patience = threading.Event()
    for _ in range(int(expectations.MARGIN_SECONDS / _LOOK_SECONDS)):
        if not (left := _grown(before, fewer_than)):
            break
        patience.wait(_LOOK_SECONDS)
    return left


def _grown(before: Holdings, least: int) -> dict[str, Any]:
    after, left = holdings(), dict[str, Any]()
    if len(after.threads) - len(before.threads) >= least:
        left["threads"] = [name for name in after.threads if name not in before.threads]
    if (more := after.files_and_sockets - before.files_and_sockets) >= least:
        left["files_and_sockets"] = more
    return left
