"""TLS contexts, shared: one each costs 0.7 MB and a tenth of a second."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from errno import EISDIR
from os import strerror
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from threading import Lock
from typing import Any

from postroom.api import codes
from postroom.api.errors import Problem, SettingsError

_contexts: dict[tuple[str | None, float, bool, tuple[str, ...]], ssl.SSLContext] = {}
_contexts_lock = Lock()


def shared_context(
    ca_file: str | None, *, verify: bool = True, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """Return the client context that trusts a file's authorities, or without one the system's.

    :raises SettingsError: the file cannot be read
    """
    try:
        changed = _changed_at(Path(ca_file)) if ca_file else 0.0
        with _contexts_lock:
            key = (ca_file, changed, verify, alpn)
            if key not in _contexts:
                _contexts[key] = _new_context(ca_file, verify=verify)
                if alpn:
                    _contexts[key].set_alpn_protocols(list(alpn))
            return _contexts[key]
    except (OSError, ValueError) as error:  # the second: no name of a file, or a damaged one
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, ssl.SSLError):
            reason = "it holds no certificate in PEM form"
        raise SettingsError(
            codes.CA_FILE_UNREADABLE,
            f"The file of certificates {ca_file} cannot be used: {reason}.",
            problems=[Problem("ca_file", reason)],
        ) from error


def _changed_at(file: Path) -> float:
    """Return when it was changed; a pipe or a device would be read for ever.

    :raises OSError: there is none
    :raises ValueError: it is no file
    """
    told = file.stat()
    if S_ISDIR(told.st_mode):
        raise IsADirectoryError(EISDIR, strerror(EISDIR))
    if not S_ISREG(told.st_mode):
        raise ValueError("it is no ordinary file")
    return told.st_mtime


def doubt_about_ca_file(values: Mapping[str, Any]) -> str | None:
    """Return what an administrator should know of the file in settings, if it is of no use here:
    the runner may be another user, or on another machine."""
    path = values.get("ca_file")
    if not isinstance(path, str) or not path:
        return None
    try:
        shared_context(path)
    except SettingsError as error:
        return f"{error.sentence} Whoever runs postroom has to be able to read it."
    return None


def _new_context(ca_file: str | None, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
