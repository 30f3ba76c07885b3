"""Work with a plugin that a command waits for: watched as the runner's visits are (`crew`).

It is done in a thread of its own: so a plugin that hangs in anything can be left behind, and Ctrl-C
ends the command.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event as Flag
from typing import TypeVar

from postroom.leases.leases import Lease
from postroom.runner.crew import END_SECONDS, HangsError, Visit, leave_behind
from postroom.store.database import connection
from postroom.time_limit import Call

Result = TypeVar("Result")
LOOK_SECONDS = 0.2


def attend(lease: Lease, work: Callable[[], Result], *, stop: Flag | None = None) -> Result:
    """Do the work, which calls a plugin with the pulse of the lease; return what it returns.

    :param stop: set when the command is interrupted
    :raises HangsError: the plugin does not come back, not even when it is interrupted
    :raises TransientError: it was interrupted, because nothing was heard of it
    """

    def connected() -> Result:
        with connection():
            return work()

    call = Call(connected)
    visit = Visit(lease, call.run)
    try:
        while not visit.wait(LOOK_SECONDS):
            if not visit.tend() and lease.pulse.silence():
                leave_behind(visit)
                raise HangsError.of(lease.pulse)
    except KeyboardInterrupt:
        if stop is not None:
            stop.set()
        visit.interrupt()
        if not visit.wait(END_SECONDS):
            leave_behind(visit)
        raise
    try:
        return call.result()
    except Exception as error:
        raise lease.pulse.reason(error) from error.__cause__
