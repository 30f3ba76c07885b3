"""Seals what is secret, with a key that lies outside the database.

The key is POSTROOM_KEY itself, or the content of POSTROOM_KEY_FILE (default: ``key`` in the user's
data folder), made on first use. The database holds a probe sealed with it, so that another key is
recognised before anything is sealed with the wrong one. While the key is changed (`key_rotation`),
the next one stands beside it: what it does not open, that one may.
"""

from __future__ import annotations

import base64
import binascii
import errno
import logging
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from postroom import places
from postroom.errors import KeyUnusableError
from postroom.store.database import is_sqlite
from postroom.store.models import Setting, database

logger = logging.getLogger(__name__)

_VERSION: Final = b"\x01"  # AES-256-GCM, 12 bytes of nonce, then text and tag
_NONCE: Final = 12
_BOUND_TO: Final = b"postroom"
PROBE: Final = "key-probe"
SECRET: Final = "installation-secret"  # noqa: S105 - a name

_warned: set[Path] = set()
_installation_secrets: WeakKeyDictionary[object, bytes] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Key:
    """32 bytes, and where they came from, for messages."""

    value: bytes = field(repr=False)
    origin: str


def prepare() -> Path | None:
    """Make the key if there is none yet, and see that it is this database's.

    :returns: the file that was made, None if a key was there
    :raises KeyUnusableError: unreadable, or not the key of this database
    """
    if os.environ.get("POSTROOM_KEY"):
        _fitting_key()
        return None
    path = places.key_file()
    existed = path.exists()
    _fitting_key()
    return None if existed else path


def seal(values: bytes) -> bytes:
    """Return the bytes encrypted and authenticated.

    :raises KeyUnusableError: the key cannot be read, or is not the one of this database
    """
    return encrypt(_fitting_key(), values)


def unseal(sealed: bytes) -> bytes:
    """Return what was sealed.

    :raises KeyUnusableError: the key is missing, unreadable, or another
    """
    return opened(_read_keys() or _no_keys(), bytes(sealed))[1]


def installation_secret() -> bytes:
    """Return 32 random bytes that belong to this installation, the same for ever.

    Made on first use, by whichever process is first.
    """
    known = _installation_secrets.get(database.obj)
    if known is None:
        stored = _stored(SECRET)
        if stored is None:
            stored = _store_once(SECRET, seal(secrets.token_bytes(32)))
        known = _installation_secrets[database.obj] = unseal(stored)
    return known


# ---------------------------------------------------------------------------- the key


def _fitting_key() -> Key:
    """Return the key after comparing it with the probe; make both if there is neither."""
    probe = _stored(PROBE, locked=True)
    keys = _read_keys()
    if not keys:
        if probe is not None:
            _no_keys()
        keys = [_make_key(places.key_file())]
    if probe is None:
        probe = _store_once(PROBE, encrypt(keys[0], PROBE.encode()))
    return opened(keys, probe)[0]


def _read_keys() -> list[Key]:
    """Return the configured key, and the next one where a rotation was begun."""
    given = os.environ.get("POSTROOM_KEY")
    if given:
        return [decode(given.encode(), "POSTROOM_KEY")]
    path = places.key_file()
    return [key for key in (read_file(path), read_file(next_to(path))) if key is not None]


def next_to(path: Path) -> Path:
    """Return where the next key stands until everything is sealed with it."""
    return path.with_name(f"{path.name}.next")


def read_file(path: Path) -> Key | None:
    """Return the key in a file, None if there is no such file."""
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyUnusableError(f"The key file {path} cannot be read: {error.strerror}.") from error
    _warn_if_open(path, mode)
    return decode(content, f"the key file {path}")


def decode(text: bytes, origin: str) -> Key:
    """Return the key that a text is.

    :raises KeyUnusableError: it is none
    """
    try:
        value = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 32:
        raise KeyUnusableError(
            f"{origin[0].upper()}{origin[1:]} holds no key: 32 bytes as base64 are expected.",
            next_step="Put the original key back: without it the stored passwords are lost. "
            "Where none was stored yet, remove what is there, and a key is made.",
        )
    return Key(value, origin)


def _warn_if_open(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO) and path not in _warned:
        _warned.add(path)
        logger.warning("The key file %s can be read by others: chmod 600 it.", path)


def _make_key(path: Path) -> Key:
    """Write a new key; if another process was faster, take its key."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_private(path, new_text())
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_be_made(path, error) from error
    return read_file(path) or _no_keys()[0]


def new_text() -> bytes:
    """Return a new key as its file has it."""
    return text_of(Key(secrets.token_bytes(32), "a new key"))


def text_of(key: Key) -> bytes:
    """Return a key as its file has it."""
    return base64.urlsafe_b64encode(key.value) + b"\n"


def cannot_be_made(path: Path, error: OSError) -> KeyUnusableError:
    """Return what to raise when a key file cannot be written."""
    step = "Point POSTROOM_KEY_FILE to a place where this user may write."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        step = "Free some space there, and run it again."
    sentence = f"The key file {path} cannot be made: {error.strerror}."
    return KeyUnusableError(sentence, next_step=step)


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only this user may read: it appears whole, and on the disk, or not.

    :raises FileExistsError: there is one
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    finally:
        partial.unlink()


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_keys() -> list[Key]:
    raise KeyUnusableError(
        f"The key file {places.key_file()} does not exist, but this database was set up with a key."
    )


# ---------------------------------------------------------------------------- sealing


def encrypt(key: Key, values: bytes) -> bytes:
    """Return the bytes sealed with a key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return _VERSION + nonce + AESGCM(key.value).encrypt(nonce, values, _BOUND_TO)


def opened(keys: Sequence[Key], sealed: bytes) -> tuple[Key, bytes]:
    """Return the first of some keys that opens what was sealed, and what was.

    :raises KeyUnusableError: none of them does
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE + 16:
        raise KeyUnusableError("A sealed secret in the database is damaged, or of a newer version.")
    nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
    for key in keys:
        with suppress(InvalidTag):
            return key, AESGCM(key.value).decrypt(nonce, body, _BOUND_TO)
    origin = keys[0].origin
    raise KeyUnusableError(
        f"{origin[0].upper()}{origin[1:]} does not open this database's secrets: it is another key."
    )


# ---------------------------------------------------------------------------- the database


def _stored(name: str, *, locked: bool = False) -> bytes | None:
    """Return a value; `locked`: nobody changes it until the caller's transaction ends."""
    query = Setting.select().where(Setting.name == name)
    if locked and not is_sqlite() and database.in_transaction():
        query = query.for_update("FOR SHARE")  # type: ignore[arg-type]  # its stubs know True only
    row = query.first()
    return bytes(row.value) if row else None


def _store_once(name: str, value: bytes) -> bytes:
    """Store a value unless there is one; return what is there then."""
    Setting.insert(name=name, value=value).on_conflict_ignore().execute()
    stored = _stored(name)
    assert stored is not None  # noqa: S101 - the row is there, ours or another's
    return stored
