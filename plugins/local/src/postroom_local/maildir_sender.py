"""The Maildir sender: writes what would be sent, for trying things out; nothing leaves here.

A file's name is made of the Message-ID, so a second try writes the same file again, and
`find_sent` finds it. Who the mail is from and for stands beside it, in the folder ``envelope``.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from postroom.api import (
    CANNOT_TELL,
    CheckStep,
    OutcomeUnknown,
    Outgoing,
    Sender,
    SendResult,
    Sent,
)
from postroom.api.transport import Lookup

from postroom_local.errors import explain, interruption, translated

if TYPE_CHECKING:
    from postroom_local.settings import MaildirSettings


class MaildirSender(Sender):
    """Delivers into one Maildir: whole messages or none, as tmp and new are made for."""

    def __init__(self, settings: MaildirSettings) -> None:
        self._path = Path(settings.path)
        self._interrupted = threading.Event()

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:  # noqa: ARG002
        """Write the envelope, then the message; it is sent once it has its name in ``new``."""
        if self._interrupted.is_set():
            raise interruption(str(self._path), "Writing to")
        name = _name(outgoing)
        envelope = {"sender": outgoing.sender, "recipients": list(outgoing.recipients)}
        with translated(str(self._path)):
            self._make_folders()
            self._write(json.dumps(envelope).encode(), self._path / "envelope" / f"{name}.json")
            target = self._path / "new" / name
            self._write(outgoing.raw, target)
        try:
            _sync(target.parent)
        except OSError as error:
            raise OutcomeUnknown(f"{target} may be lost if the power fails now.") from error
        return SendResult(accepted=outgoing.recipients, reply=f"written to {target}")

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:  # noqa: ARG002
        """Look for the file. Not finding it proves nothing: somebody may have taken it away."""
        with translated(str(self._path)):
            for folder in ("new", "cur"):
                if any((self._path / folder).glob(f"{_digest(message_id)}.*")):
                    return Sent()
        return CANNOT_TELL

    def check(self) -> Iterator[CheckStep]:
        """See whether the folder, or the one to make it in, may be written to."""
        folder = self._path if self._path.exists() else self._path.parent
        if os.access(folder, os.W_OK | os.X_OK):
            yield CheckStep("write", "ok", str(folder))
        else:
            error = explain(_refusal(folder), str(folder))
            yield CheckStep("write", "fail", error.sentence, error.next_step)

    def interrupt(self) -> None:
        """Write nothing more."""
        self._interrupted.set()

    def close(self) -> None:
        """Nothing stays open."""

    def _make_folders(self) -> None:
        self._path.mkdir(mode=0o700, exist_ok=True)
        for name in ("tmp", "new", "cur", "envelope"):
            (self._path / name).mkdir(mode=0o700, exist_ok=True)

    def _write(self, content: bytes, target: Path) -> None:
        """Make a file appear with all of its bytes, or not at all."""
        temporary = self._path / "tmp" / target.name
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)


def _name(outgoing: Outgoing) -> str:
    """A retry for other recipients is another file."""
    return f"{_digest(outgoing.message_id)}.{_digest(*outgoing.recipients)}.postroom"


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refusal(folder: Path) -> OSError:
    if not folder.is_dir():
        return FileNotFoundError(2, "No such folder")
    return PermissionError(13, "Permission denied")
