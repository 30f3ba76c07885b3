"""Messages out of files, in pieces where they are large: memory stays flat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from postroom.api import Spool

PAGE = 500
"""So many refs are asked about at once."""
_PIECE = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(
    pull: Callable[[int], bytes], size: int, spool_above: int, check: Callable[[], None]
) -> bytes | Spool:
    """Return `size` bytes, or fewer where there are no more.

    :param pull: returns the next bytes, at most so many; none at the end
    :param spool_above: more bytes than this become a `Spool`
    :param check: called before each piece; may raise
    """
    if size <= spool_above:
        check()
        return pull(size)
    spool = Spool()
    try:
        while size > 0:
            check()
            piece = pull(min(_PIECE, size))
            if not piece:
                break
            spool.write(piece)
            size -= len(piece)
    except BaseException:
        spool.close()
        raise
    return spool


def instant(nanoseconds: int) -> datetime:
    """Return a file's time, UTC, to the microsecond: the ledger compares it with the last one."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
