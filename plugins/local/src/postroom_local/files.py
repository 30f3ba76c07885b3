"""What a Maildir and a folder of .eml files have in common: a message is a file."""

from __future__ import annotations

import itertools
import os
import re
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from postroom.api import (
    Checkpoint,
    CheckStep,
    Context,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Oversized,
    Receiver,
    SettingsError,
    Settled,
    TransportError,
    Unavailable,
    Unsettled,
    codes,
)
from postroom.api.transport import Delivery, Wanted

from postroom_local.errors import LOCAL_PERMISSION, explain, interruption, translated, unreadable
from postroom_local.reading import PAGE, instant, read

_TRIES = 3
"""So often a file is looked for again that is renamed under our hands."""
_NOT_IN_REFS = re.compile("[%\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A file with a message, as it was when the folder was listed."""

    ref: str
    path: str
    size: int
    modified_at: datetime

    @property
    def listed(self) -> Listed:
        """What the ledger is told: a file of the same name and another size or date is new."""
        return Listed(self.ref, self.modified_at, self.size)


class FileReceiver(Receiver):
    """Retrieves from folders. What differs: which files, and what `seen`, `move`, `delete` mean.

    :param path: the folder of the settings
    """

    def __init__(self, path: str, context: Context) -> None:
        self.path = path
        self.context = context
        self._interrupted = threading.Event()

    @abstractmethod
    def scan(self) -> Iterator[MessageFile]:
        """Yield what is there, in any order.

        :raises OSError: a folder cannot be listed
        """

    @abstractmethod
    def apply(self, file: MessageFile, disposition: Disposition) -> None:
        """Do to a file what `settle` asks for.

        :raises OSError: it cannot be done; FileNotFoundError: the file is no longer there
        """

    # ------------------------------------------------------------------ Receiver

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:  # noqa: ARG002
        """Deliver what is wanted, the oldest first. Listing is cheap, so there is no cursor."""
        files = iter(self._list())
        while page := list(itertools.islice(files, PAGE)):
            self._check_interruption()
            chosen = wanted([file.listed for file in page])
            for file in page:
                if file.ref in chosen:
                    delivery = self._deliver(file, limits)
                    if delivery is not None:
                        yield delivery
        yield Checkpoint("")

    def list_refs(self) -> Iterator[Listed]:
        """Yield what is there."""
        yield from (file.listed for file in self._list())

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Apply the disposition file by file; what is no longer there is settled."""
        if disposition.action == "leave":
            yield from (Settled(ref) for ref in refs)
            return
        files = {file.ref: file for file in self._list()}
        for ref in refs:
            self._check_interruption()
            error = self._settle_one(files.get(ref), disposition)
            yield Settled(ref) if error is None else Unsettled(ref, error)

    def check(self) -> Iterator[CheckStep]:
        """List the folder, and see whether it may be changed."""
        try:
            count = len(self._list())
        except TransportError as error:
            yield CheckStep("list", "fail", error.sentence, error.next_step)
            yield CheckStep("write", "skip", "not tried")
            return
        yield CheckStep("list", "ok", f"{count} messages")
        yield from self._check_writing()

    def interrupt(self) -> None:
        """End before the next piece of a file. A file server that hangs cannot be interrupted."""
        self._interrupted.set()

    def close(self) -> None:
        """Nothing stays open."""

    # ------------------------------------------------------------------ the steps

    def _list(self) -> list[MessageFile]:
        self._check_interruption()
        with translated(self.path):
            return sorted(self.scan(), key=lambda file: (file.modified_at, file.ref))

    def _deliver(self, file: MessageFile, limits: Limits) -> Delivery | None:
        """Return the message; None where it is no longer there."""
        if file.size > limits.max_message_bytes:
            return Oversized(file.ref, file.size, file.modified_at)
        for _ in range(_TRIES):
            try:
                return self._read(file, limits)
            except FileNotFoundError:
                other = self._find_again(file)
                if other is None:
                    break
                file = other
            except OSError as error:
                reason = unreadable(error, file.path)
                return Unavailable(file.ref, reason, file.modified_at, file.size)
        return None

    def _read(self, file: MessageFile, limits: Limits) -> Delivery:
        with open(file.path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limits.max_message_bytes:
                return Oversized(file.ref, size, file.modified_at)
            raw = read(stream.read, size, limits.spool_above, self._check_interruption)
        return Fetched(file.ref, raw, file.modified_at)

    def _find_again(self, file: MessageFile) -> MessageFile | None:
        """Return where a file went that is gone from its place (a mail program marked it), None
        if it is gone for good."""
        return next((other for other in self._list() if other.ref == file.ref), None)

    def _settle_one(
        self, file: MessageFile | None, disposition: Disposition
    ) -> TransportError | None:
        """Return why it could not be done, None when it is done."""
        for _ in range(_TRIES):
            if file is None:
                break
            try:
                self.apply(file, disposition)
            except FileNotFoundError:
                file = self._find_again(file)
            except OSError as error:
                return explain(error, file.path)
            else:
                break
        return None

    def _check_writing(self) -> Iterator[CheckStep]:
        closed = [folder for folder in self.folders() if not os.access(folder, os.W_OK | os.X_OK)]
        if closed:
            detail = f"{closed[0]} is read-only for this user"
            yield CheckStep("write", "warn", detail, LOCAL_PERMISSION.next_step)
        else:
            yield CheckStep("write", "ok", "messages can be moved and deleted")

    def folders(self) -> list[str]:
        """Return the folders that hold files."""
        return [self.path]

    def _check_interruption(self) -> None:
        if self._interrupted.is_set():
            raise interruption(self.path)


def message_files(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield the regular files of a folder, hidden ones not.

    :raises OSError: the folder cannot be listed
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_file():
                yield entry


def described(entry: os.DirEntry[str], ref: str) -> Iterable[MessageFile]:
    """Return a file with what the system knows of it; nothing if it vanished meanwhile."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return ()
    return (MessageFile(ref, entry.path, status.st_size, instant(status.st_mtime_ns)),)


def move(source: str, folder: str) -> None:
    """Rename a file into a folder, under a name that is free there.

    :raises OSError: it cannot be done; nothing is lost then
    """
    name = Path(source).name
    target = Path(folder, name)
    number = 0
    while os.path.lexists(target):
        number += 1
        target = Path(folder, f"{Path(name).stem}-{number}{Path(name).suffix}")
    os.rename(source, target)


def unsupported(name: str, disposition: Disposition) -> SettingsError:
    """Return the error of a transport that cannot do what is asked for."""
    sentence = f"{name} cannot do this with messages: {disposition}."
    return SettingsError(codes.DISPOSITION_UNSUPPORTED, sentence)


def ref_of(name: str) -> str:
    """Return a file name as a ref. Bytes that are no text are written as ``%FF``."""
    return _NOT_IN_REFS.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", name)
