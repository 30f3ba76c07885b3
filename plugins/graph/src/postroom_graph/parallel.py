"""Several requests at once, their results in order.

Three, though four are allowed: so a session that sends, on another machine perhaps, has its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from postroom_graph.client import Client, LostError, TokenRefusedError

AT_ONCE: Final = 3
_AHEAD: Final = 6
"""So many are begun before the first one's result was taken."""

T = TypeVar("T")
R = TypeVar("R")


class Parallel(Generic[T, R]):
    """Runs `work` for items, in threads of its own.

    :param work: one item's requests, by `Client.attempt`
    :param discard: told each result that nobody will take
    """

    def __init__(
        self, client: Client, work: Callable[[T], R], discard: Callable[[R], None] = lambda _: None
    ) -> None:
        self._client, self._work, self._discard = client, work, discard
        self._running: deque[tuple[T, Future[R]]] = deque()

    def run(self, items: Iterable[T]) -> Generator[tuple[T, R | LostError], None, None]:
        """Yield each item with its result, in order; a connection that broke is a result too.

        :raises AuthError, SettingsError, TransientError: and whatever `work` raises
        """
        waiting = iter(items)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="graph") as pool:
            try:
                self._fill(pool, waiting)
                while self._running:
                    item, future = self._running.popleft()
                    result = self._result(pool, item, future)
                    self._fill(pool, waiting)
                    yield item, result
            finally:
                self._abandon()

    def _fill(self, pool: ThreadPoolExecutor, waiting: Iterator[T]) -> None:
        while len(self._running) < _AHEAD and (item := next(waiting, None)) is not None:
            self._client.ready()
            self._running.append((item, pool.submit(self._work, item)))

    def _result(self, pool: ThreadPoolExecutor, item: T, future: Future[R]) -> R | LostError:
        """Wait for a result; a token that was refused is replaced in this thread, once."""
        is_renewed = False
        while True:
            try:
                return future.result()
            except LostError as lost:
                return lost
            except TokenRefusedError as refused:
                if refused.token is self._client.token:
                    if is_renewed:
                        raise self._client.refused(refused) from refused.error
                    is_renewed = True
                self._client.renew(refused)
            future = pool.submit(self._work, item)

    def _abandon(self) -> None:
        for _, future in self._running:
            if not future.cancel():
                future.add_done_callback(self._throw_away)
        self._running.clear()

    def _throw_away(self, future: Future[R]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._discard(future.result())
