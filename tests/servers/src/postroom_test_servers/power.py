"""A power cut: what of some files is left when only that is kept which was waited for.

A small library, preloaded into a process, notes what the process does to the files of a folder
(``power_recorder.c``). `Journal.cut` then says what a disk would hold: what came before an
``fsync`` of its file, under the names that an ``fsync`` of its folder kept; of all else nothing, or
any part, sector by sector, in any order.

::

    recorder = Recorder(folder)
    before = recorder.snapshot()                  # nobody has the files open
    subprocess.run(command, env=os.environ | recorder.environ)
    recorder.put(recorder.journal(before).cut(random.Random(1)))
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest

SECTOR: Final = 512
_HEAD: Final = struct.Struct("=cIIq")
_SOURCE: Final = Path(__file__).with_name("power_recorder.c")
_ROOT: Final = Path(__file__).resolve().parents[4]
Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Note:
    """What was done: (w)ritten, (t)runcated, (s)ynced, (c)reated, (u)nlinked, (r)enamed or
    (l)inked."""

    what: str
    path: str
    content: bytes
    offset: int


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Note] = field(default_factory=list)

    def sync(self) -> None:
        for note in self.pending:
            _apply(self.durable, note)
        self.pending = []

    def left(self, chance: Random | None) -> bytes:
        content = bytearray(self.durable)
        for note in self.pending if chance else ():
            for part in _sectors(note):
                if chance is not None and chance.random() < 0.5:
                    _apply(content, part)
        return bytes(content)


def _sectors(note: Note) -> Iterator[Note]:
    if note.what != "w":
        yield note
        return
    start = 0
    while start < len(note.content):
        end = start + SECTOR - (note.offset + start) % SECTOR
        yield Note("w", note.path, note.content[start:end], note.offset + start)
        start = end


def _apply(content: bytearray, note: Note) -> None:
    end = note.offset + len(note.content)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if note.what == "t":
        del content[note.offset :]
    else:
        content[note.offset : end] = note.content


class Journal:
    """What was done to files, in order."""

    def __init__(self, before: Mapping[str, bytes], notes: list[Note]) -> None:
        self._before = before
        self.notes = notes

    def cut(self, chance: Random | None = None, *, after: int | None = None) -> Files:
        """Return the files that a power cut leaves, by path.

        :param chance: which of what was not waited for is there all the same; None: nothing
        :param after: so many notes; None: all
        """
        disk = _Disk(self._before)
        for note in self.notes[:after]:
            disk.do(note)
        return disk.left(chance)


class _Disk:
    def __init__(self, before: Mapping[str, bytes]) -> None:
        self._live = {path: _File(bytearray(content)) for path, content in before.items()}
        self._durable = dict(self._live)
        self._names: dict[str, list[tuple[str, _File | None]]] = {}
        """By folder: names that are not waited for yet; None: removed."""

    def do(self, note: Note) -> None:
        match note.what:
            case "w" | "t":
                if note.path not in self._live:  # made by a process that is not recorded
                    self._live[note.path] = self._durable[note.path] = _File()
                self._live[note.path].pending.append(note)
            case "s" if note.path in self._live:
                self._live[note.path].sync()
            case "s":
                for name, file in self._names.pop(note.path, []):
                    self._keep(name, file)
            case "c":
                self._name(note.path, _File())
            case "u":
                self._name(note.path, None)
            case "l":
                self._name(note.content.decode(), self._live[note.path])
            case "r":
                self._name(note.content.decode(), self._live[note.path])
                self._name(note.path, None)

    def left(self, chance: Random | None) -> Files:
        for names in self._names.values() if chance else ():
            for name, file in names[: chance.randint(0, len(names)) if chance else 0]:
                self._keep(name, file)
        return {path: file.left(chance) for path, file in self._durable.items()}

    def _name(self, path: str, file: _File | None) -> None:
        _set(self._live, path, file)
        self._names.setdefault(os.path.dirname(path), []).append((path, file))

    def _keep(self, path: str, file: _File | None) -> None:
        _set(self._durable, path, file)


def _set(names: dict[str, _File], path: str, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


class Recorder:
    """Records what processes do to the files of a folder.

    :param folder: must be there; subfolders are recorded too
    :param workplace: for the library and the journal
    """

    def __init__(self, folder: Path, workplace: Path) -> None:
        self.folder = folder.resolve()
        self._journal = workplace / "journal"
        self.environ = {
            "LD_PRELOAD": str(_compiled(workplace)),
            "POWER_FOLDER": str(self.folder),
            "POWER_JOURNAL": str(self._journal),
        }

    def snapshot(self) -> Files:
        """Return the files as they are, all of it on the disk; forget the journal."""
        self._journal.unlink(missing_ok=True)
        return {str(path): path.read_bytes() for path in self._files()}

    def journal(self, before: Files) -> Journal:
        """Return what was recorded since."""
        content = self._journal.read_bytes() if self._journal.exists() else b""
        return Journal(before, list(_notes(content)))

    def put(self, files: Files) -> None:
        """Have these files in the folder and no others. SQLite's shared memory is none."""
        for path in self._files():
            path.unlink()
        for name, content in files.items():
            if not name.endswith("-shm"):
                Path(name).write_bytes(content)
                Path(name).chmod(0o600)

    def _files(self) -> Iterator[Path]:
        yield from [path for path in self.folder.rglob("*") if path.is_file()]


def _notes(content: bytes) -> Iterator[Note]:
    at = 0
    while at < len(content):
        what, path_length, length, offset = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        path = content[at : at + path_length].decode()
        at += path_length
        yield Note(what.decode(), path, content[at : at + length], offset)
        at += length


def _compiled(workplace: Path) -> Path:
    library = workplace / "power_recorder.so"
    compiler = _compiler()
    if compiler is None:
        missing = "a C compiler is missing (Debian, Ubuntu: apt install gcc libc6-dev)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    command = [*compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=120)
    return library


def _compiler() -> list[str | Path] | None:
    """Return the system's, or else the one that `scripts/test` put beside it."""
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    private = _ROOT / ".venv-cc" / "bin" / "python"
    return [private, "-m", "ziglang", "cc"] if private.exists() else None
