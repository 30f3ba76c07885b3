"""What the file system says, in the contract's errors: one table, used wherever files are touched.

A message that cannot be read is `unreadable`, the folder or file of all messages `translated`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from postroom.api import Code, SettingsError, TransientError, TransportError, codes

LOCAL_PERMISSION = Code(
    "LOCAL-PERMISSION",
    "The user that postroom runs as may not use the path.",
    "Give that user the right to read it, and to write where the mailbox moves or deletes.",
)
LOCAL_TROUBLE = Code(
    "LOCAL-TROUBLE",
    "The file system reports an error.",
    "Nothing if it passes by itself; else check the disk or the file server.",
)
LOCAL_NO_MBOX = Code(
    "LOCAL-NO-MBOX",
    "The file does not begin as an mbox file does, with a line that begins with From and a space.",
    'Correct the path; a file with a single message is read by the transport "eml".',
)
CORRECT_THE_PATH = (
    "Correct the path; that of a mailbox is set with `postroom mailbox incoming` or `outgoing`."
)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise what goes wrong with `path` itself as an error that says what the core does next."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def explain(error: OSError, path: str) -> TransportError:
    """Return the error for what happened to `path`, or to what the system names."""
    reason = error.strerror or type(error).__name__
    path = os.fsdecode(error.filename) if error.filename else path
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        sentence = f"{path} cannot be used: {reason}."
        return SettingsError(codes.FOLDER_MISSING, sentence, next_step=CORRECT_THE_PATH)
    if isinstance(error, PermissionError):
        return SettingsError(LOCAL_PERMISSION, f"{path} may not be used: {reason}.")
    return TransientError(LOCAL_TROUBLE, f"{path} cannot be used now: {reason}.")


def unreadable(error: OSError, name: str) -> TransportError:
    """Return the error of one message; the others go on."""
    reason = error.strerror or type(error).__name__
    return TransportError(codes.MESSAGE_UNREADABLE, f"{name} cannot be read: {reason}.")


def interruption(path: str, doing: str = "Reading") -> TransientError:
    """Return the error of a session that was told to end."""
    return TransientError(codes.CONNECTION_LOST, f"{doing} {path} was interrupted.")
