"""The core's own errors: retrieval stops, nothing is settled, an administrator is told.

::

    PostroomError
    ├── StoreError
    │   ├── DatabaseUnusableError
    │   │   └── DatabaseLockedError   another program holds it, and did not let go
    │   ├── DatabaseAwayError         its server restarts, or ended the connection: nobody's trouble
    │   ├── ConflictError             undone in favour of another transaction: once more
    │   ├── SchemaError               `postroom db upgrade` is needed, or a newer postroom
    │   └── DiskFullError
    ├── KeyUnusableError              the key that opens sealed secrets
    ├── LeaseLostError                another runner took over; what was not committed is not done
    ├── NotFoundError                 no such mailbox, question, …
    ├── InputError                    what was asked for cannot be done; lists every problem
    └── BusyError                     somebody else holds it; try later
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from postroom.api import codes
from postroom.api.codes import Code
from postroom.api.errors import Problem


def in_one_line(sentence: str, next_step: str) -> str:
    """Return what happened and what to do about it as one text; a server's last words may have
    no full stop."""
    last = sentence[-1:]
    stop = "." if last.isalnum() or last in {'"', "'", ")", "]"} else ""
    return f"{sentence}{stop} {next_step}".strip()


class PostroomError(Exception):
    """Base. `sentence` says what happened; `next_step` the one next thing to do."""

    code: Code | None = None

    def __init__(self, sentence: str, *, next_step: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.next_step = next_step or (self.code.next_step if self.code else "")


class StoreError(PostroomError):
    """The database cannot be used."""

    code = codes.DATABASE


class DatabaseUnusableError(StoreError):
    """No connection, no permission, no driver, or damaged."""


class DatabaseLockedError(DatabaseUnusableError):
    """Another program holds the file, and did not let it go while it was waited for."""


class DatabaseAwayError(DatabaseUnusableError):
    """The server is not reached, takes no connection, or ended one; for all mailboxes alike."""


class ConflictError(StoreError):
    """The database undid a transaction in favour of another: a deadlock, say."""


class SchemaError(StoreError):
    """The schema is older or newer than this program."""


class DiskFullError(StoreError):
    """No space left."""

    code = codes.DISK_FULL

    @classmethod
    def of_temporary_folder(cls, sentence: str, cause: object) -> DiskFullError:
        """Return the error of the folder for large messages, which may have other troubles than
        too little space; `cause` is the system's error, if there is one."""
        step = None
        if isinstance(cause, OSError) and cause.errno not in (errno.ENOSPC, errno.EDQUOT):
            step = _FEW_FILES if cause.errno in (errno.EMFILE, errno.ENFILE) else _LOOK
        return cls(sentence, next_step=step)


_LOOK = "Look at the temporary folder and its disk, or set TMPDIR to another folder."
_FEW_FILES = "Let postroom have more files open (ulimit -n, or LimitNOFILE in its unit)."


class KeyUnusableError(PostroomError):
    """The key is missing, unreadable, or not the one that sealed what is stored."""

    code = codes.KEY_UNREADABLE


class LeaseLostError(PostroomError):
    """Another runner took over."""


class NotFoundError(PostroomError):
    """There is nothing of that name or number."""


class InputError(PostroomError):
    """What was asked for cannot be done."""

    def __init__(
        self, sentence: str, problems: Sequence[Problem] = (), *, next_step: str | None = None
    ) -> None:
        super().__init__(sentence, next_step=next_step)
        self.problems = tuple(problems)


class BusyError(PostroomError):
    """Another process holds what is needed."""
