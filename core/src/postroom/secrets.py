"""Seals what is secret, with a key that lies outside the database.

The key is POSTROOM_KEY itself, or the content of POSTROOM_KEY_FILE (default: ``key`` in the user's
data folder), made on first use. The database holds a probe sealed with it, so that another key is
recognised before anything is sealed with the wrong one.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from postroom import places
from postroom.errors import KeyUnusableError
from postroom.store.models import Setting, database

logger = logging.getLogger(__name__)

_VERSION: Final = b"\x01"  # AES-256-GCM, 12 bytes of nonce, then text and tag
_NONCE: Final = 12
_BOUND_TO: Final = b"postroom"
_PROBE: Final = "key-probe"
_SECRET: Final = "installation-secret"  # noqa: S105 - a name

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
    return _encrypt(_fitting_key(), values)


def unseal(sealed: bytes) -> bytes:
    """Return what was sealed.

    :raises KeyUnusableError: the key is missing, unreadable, or another
    """
    key = _read_key()
    if key is None:
        raise _missing()
    return _decrypt(key, bytes(sealed))


def installation_secret() -> bytes:
    """Return 32 random bytes that belong to this installation, the same for ever.

    Made on first use, by whichever process is first.
    """
    known = _installation_secrets.get(database.obj)
    if known is None:
        stored = _stored(_SECRET)
        if stored is None:
            stored = _store_once(_SECRET, seal(secrets.token_bytes(32)))
        known = _installation_secrets[database.obj] = unseal(stored)
    return known


# ---------------------------------------------------------------------------- the key


def _fitting_key() -> Key:
    """Return the key after comparing it with the probe; make both if there is neither."""
    probe = _stored(_PROBE)
    key = _read_key()
    if key is None:
        if probe is not None:
            raise _missing()
        key = _make_key(places.key_file())
    if probe is None:
        probe = _store_once(_PROBE, _encrypt(key, _PROBE.encode()))
    _decrypt(key, probe)
    return key


def _read_key() -> Key | None:
    """Return the configured key, None if its file does not exist."""
    given = os.environ.get("POSTROOM_KEY")
    if given:
        return Key(_decode(given.encode(), "POSTROOM_KEY"), "POSTROOM_KEY")
    path = places.key_file()
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyUnusableError(f"The key file {path} cannot be read: {error.strerror}.") from error
    _warn_if_open(path, mode)
    return Key(_decode(content, f"The key file {path}"), f"the key file {path}")


def _decode(text: bytes, origin: str) -> bytes:
    try:
        value = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 32:
        raise KeyUnusableError(
            f"{origin} holds no key: 32 bytes as base64 are expected.",
            next_step="Put the original key back; without it the stored passwords are lost.",
        )
    return value


def _warn_if_open(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO) and path not in _warned:
        _warned.add(path)
        logger.warning("The key file %s can be read by others: chmod 600 it.", path)


def _make_key(path: Path) -> Key:
    """Write a new key; if another process was faster, take its key."""
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_private(partial, base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
        try:
            os.link(partial, path)  # appears whole or not at all, and never replaces one
        except FileExistsError:
            pass
        finally:
            partial.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise KeyUnusableError(
            f"The key file {path} cannot be made: {error.strerror}.",
            next_step="Point POSTROOM_KEY_FILE to a place where this user may write.",
        ) from error
    key = _read_key()
    if key is None:
        raise _missing()
    return key


def _write_private(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _missing() -> KeyUnusableError:
    return KeyUnusableError(
        f"The key file {places.key_file()} does not exist, but this database was set up with a key."
    )


# ---------------------------------------------------------------------------- sealing


def _encrypt(key: Key, values: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return _VERSION + nonce + AESGCM(key.value).encrypt(nonce, values, _BOUND_TO)


def _decrypt(key: Key, sealed: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE + 16:
        raise KeyUnusableError("A sealed secret in the database is damaged, or of a newer version.")
    nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
    try:
        return AESGCM(key.value).decrypt(nonce, body, _BOUND_TO)
    except InvalidTag as error:
        raise KeyUnusableError(
            f"{key.origin[0].upper()}{key.origin[1:]} does not open this database's secrets: "
            "it is another key."
        ) from error


# ---------------------------------------------------------------------------- the database


def _stored(name: str) -> bytes | None:
    row = Setting.get_or_none(Setting.name == name)
    return bytes(row.value) if row else None


def _store_once(name: str, value: bytes) -> bytes:
    """Store a value unless there is one; return what is there then."""
    Setting.insert(name=name, value=value).on_conflict_ignore().execute()
    stored = _stored(name)
    assert stored is not None  # noqa: S101 - the row is there, ours or another's
    return stored
