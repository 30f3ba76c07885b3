"""Logging in to mail servers with a token: XOAUTH2 (Microsoft's and Google's) and OAUTHBEARER
(RFC 7628). The same for IMAP, POP3 and SMTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Final

MECHANISMS: Final = ("XOAUTH2", "OAUTHBEARER")
"""In the order in which they are tried: every provider that knows the second knows the first."""
_TOLD: Final = ("status", "error", "scope", "schemes")
_RECOGNISED: Final = 16
"""So many characters of a secret give it away, also where a server cuts what it repeats."""


def choose(offered: Collection[str]) -> str | None:
    """Return the mechanism to use among those that a server offers; None: it offers neither."""
    return next((name for name in MECHANISMS if name in offered), None)


class TokenLogin:
    """One exchange. `challenge` holds, in plain words, why the server refuses, where it told."""

    def __init__(self, mechanism: str, account: str, token: str, *, host: str, port: int) -> None:
        self.mechanism = mechanism
        self._token = token
        self._begun = False
        self.challenge = ""
        if mechanism == "XOAUTH2":
            self._first = f"user={account}\1auth=Bearer {token}\1\1".encode()
            self._last = b""
        else:
            name = account.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 section 4
            where = f"host={host}\1port={port}\1"
            self._first = f"n,a={name},\1{where}auth=Bearer {token}\1\1".encode()
            self._last = b"\1"

    @property
    def initial_response(self) -> bytes:
        """What is said first, before base64."""
        return self._first

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not come back to us in the server's words."""
        return self._token, base64.b64encode(self._first).decode()

    def answer(self, challenge: bytes) -> bytes:
        """Return what to say to a challenge, both without base64: first the token; then, to the
        server's reasons for refusing it, what lets it end the exchange."""
        if not self._begun:
            self._begun = True
            return self._first
        self.challenge = without_secrets(_explained(challenge), *self.secrets)
        return self._last

    def answer_line(self, line: bytes) -> bytes:
        """Do what `answer` does, from base64 to base64."""
        try:
            challenge = base64.b64decode(line.strip())
        except ValueError:
            challenge = line
        return base64.b64encode(self.answer(challenge))

    def reason(self) -> str:
        """Return the server's reasons for the end of a sentence, with a space before; or ""."""
        return f" (it says: {self.challenge})" if self.challenge else ""


def without_secrets(words: str, *secrets: str) -> str:
    """Return a server's words, up to where they begin to repeat a token or password of ours."""
    for secret in secrets:
        head = secret[:_RECOGNISED]
        if head and head in words:
            words = words[: words.index(head)] + "***"
    return words


def _explained(challenge: bytes) -> str:
    """Read the JSON of a refusal, RFC 7628 section 3.2.2; Google and Dovecot write the same."""
    try:
        found = json.loads(challenge)
    except ValueError:
        found = None
    if isinstance(found, dict):
        told = [f"{name} {found[name]}" for name in _TOLD if found.get(name)]
        text = ", ".join(told)
    else:
        text = challenge.decode("utf-8", "replace")
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:200]
