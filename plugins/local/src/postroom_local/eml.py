"""The receiver for a folder of files. A ref is a file's path below the folder; a file that is
replaced by another is recognised by its size and date.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from postroom.api import Context, Disposition, SettingsError, codes

from postroom_local.files import (
    FileReceiver,
    MessageFile,
    described,
    message_files,
    move,
    ref_of,
    unsupported,
)

if TYPE_CHECKING:
    from postroom_local.settings import EmlSettings


class EmlReceiver(FileReceiver):
    """Retrieves the files of a folder whose names fit the pattern."""

    def __init__(self, settings: EmlSettings, context: Context) -> None:
        super().__init__(settings.path, context)
        self._settings = settings

    def folders(self) -> list[str]:
        """Return the folder, and those in it if they are read too; hidden ones are not."""
        if not self._settings.subfolders:
            return [self.path]
        found = []
        for folder, below, _ in os.walk(self.path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            found.append(folder)
        return found or [self.path]

    def scan(self) -> Iterator[MessageFile]:
        """Yield the files that are messages."""
        for folder in self.folders():
            for entry in message_files(folder):
                if fnmatch(entry.name, self._settings.pattern):
                    relative = os.path.relpath(entry.path, self.path)
                    yield from described(entry, ref_of(relative))

    def apply(self, file: MessageFile, disposition: Disposition) -> None:
        """Move to another folder, or delete."""
        match disposition.action:
            case "move":
                move(file.path, self._target(disposition.folder or ""))
            case "delete":
                os.unlink(file.path)
            case _:
                raise unsupported("A folder of files", disposition)

    def _target(self, name: str) -> str:
        """Return the folder to move to, in the folder that is read or anywhere else; made if
        missing.

        :raises SettingsError: it is read itself
        """
        target = os.path.normpath(os.path.join(self.path, os.path.expanduser(name)))
        inside = Path(target).is_relative_to(self.path)
        if target == self.path or (inside and self._settings.subfolders):
            sentence = f"{target} is read itself, so nothing can be moved there."
            raise SettingsError(codes.DISPOSITION_UNSUPPORTED, sentence)
        os.makedirs(target, mode=0o700, exist_ok=True)
        return target
