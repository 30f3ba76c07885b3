"""A database that takes nothing: told once when that begins, and once when it is over."""

from __future__ import annotations

import logging
import time

from postroom.errors import PostroomError, in_one_line

logger = logging.getLogger(__name__)


class Outage:
    """Whether the database takes nothing, and since when. Thread-safe enough: what is read twice
    is told twice."""

    def __init__(self) -> None:
        self._since: float | None = None
        """None: it is over, or never began."""

    def begin(self, error: PostroomError) -> None:
        """Tell, unless that was told."""
        if self._since is None:
            self._since = time.monotonic()
            logger.error("%s", in_one_line(error.sentence, error.next_step))

    def end(self) -> None:
        """Tell that it is over, if there was one."""
        since, self._since = self._since, None
        if since is not None:
            logger.error("The database works again, after %.0f s.", time.monotonic() - since)
