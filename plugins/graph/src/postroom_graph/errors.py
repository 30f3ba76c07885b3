"""What Graph refuses, in the contract's words: one table, by the error's code and by the status.

Codes are Exchange's, Graph's or the directory's, and differ in case between services, so they are
compared in lower case. `GraphError` never leaves the plugin: `explain` makes of it what the core
knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from postroom.api import (
    AuthError,
    Code,
    Problem,
    SettingsError,
    TransientError,
    TransportError,
    codes,
)

ACCESS_DENIED = Code(
    "GRAPH-ACCESS-DENIED",
    "Exchange Online does not let the application use this mailbox.",
    "Check that the application access policy, or the scope of its role in Exchange (RBAC for "
    "Applications), covers the mailbox, and that admin consent was given; a change takes up to "
    "some hours.",
)
CONSENT_MISSING = Code(
    "GRAPH-CONSENT-MISSING",
    "The application lacks a permission in Microsoft Entra, or admin consent to it.",
    "Give the application Mail.ReadWrite and Mail.Send (type: application) and grant admin "
    "consent; a new token is needed after it.",
)
NOT_ENABLED = Code(
    "GRAPH-MAILBOX-NOT-ENABLED",
    "The account has no mailbox in Exchange Online: it is on premises, inactive, or unlicensed.",
    "Give the account a licence with Exchange Online; reach a mailbox on premises by EWS or IMAP.",
)
NO_MAILBOX = Code(
    "GRAPH-NO-MAILBOX",
    "The tenant knows no account with this name.",
    "Correct the setting mailbox: the user principal name, which may differ from the address.",
)
MAILBOX_FULL = Code(
    "GRAPH-MAILBOX-FULL",
    "The mailbox has no space left.",
    "Have some of it archived or deleted, or its quota raised; it goes on by itself.",
)
SENDING_LIMIT = Code(
    "GRAPH-SENDING-LIMIT",
    "Exchange Online lets the mailbox send no more for now: its limit for a day is reached.",
    "Nothing, it goes on when the limit allows; if it lasts, look at the mailbox's sending limits.",
)

_QUOTE: Final = 300
_DEEPEST: Final = 10
GONE_MAILBOX: Final = frozenset(
    "errorinvaliduser request_resourcenotfound resourcenotfound errornonexistentmailbox "
    "errorinvalidmailbox errormailboxnotfound".split()
)
_NOT_ENABLED: Final = frozenset(
    "mailboxnotenabledforrestapi mailboxnotsupportedforrestapi "
    "errormailboxnotenabledforrestapi".split()
)
_DENIED: Final = frozenset(("erroraccessdenied", "accessdenied"))
_CONSENT: Final = frozenset(
    "authorization_requestdenied authorization_identitynotfound errorinsufficientpermissions "
    "insufficientprivileges".split()
)
_FULL: Final = frozenset("errorquotaexceeded quotalimitreached errormailboxquotaexceeded".split())
_SENDING_LIMIT: Final = frozenset(
    "errorsubmissionquotaexceeded errorexceededmessagelimit errormessagesubmissionblocked "
    "errormessagethrottled".split()
)
_RESYNC: Final = frozenset(
    "syncstatenotfound resyncrequired syncstateinvalid errorsyncstatenotfound "
    "errorinvalidsyncstatedata resyncchangesapplydifferences resyncchangesuploaddifferences".split()
)


class GraphError(Exception):
    """An answer that is no success. `codes`: those of the body, outermost first, lower case;
    `spelled`: the innermost as it was written.
    """

    def __init__(
        self,
        status: int,
        codes: tuple[str, ...] = (),
        message: str = "",
        *,
        request_id: str = "",
        retry_after: float | None = None,
        spelled: str = "",
    ) -> None:
        super().__init__(f"{status} {'/'.join(codes)}")
        self.spelled = spelled or (codes[-1] if codes else "")
        self.status, self.codes, self.message = status, codes, message
        self.request_id, self.retry_after = request_id, retry_after

    def says(self, known: frozenset[str]) -> bool:
        """Say whether one of the body's codes is among these."""
        return any(code in known for code in self.codes)

    @property
    def means_resync(self) -> bool:
        """Whether a delta token is dead: 410 with any code, or its codes with any status."""
        return self.status == 410 or self.says(_RESYNC)

    @property
    def is_missing(self) -> bool:
        """Whether the thing that was asked for is not there, while the mailbox is."""
        return self.status == 404 and not self.says(GONE_MAILBOX | _NOT_ENABLED)

    @property
    def is_throttling(self) -> bool:
        """Whether the server wants to be asked later, and has surely done nothing."""
        return self.status == 429 or (self.status == 503 and self.retry_after is not None)

    @property
    def is_passing(self) -> bool:
        """Whether the server has a trouble of its own, which passes."""
        return self.status >= 500 or self.status in (408, 429)


def parse_error(
    status: int,
    body: bytes,
    *,
    request_id: str = "",
    retry_after: float | None = None,
    secret: str = "",
) -> GraphError:
    """Return the error for an answer, whatever its body looks like.

    :param secret: the token, which no text may hold
    """
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    described = list(_descriptions(found))
    codes = [code for one in described if (code := _code_of(one))]
    messages = [_message_of(one) for one in described]
    text = next((one for one in messages if one), "") if described else _plain(body)
    return GraphError(
        status,
        tuple(code.lower() for code in codes),
        quoted(text, secret),
        request_id=request_id or _request_id(described),
        retry_after=retry_after,
        spelled=quoted(codes[-1], secret) if codes else "",
    )


def _descriptions(found: Any) -> Iterator[dict[str, Any]]:
    """Yield the error object and those nested in it, outermost first."""
    if not isinstance(found, dict):
        return
    lower = {str(key).lower(): value for key, value in found.items()}
    one = lower.get("error") or lower.get("odata.error") or lower.get("value")
    if isinstance(one, str):  # as login servers say it
        yield {"code": one, "message": lower.get("error_description")}
        return
    for _ in range(_DEEPEST):
        if not isinstance(one, dict):
            return
        one = {str(key).lower(): value for key, value in one.items()}
        yield one
        one = one.get("innererror")


def _code_of(one: dict[str, Any]) -> str:
    code = one.get("code")
    return code if isinstance(code, str) else ""


def _message_of(one: dict[str, Any]) -> str:
    message = one.get("message")
    if isinstance(message, dict):  # OData 3
        message = message.get("value")
    return message if isinstance(message, str) else ""


def _request_id(described: list[dict[str, Any]]) -> str:
    found = [one.get("request-id") for one in described]
    return next((one for one in found if isinstance(one, str)), "")


def _plain(body: bytes) -> str:
    """Return the words of a page, such as a proxy's."""
    return re.sub(r"<[^>]*>", " ", body.decode("utf-8", "replace"))


def quoted(text: str, secret: str = "") -> str:
    """Return a server's words fit for an error: printable, short, without the token."""
    if secret:
        text = text.replace(secret, "***")
    text = re.sub(r"\beyJ[\w-]{8,}(\.[\w-]*)*", "***", text)  # whatever looks like a token
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:_QUOTE]


def explain(error: GraphError, where: str, mailbox: str, doing: str) -> TransportError:
    """Return the contract's error.

    :param doing: what was refused, as a verb phrase: ``list the folder inbox``
    """
    reason = " ".join(filter(None, (str(error.status), quoted(error.spelled), error.message)))
    sentence = f"{where} refused to {doing} for {mailbox}: {reason}"
    if error.request_id:
        sentence += f" (request-id {quoted(error.request_id)})"
    return _by_code(error, sentence) or _by_status(error, sentence, where)


def _by_code(error: GraphError, sentence: str) -> TransportError | None:
    if error.says(_NOT_ENABLED):
        return SettingsError(NOT_ENABLED, sentence)
    if error.says(GONE_MAILBOX):
        problem = Problem("mailbox", "is not known in the tenant")
        return SettingsError(NO_MAILBOX, sentence, problems=[problem])
    if error.says(_FULL) or error.status == 507:
        return TransientError(MAILBOX_FULL, sentence)
    if error.says(_SENDING_LIMIT):
        return TransientError(SENDING_LIMIT, sentence, retry_after=error.retry_after)
    if error.says(_CONSENT):
        return AuthError(CONSENT_MISSING, sentence)
    if error.status == 403 and error.says(_DENIED):
        return AuthError(ACCESS_DENIED, sentence)
    return None


def _by_status(error: GraphError, sentence: str, where: str) -> TransportError:
    if error.status == 401:
        return AuthError(codes.TOKEN_REFUSED, sentence)
    if error.status == 403:
        return AuthError(codes.AUTH_NOT_ALLOWED, sentence)
    if error.is_passing:
        return TransientError(codes.SERVER_BUSY, sentence, retry_after=error.retry_after)
    step = f"Check that base_url is right and leads to Microsoft Graph ({where})."
    return TransientError(codes.PROTOCOL, sentence, next_step=step)
