"""What servers refuse, in the contract's words: one table for each protocol.

Response codes come first, then what known servers say without one, then what was being done.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

from postroom.api import AuthError, TransientError, TransportError, codes
from postroom.api.codes import Code
from postroom.api.sasl import TokenLogin, without_secrets

_LONGEST_QUOTE = 200
_SHORT = 6
"""Below that it may be a part of any word, and is hidden only where it stands alone."""
_LONG = 40
"""Above that it is a token, of which a part would be too much to repeat."""


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
            text = _masked(text, secret)
            if len(secret) > _LONG:
                text = without_secrets(text, secret)
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:_LONGEST_QUOTE]


def _masked(text: str, secret: str) -> str:
    pattern = re.escape(secret)
    if len(secret) < _SHORT:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return re.sub(pattern, "***", text)


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
_CONNECT: Final = (
    "The log-in was good, but not for this mailbox. At Exchange Online, register the application "
    "with New-ServicePrincipal and the object id of the *enterprise application* (not of the app "
    "registration), give it the mailbox with Add-MailboxPermission, and check that the protocol is "
    "enabled for the mailbox."
)
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


def explain_unsettled(refused: Refused, where: str, doing: str) -> TransportError:
    """Return the contract's error for a disposition that was refused."""
    sentence = f"{where} refused to {doing}: {refused.text or 'no reason given'}"
    known = explain_code(refused, sentence)
    return known or TransientError(codes.DISPOSITION_REFUSED, sentence)


def explain_code(refused: Refused | SaidGoodbye, sentence: str) -> TransportError | None:
    """Return the error where the response code or well-known words say which it is."""
    if match := _BACKOFF.search(refused.text):
        return TransientError(codes.SERVER_BUSY, sentence, retry_after=int(match[1]) / 1000)
    if _NOT_CONNECTED.search(refused.text):
        at_exchange = "not connected" in refused.text.lower()
        step = _CONNECT if at_exchange else None
        return AuthError(codes.AUTH_NOT_ALLOWED, sentence, next_step=step)
    if refused.code in _AUTH_CODES:
        return AuthError(_AUTH_CODES[refused.code], sentence)
    if refused.code in _BUSY_CODES or _BUSY.search(refused.text):
        return TransientError(codes.SERVER_BUSY, sentence)
    return None


def refused_token(
    refused: Refused, where: str, login: TokenLogin, account: str, credential: str
) -> TransportError:
    """Return the contract's error for a token that the server did not take."""
    said = refused.text or "no reason given"
    sentence = f"{where} refused the token for {account}: {said}{login.reason()}"
    known = explain_code(refused, sentence)
    if known is not None and known.code is not codes.AUTH_REFUSED:
        return known
    if refused.status == "BAD" and not login.challenge:
        return TransientError(codes.PROTOCOL, sentence)
    command = f"postroom credential check {shlex.quote(credential)}"
    return AuthError(
        codes.AUTH_REFUSED,
        sentence,
        next_step=f"Run `{command}`; the application, or the account "
        f"that signed in, may lack the right to open {account} by this protocol.",
    )


def no_token_login(where: str, offered: str) -> AuthError:
    """Return the error for a server that takes no tokens."""
    sentence = (
        f"{where} takes no tokens (XOAUTH2 or OAUTHBEARER); it offers {offered or 'nothing'}."
    )
    step = "Give user name and password instead of the credential, or check the host."
    return AuthError(codes.AUTH_UNSUPPORTED, sentence, next_step=step)
