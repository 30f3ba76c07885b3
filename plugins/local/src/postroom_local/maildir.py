"""The Maildir receiver. A ref is a file's name without its flags, so it stays the same when a mail
program moves the file from ``new`` to ``cur`` or marks it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from postroom.api import Context, Disposition, SettingsError, codes

from postroom_local.files import FileReceiver, MessageFile, described, message_files, move, ref_of

if TYPE_CHECKING:
    from postroom_local.settings import MaildirSettings

_FLAGS = ":2,"  # https://cr.yp.to/proto/maildir.html


class MaildirReceiver(FileReceiver):
    """Retrieves from ``new`` and ``cur`` of one Maildir."""

    def __init__(self, settings: MaildirSettings, context: Context) -> None:
        super().__init__(settings.path, context)

    def folders(self) -> list[str]:
        """Return where messages are. In this order: a message that is moved while the folders are
        listed is seen twice rather than never."""
        return [str(Path(self.path, name)) for name in ("new", "cur")]

    def scan(self) -> Iterator[MessageFile]:
        """Yield each message once."""
        found = {
            file.ref: file
            for folder in self.folders()
            for entry in message_files(folder)
            for file in described(entry, ref_of(entry.name.partition(_FLAGS)[0]))
        }
        yield from found.values()

    def apply(self, file: MessageFile, disposition: Disposition) -> None:
        """Mark, move to a subfolder, or delete."""
        match disposition.action:
            case "seen":
                self._mark_seen(file)
            case "move":
                where = Path(file.path).parent.name
                move(file.path, str(Path(self._subfolder(disposition.folder or ""), where)))
            case "delete":
                os.unlink(file.path)

    def _mark_seen(self, file: MessageFile) -> None:
        """Read messages are in ``cur`` and have the flag S; flags stand in ASCII order."""
        name, _, flags = Path(file.path).name.partition(_FLAGS)
        seen = "".join(sorted({*flags, "S"}))
        target = Path(self.path, "cur", f"{name}{_FLAGS}{seen}")
        if str(target) != file.path:
            os.rename(file.path, target)

    def _subfolder(self, name: str) -> str:
        """Return the folder of this name as Maildir++ keeps it; made if missing.

        :raises SettingsError: it is no name of a folder
        """
        dotted = name.replace("/", ".")
        if not all(dotted.split(".")) or "\0" in dotted:
            sentence = f'"{name}" cannot be the name of a folder in a Maildir.'
            raise SettingsError(codes.SETTINGS_INVALID, sentence)
        folder = Path(self.path, f".{dotted}")
        for part in ("tmp", "new", "cur"):
            (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "maildirfolder").touch()
        return str(folder)
