"""Changes the key that seals secrets: everything is sealed anew in one transaction.

The new key is written beside the old one, as ``key.next``, before the transaction, and takes its
place after it. Killed before the commit, the old key still opens everything, and ``key.next`` is a
leftover; killed after it, ``key.next`` opens everything, also for processes that run meanwhile
(`secrets.unseal` tries both), and `finish` puts it into place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from postroom import places, secrets
from postroom.errors import InputError, KeyUnusableError
from postroom.secrets import PROBE, SECRET, Key
from postroom.store.database import is_sqlite, now, rows, transaction
from postroom.store.fields import SealedField
from postroom.store.models import TABLES, Setting, Table


@dataclass(frozen=True, slots=True)
class Rotation:
    """What was done."""

    resealed: int
    """How many sealed values there were."""
    old_key: Path | None
    """Where the old key is kept: backups from before need it. None if it was not in a file."""


def rotate(new: Key | None = None) -> Rotation:
    """Seal everything with another key.

    :param new: the key to use from now on; by default one is made, in the key file
    :raises InputError: the key is POSTROOM_KEY, which only an administrator can change
    :raises KeyUnusableError: the present key does not open the secrets, or no file can be written
    """
    if os.environ.get("POSTROOM_KEY"):
        if new is None:
            raise InputError(
                "The key is in POSTROOM_KEY, which postroom cannot change.",
                next_step="Give the new one by --new-key-env or --new-key-file, and put it into "
                "POSTROOM_KEY afterwards.",
            )
        with transaction():
            return Rotation(_reseal(new), None)
    secrets.prepare()
    with transaction():
        _lock()
        _settle_files()  # of a rotation that was killed
        written = _write_next(new)
        resealed = _reseal(written)
    return Rotation(resealed, finish())


def finish() -> Path | None:
    """Put the next key into place if everything is sealed with it; else remove it.

    :returns: where the old key is kept, if it was replaced
    """
    if os.environ.get("POSTROOM_KEY") or not secrets.next_to(places.key_file()).exists():
        return None
    with transaction():
        _lock()
        return _settle_files()


def _settle_files() -> Path | None:
    """Do so under the lock: nobody else writes or replaces a key file meanwhile."""
    path = places.key_file()
    following = secrets.next_to(path)
    present, next_key = secrets.read_file(path), secrets.read_file(following)
    if present is None or next_key is None:
        return None
    probe = bytes(Setting.get(Setting.name == PROBE).value)
    if secrets.opened([present, next_key], probe)[0] == present:
        following.unlink()
        return None
    kept = path.with_name(f"{path.name}.until-{_stamp(now())}")
    try:
        os.link(path, kept)
        os.replace(following, path)
        secrets.sync_folder(path.parent)
    except OSError as error:
        raise KeyUnusableError(
            f"The key file {path} cannot be replaced: {error.strerror}.",
            next_step=f"Move {following} to {path}: everything is sealed with it.",
        ) from error
    return kept


def _stamp(instant: datetime) -> str:
    return f"{instant:%Y%m%dT%H%M%S%fZ}"


def _lock() -> None:
    """Keep others from sealing and rotating until the transaction ends; on SQLite it does."""
    if not is_sqlite():
        Setting.select().where(Setting.name == PROBE).for_update().execute()


def _write_next(new: Key | None) -> Key:
    path = secrets.next_to(places.key_file())
    try:
        secrets.write_private(path, secrets.new_text() if new is None else secrets.text_of(new))
        secrets.sync_folder(path.parent)
    except OSError as error:
        raise secrets.cannot_be_made(path, error) from error
    written = secrets.read_file(path)
    assert written is not None  # noqa: S101 - it was just written
    return written


def _reseal(new: Key) -> int:
    """Seal every value with the new key, in the caller's transaction; return how many."""
    count = 0
    for table, field in sealed_columns():
        key = table._meta.primary_key
        for row_id, sealed in rows(table.select(key, field).where(field.is_null(False))):
            values = {field.name: _resealed(new, sealed)}
            count += table.update(**values).where(key == row_id).execute()
    for setting in Setting.select().where(Setting.name.in_([PROBE, SECRET])):
        values = {Setting.value: _resealed(new, setting.value)}
        count += Setting.update(values).where(Setting.name == setting.name).execute()
    return count


def _resealed(new: Key, sealed: bytes) -> bytes:
    return secrets.encrypt(new, secrets.unseal(sealed))


def sealed_columns() -> Iterator[tuple[type[Table], SealedField]]:
    """Yield the columns that hold sealed values."""
    for table in TABLES:
        for field in table._meta.fields.values():
            if isinstance(field, SealedField):
                yield table, field
