"""How callers of the stand-in of Exchange prove who they are: Basic, NTLM, bearer tokens."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CHALLENGES: Final = {
    "basic": 'Basic realm="mail.example.org"', "ntlm": "NTLM",
    "oauth": 'Bearer client_id="00000002-0000-0ff1-ce00-000000000000", trusted_issuers="*"',
}  # fmt: skip
_ntlm_lock = threading.Lock()


@dataclass(frozen=True)
class Caller:
    """Who logged in. An application has no mailbox of its own: it must impersonate."""

    name: str
    is_application: bool = False


class Login:
    """The accounts, and one handshake for each connection.

    :param users: name → password
    :param bearer: returns who a token stands for, None if it is not accepted
    """

    def __init__(
        self, methods: tuple[str, ...], users: dict[str, str],
        bearer: Callable[[str], Caller | None],
    ) -> None:  # fmt: skip
        self.methods, self.users, self.bearer = methods, users, bearer

    def challenges(self) -> list[str]:
        """Return the values of WWW-Authenticate."""
        return [CHALLENGES[method] for method in self.methods]

    def basic(self, value: str) -> Caller | None:
        """Check a name and a password."""
        try:
            name, _, password = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        name = name.rpartition("\\")[2]
        return Caller(name) if self.users.get(name) == password else None


class NtlmHandshake:
    """The server's side of NTLM on one connection (MS-NLMP), done by pyspnego."""

    def __init__(self, users: dict[str, str]) -> None:
        self._users = users
        self._context: Any = None

    def step(self, value: str) -> tuple[str | None, Caller | None]:
        """Return the server's next token, or who it is; neither if the log-in failed."""
        import spnego
        from spnego.exceptions import SpnegoError

        token = base64.b64decode(value)
        try:
            if token[8:12] == b"\1\0\0\0":
                with _ntlm_users(self._users):
                    self._context = spnego.server(
                        options=spnego.NegotiateOptions.use_ntlm, protocol="ntlm"
                    )
                    answer = self._context.step(token)
                return base64.b64encode(answer or b"").decode(), None
            with _ntlm_users(self._users):
                self._context.step(token)
            if self._context.complete:
                return None, Caller(self._context.client_principal.rpartition("\\")[2])
        except (SpnegoError, AttributeError):
            pass
        return None, None


class _ntlm_users:  # noqa: N801 - a context manager that is used like a function
    """Pyspnego reads the accounts from a file that the environment names."""

    def __init__(self, users: dict[str, str]) -> None:
        self._users = users

    def __enter__(self) -> None:
        _ntlm_lock.acquire()
        handle, name = tempfile.mkstemp()
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for user, password in self._users.items():
                file.write(f":{user}:{password}\nEXAMPLE:{user}:{password}\n")
        self._path = Path(name)
        os.environ["NTLM_USER_FILE"] = name

    def __exit__(self, *_: object) -> None:
        os.environ.pop("NTLM_USER_FILE", None)
        self._path.unlink()
        _ntlm_lock.release()
