"""What servers refuse, in the contract's words: one table for each protocol.

Response codes come first, then what known servers say without one, then what was being done.
"""

from __future__ import annotations

import re
from typing import Final

from postroom.api import AuthError, SettingsError, TransientError, TransportError, codes
from postroom.api.codes import Code

_LONGEST_QUOTE = 200


class Refused(Exception):  # noqa: N818 - a verdict of the server
    """The server answered NO, BAD or -ERR. `code` is the response code without brackets."""

    def __init__(self, status: str, code: str, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status, self.code, self.text = status, code, text


class SaidGoodbye(Exception):  # noqa: N818 - a verdict of the server
    """The server ended the session with ``* BYE``."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def quote_reply(reply: bytes, *secrets: str) -> str:
    """Return a server's words fit for an error: printable, short, without our secrets."""
    text = reply.decode("utf-8", "replace")
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:_LONGEST_QUOTE]


# RFC 5530; AUTH, SYS/*, IN-USE, LOGIN-DELAY: RFC 2449 section 8.1 and RFC 3206
_AUTH_CODES: Final[dict[str, Code]] = {
    "AUTHENTICATIONFAILED": codes.AUTH_REFUSED,
    "AUTHORIZATIONFAILED": codes.AUTH_NOT_ALLOWED,
    "EXPIRED": codes.AUTH_EXPIRED,
    "PRIVACYREQUIRED": codes.AUTH_UNSUPPORTED,
    "CONTACTADMIN": codes.AUTH_NOT_ALLOWED,
    "NOPERM": codes.AUTH_NOT_ALLOWED,
    "SYS/PERM": codes.AUTH_NOT_ALLOWED,
    "AUTH": codes.AUTH_REFUSED,
}
_BUSY_CODES: Final = frozenset(
    ("UNAVAILABLE", "INUSE", "LIMIT", "OVERQUOTA", "SERVERBUG", "SYS/TEMP", "IN-USE", "LOGIN-DELAY")
)
# Exchange 2016 to Online; the last: Gmail, Dovecot and others without a code
_BACKOFF = re.compile(r"Suggested Backoff Time: (\d+) milliseconds", re.I)
_NOT_CONNECTED = re.compile(r"authenticated but not connected|unsafe login", re.I)
_BUSY = re.compile(
    r"too many|throttl|try (again|later)|temporar|server (is )?(busy|unavailable)",
    re.I,
)


def explain_refusal(refused: Refused | SaidGoodbye, where: str, doing: str) -> TransportError:
    """Return the contract's error for a refusal.

    :param doing: what was refused, as a verb phrase: ``log in``, ``open the folder Archive``
    """
    sentence = f"{where} refused to {doing}: {refused.text or 'no reason given'}"
    if known := explain_code(refused, sentence):
        return known
    if isinstance(refused, SaidGoodbye):
        ended = f"{where} ended the session: {refused.text}"
        return TransientError(codes.CONNECTION_LOST, ended)
    if doing == "log in":
        return AuthError(codes.AUTH_REFUSED, sentence)
    strange = refused.status == "BAD" or doing == "open a session"
    code = codes.PROTOCOL if strange else codes.SERVER_BUSY
    return TransientError(code, sentence)


def explain_code(refused: Refused | SaidGoodbye, sentence: str) -> TransportError | None:
    """Return the error where the response code or well-known words say which it is."""
    if match := _BACKOFF.search(refused.text):
        return TransientError(codes.SERVER_BUSY, sentence, retry_after=int(match[1]) / 1000)
    if _NOT_CONNECTED.search(refused.text):
        return AuthError(codes.AUTH_NOT_ALLOWED, sentence)
    if refused.code in _AUTH_CODES:
        return AuthError(_AUTH_CODES[refused.code], sentence)
    if refused.code in _BUSY_CODES or _BUSY.search(refused.text):
        return TransientError(codes.SERVER_BUSY, sentence)
    return None


def no_password_login(where: str) -> SettingsError:
    """Return the error for a mailbox that names a credential: tokens are not supported yet."""
    return SettingsError(
        codes.SETTINGS_INVALID,
        f"A credential is named for {where}, but this transport logs in with a password only.",
        next_step="Give username and password, and leave credential empty.",
    )
