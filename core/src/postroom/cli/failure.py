"""Every error a command may end with: one sentence, the next step, an exit code. No traceback for
anything that a person can put right."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from postroom.api import codes
from postroom.api.errors import TransientError, TransportError
from postroom.cli.output import clean
from postroom.errors import (
    BusyError,
    ConflictError,
    DatabaseLockedError,
    LeaseLostError,
    PostroomError,
)

TRY_LATER = 75  # EX_TEMPFAIL of sysexits.h


class Failure(click.ClickException):
    """What a person reads: a sentence, details, the next step."""

    def __init__(
        self, sentence: str, *, details: Iterable[str] = (), next_step: str = "", exit_code: int = 1
    ) -> None:
        super().__init__(sentence)
        self.details = list(details)
        self.next_step = next_step
        self.exit_code = exit_code  # type: ignore[misc]  # click says ClassVar, and reads self's

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to standard error."""
        lines = [f"Error: {self.message}", *(f"  {d}" for d in self.details), self.next_step]
        for line in lines:
            if line:
                click.echo(clean(line), file=file or sys.stderr)


def explain(error: Exception) -> Failure | Exception:
    """Return what to raise in place of an error; with POSTROOM_DEBUG a bug stays as it is."""
    if isinstance(error, PostroomError | TransportError):
        return Failure(
            error.sentence,
            details=[str(problem) for problem in getattr(error, "problems", ())],
            next_step=error.next_step,
            exit_code=TRY_LATER if _passes_by_itself(error) else 1,
        )
    if "peewee" in sys.modules:
        from postroom.store import errors as store_errors

        if store_errors.is_about_the_database(error):
            return explain(store_errors.explain(error))
    if isinstance(error, OSError) and (error.filename or error.strerror):
        return _explain_system(error)
    if isinstance(error, UnicodeEncodeError) and not all(map(_is_text, sys.argv)):
        return Failure(
            "An argument is not text in UTF-8.",
            next_step="Give it in UTF-8, as the terminal does with LANG=C.UTF-8.",
        )
    if os.environ.get("POSTROOM_DEBUG"):
        return error
    return _explain_bug(error)


def _passes_by_itself(error: PostroomError | TransportError) -> bool:
    """Say whether the same command may well succeed later, with nothing done in between."""
    if isinstance(error, TransientError):
        return error.code not in (codes.PLUGIN_BUG, codes.PLUGIN_HANGS)
    return isinstance(error, BusyError | ConflictError | DatabaseLockedError | LeaseLostError)


def _is_text(argument: str) -> bool:
    """Say whether an argument is text: of other bytes Python makes lone surrogates (PEP 383)."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _explain_system(error: OSError) -> Failure:
    reason = error.strerror or type(error).__name__
    if error.filename == "":
        return Failure("The name of a file is empty.", next_step="Name the file.")
    if not error.filename:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        step = "Free some space where the output goes." if is_full else ""
        return Failure(f"The system says: {reason}.", next_step=step)
    return Failure(
        f"{os.fsdecode(error.filename)}: {reason}.",
        next_step="Check the path, and that this user may use it.",
    )


def _explain_bug(error: Exception) -> Failure:
    path = _write_down(error)
    where = f"The traceback is in {path}." if path else "POSTROOM_DEBUG=1 shows the traceback."
    return Failure(
        f"An error in postroom itself ({type(error).__name__}). {where}",
        next_step="Please report it; POSTROOM_DEBUG=1 shows the traceback here.",
    )


def _write_down(error: Exception) -> Path | None:
    """Append the traceback to a file that only this user can read."""
    from postroom.places import data_folder

    try:
        path = data_folder() / "errors.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"--- {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {sys.argv[1:3]}\n")
            file.writelines(traceback.format_exception(error))
    except OSError:
        return None
    return path
