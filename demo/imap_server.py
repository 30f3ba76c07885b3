"""pymap, kept from losing connections.

The proxyprotocol package under it starts a task for each connection and forgets it; asyncio holds
tasks weakly, so that the garbage collector ends a connection now and then in the middle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pymap import main as pymap

_run = pymap.run
_tasks: set[asyncio.Task[Any]] = set()


def _keep(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    task = asyncio.Task(coroutine, loop=loop, **options)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def _run_keeping_tasks(*arguments: Any) -> None:
    asyncio.get_running_loop().set_task_factory(_keep)  # type: ignore[arg-type]  # no eager ones
    await _run(*arguments)


if __name__ == "__main__":
    pymap.run = _run_keeping_tasks  # type: ignore[assignment]  # takes whatever it takes
    pymap.main()
