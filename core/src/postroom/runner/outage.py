"""A database that takes nothing: told once when that begins, and once when it is over; how long it
is left alone."""

from __future__ import annotations

import logging
import time

from postroom.errors import DatabaseAwayError, PostroomError, in_one_line

logger = logging.getLogger(__name__)

REST_SECONDS = (5.0, 60.0)
"""So long, doubling, it is left alone."""
ENDED_IN_A_ROW = 3
"""So often the server may end the connections of visits before that is told."""


class Outage:
    """Whether the database takes nothing, and since when. Thread-safe enough: what is read twice
    is told twice."""

    def __init__(self) -> None:
        self._since: float | None = None
        """None: it is over, or never began."""
        self.unrecorded: PostroomError | None = None
        """The database could not even take the record of this error; set from any thread."""
        self._ended = 0
        """After so many looks in a row, visits had been ended with their connections."""
        self._rested = REST_SECONDS[0] / 2
        """So long it rested last."""

    def pause(self) -> float:
        """Return for how many seconds to leave the database alone, after it took nothing."""
        error, self.unrecorded = self.unrecorded, None
        if error is None:
            return 0.0
        self._ended += 1
        if isinstance(error, DatabaseAwayError) and self._ended < ENDED_IN_A_ROW:
            return 0.0  # whether it is away is seen right now; else it only ended connections
        self.begin(error)
        self._rested = min(self._rested * 2, REST_SECONDS[1])
        return self._rested

    def begin(self, error: PostroomError) -> None:
        """Tell, unless that was told."""
        if self._since is None:
            self._since = time.monotonic()
            logger.error("%s", in_one_line(error.sentence, error.next_step))

    def end(self) -> None:
        """Tell that it is over, if there was one."""
        self._rested, self._ended = REST_SECONDS[0] / 2, 0
        since, self._since = self._since, None
        if since is not None:
            logger.error("The database works again, after %.0f s.", time.monotonic() - since)
