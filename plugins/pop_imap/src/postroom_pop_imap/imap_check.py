"""The self-test of an IMAP mailbox, step by step; it changes nothing on the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from postroom.api import CheckStep, TransportError, codes

from postroom_pop_imap.check import failing, session_steps
from postroom_pop_imap.errors import Refused
from postroom_pop_imap.imap_folders import open_folder
from postroom_pop_imap.imap_names import encode_folder
from postroom_pop_imap.imap_wire import Wire
from postroom_pop_imap.settings import ImapSettings

Connect = Callable[[Callable[[str], None]], Wire]
_LACKS: Final = {
    "IDLE": "New mail is noticed at the next poll only.",
    "MOVE": "Messages are moved by copying and deleting.",
    "UIDPLUS": "Moved and deleted messages stay in the folder, marked as deleted.",
}


def check_steps(settings: ImapSettings, connect: Connect) -> Iterator[CheckStep]:
    """Yield every step; after one that fails, the rest of the session's steps are skipped."""
    names = ["resolve", "connect", "tls", "log in"]
    if settings.security == "none":
        names.remove("tls")
    done: list[str] = []
    try:
        wire = connect(done.append)
    except TransportError as error:
        yield from session_steps(names, done, error)
        yield from (CheckStep(f"folder {name}", "skip") for name in settings.folders)
        return
    yield from session_steps(names, done, None)
    yield from _extensions(wire)
    for name in settings.folders:
        if wire.usable:
            yield from _folder_steps(wire, name)
        else:
            yield CheckStep(f"folder {name}", "skip")


def _extensions(wire: Wire) -> Iterator[CheckStep]:
    for extension, meaning in _LACKS.items():
        if wire.has(extension):
            yield CheckStep(extension, "ok")
        else:
            yield CheckStep(extension, "warn", f"The server does not offer it. {meaning}")


def _folder_steps(wire: Wire, name: str) -> Iterator[CheckStep]:
    label = f"folder {name}"
    try:
        folder = open_folder(wire, name)
        yield CheckStep(label, "ok", f"{folder.exists} messages")
        yield _permission(wire, folder.name, label)
    except TransportError as error:
        yield failing(label, error)


def _permission(wire: Wire, name: str, label: str) -> CheckStep:
    """Open for writing, and leave with EXAMINE so that nothing is expunged on closing."""
    label = f"{label}: write"
    try:
        folder = open_folder(wire, name, writable=True)
        wire.ask(b"EXAMINE " + encode_folder(name), f"open the folder {name}")
    except Refused as refused:
        return failing(label, wire.explain(refused, f"open the folder {name}"))
    if folder.read_only or not (folder.keeps("\\Seen") and folder.keeps("\\Deleted")):
        code = codes.FOLDER_READ_ONLY
        return CheckStep(label, "warn", code.meaning, code.next_step)
    return CheckStep(label, "ok")
