"""What servers, exchangelib and requests say, in the contract's words: the one place for it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from exchangelib import errors as ews
from postroom.api import (
    AuthError,
    Rejected,
    SettingsError,
    TransientError,
    TransportError,
    codes,
)
from postroom.api.codes import Code
from postroom.api.network import explain_network_error
from postroom.api.throttling import retry_after

from postroom_ews import retirement

if TYPE_CHECKING:
    from requests import Response

EWS_SWITCHED_OFF = Code(
    "EWS-SWITCHED-OFF",
    "Exchange Online refuses EWS: Microsoft has switched it off for this tenant, mailbox, licence "
    "or application.",
    "Move the mailbox to Graph with `postroom mailbox migrate ADDRESS --to graph`.",
)
EWS_FORBIDDEN = Code(
    "EWS-FORBIDDEN",
    "The server allows this account, or this program, no EWS (HTTP 403).",
    "Have EWS enabled for the mailbox: `Get-CASMailbox ADDRESS | fl Ews*` shows what is set.",
)
EWS_IMPERSONATION = Code(
    "EWS-IMPERSONATION",
    "The account that logs in may not act as the owner of the mailbox.",
    "Give it the role ApplicationImpersonation (application: full_access_as_app), or set access to "
    "delegate and share the mailbox with it.",
)
EWS_MAILBOX = Code(
    "EWS-MAILBOX",
    "The server has no mailbox with this address.",
    "Set mailbox to the primary address of the mailbox.",
)
EWS_QUOTA = Code(
    "EWS-QUOTA",
    "The mailbox is full, so nothing can be saved in it or sent from it.",
    "Empty the mailbox, or have its quota raised; what is queued is sent then.",
)
EWS_UNKNOWN_URL = Code(
    "EWS-UNKNOWN-URL",
    "Autodiscover does not tell where EWS is.",
    "Give the endpoint as url: https://HOST/EWS/Exchange.asmx.",
)

_LONGEST: Final = 200
_SETTINGS: Final[dict[str, Code]] = {
    "ErrorImpersonateUserDenied": EWS_IMPERSONATION,
    "ErrorImpersonationDenied": EWS_IMPERSONATION,
    "ErrorImpersonationFailed": EWS_IMPERSONATION,
    "ErrorInvalidExchangeImpersonationHeaderData": EWS_IMPERSONATION,
    "ErrorNonExistentMailbox": EWS_MAILBOX,
    "ErrorNonPrimarySmtpAddress": EWS_MAILBOX,
    "ErrorMissingEmailAddress": EWS_MAILBOX,
    "ErrorInvalidUserPrincipalName": EWS_MAILBOX,
    "ErrorFolderNotFound": codes.FOLDER_MISSING,
    "ErrorSyncFolderNotFound": codes.FOLDER_MISSING,
    "ErrorParentFolderNotFound": codes.FOLDER_MISSING,
    "ErrorToFolderNotFound": codes.FOLDER_MISSING,
    "ErrorAccessDenied": codes.AUTH_NOT_ALLOWED,
    "ErrorCreateItemAccessDenied": codes.AUTH_NOT_ALLOWED,
    "ErrorDelegateNoUser": codes.AUTH_NOT_ALLOWED,
    "ErrorQuotaExceeded": EWS_QUOTA,
    "ErrorSubmissionQuotaExceeded": EWS_QUOTA,
    "ErrorOrganizationAccessBlocked": codes.AUTH_NOT_ALLOWED,
    "ErrorSendAsDenied": codes.SENDER_REFUSED,
    "ErrorInvalidServerVersion": codes.SERVER_UNFIT,
    "ErrorInvalidSchemaVersionForMailboxVersion": codes.SERVER_UNFIT,
}
_AUTH: Final[dict[str, Code]] = {
    "ErrorPasswordExpired": codes.AUTH_EXPIRED,
    "ErrorPasswordChangeRequired": codes.AUTH_EXPIRED,
    "ErrorAccountDisabled": codes.AUTH_NOT_ALLOWED,
    "ErrorProxyTokenExpired": codes.AUTH_EXPIRED,
}
_MESSAGE: Final[dict[str, Code]] = {
    "ErrorMessageSizeExceeded": codes.MESSAGE_TOO_LARGE,
    "ErrorAttachmentSizeLimitExceeded": codes.MESSAGE_TOO_LARGE,
    "ErrorDataSizeLimitExceeded": codes.MESSAGE_TOO_LARGE,
    "ErrorInvalidRecipients": codes.RECIPIENT_REFUSED,
    "ErrorMissingRecipients": codes.RECIPIENT_REFUSED,
    "ErrorMailRecipientNotFound": codes.RECIPIENT_REFUSED,
    "ErrorRecipientNotFound": codes.RECIPIENT_REFUSED,
    "ErrorInvalidSmtpAddress": codes.RECIPIENT_REFUSED,
    "ErrorExceededMaxRecipientLimit": codes.RECIPIENT_REFUSED,
    "ErrorExceededMaxRecipientLimitBlock": codes.RECIPIENT_REFUSED,
    "ErrorMessageBlocked": codes.MESSAGE_REFUSED,
    "ErrorMessageSubmissionBlocked": codes.MESSAGE_REFUSED,
    "ErrorMimeContentInvalid": codes.MESSAGE_REFUSED,
    "ErrorMimeContentInvalidBase64String": codes.MESSAGE_REFUSED,
    "ErrorItemSave": codes.MESSAGE_REFUSED,
    "ErrorItemSavePropertyError": codes.MESSAGE_REFUSED,
}
GONE: Final = frozenset(("ErrorItemNotFound", "ErrorMessageNotFound"))
UNCERTAIN: Final = frozenset(
    ("ErrorInternalServerError", "ErrorInternalServerTransientError", "ErrorTimeoutExpired",
     "ErrorMailboxStoreUnavailable", "ErrorBatchProcessingStopped")
)  # fmt: skip
"""The work may have been done nevertheless."""


def code_of(error: BaseException) -> str:
    """Return EWS's response code of an error."""
    return type(error).__name__


class HttpRefused(Exception):  # noqa: N818 - a verdict of the server
    """The server answered with an HTTP status instead of SOAP."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.status = response.status_code
        self.headers = response.headers
        self.content = response.content[:2000]
        self.location = response.headers.get("location", "")


def quote(text: object) -> str:
    """Return a server's words fit for an error: printable and short."""
    words = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return " ".join(words.split())[:_LONGEST]


class Explainer:
    """Knows what the sentences need: server, mailbox, who logs in and how.

    :param now: for the days that EWS has left
    """

    def __init__(
        self, host: str, port: int, *, mailbox: str, address: str, username: str, method: str
    ) -> None:
        self.host, self.where = host, f"{host}:{port}"
        self.mailbox, self.address = mailbox, address
        self._who = f"the account {username}" if method != "oauth" else "the application"
        self._method = method

    @property
    def is_online(self) -> bool:
        """Whether it is Exchange Online: by its name, or because only that takes tokens."""
        return retirement.is_online(self.host) or self._method == "oauth"

    def explain(self, error: BaseException, doing: str, now: datetime) -> TransportError:
        """Return the contract's error; the caller chains it.

        :param doing: what was tried, as a verb phrase: ``list the folder inbox``
        """
        if isinstance(error, TransportError):
            return error
        if isinstance(error, HttpRefused):
            return self._explain_http(error, doing, now)
        if network := _network_cause(error):
            return explain_network_error(network, self.where)
        if isinstance(error, ews.ErrorServerBusy):
            return self.busy(doing, error.back_off or None)
        return self._explain_code(error, doing)

    def _explain_code(self, error: BaseException, doing: str) -> TransportError:
        code, said = code_of(error), quote(error)
        sentence = f"{self.where} refused to {doing} of {self.mailbox}: {said} ({code})"
        if code in _SETTINGS:
            return SettingsError(_SETTINGS[code], sentence)
        if code in _AUTH:
            return AuthError(_AUTH[code], sentence)
        if code in _MESSAGE:
            return Rejected(_MESSAGE[code], sentence)
        if isinstance(error, ews.ResponseMessageError):
            return TransientError(codes.SERVER_BUSY, sentence)
        sentence = f"{self.where} does not answer as EWS does: {said or code}"
        return TransientError(codes.PROTOCOL, sentence)

    def busy(self, doing: str, seconds: float | None) -> TransientError:
        """Return the error for a server that is to be asked later."""
        sentence = f"{self.where} is too busy to {doing} of {self.mailbox}."
        return TransientError(codes.SERVER_BUSY, sentence, retry_after=seconds)

    # ------------------------------------------------------------------ HTTP

    def _explain_http(self, error: HttpRefused, doing: str, now: datetime) -> TransportError:
        status = error.status
        if status == 401:
            return self._not_logged_in(error)
        if status == 403:
            return self._forbidden(now)
        if status == 413 or (status == 404 and _is_too_long(error)):
            sentence = f"{self.where} takes no request as large as this one (HTTP {status})."
            return Rejected(codes.MESSAGE_TOO_LARGE, sentence)
        if status in (429, 503) or b"ErrorServerBusy" in error.content:
            return self.busy(doing, retry_after(error.headers, now))
        if status in (301, 302, 307, 308):
            return self._redirected(error)
        if status in (404, 405):
            return SettingsError(
                codes.SETTINGS_INVALID,
                f"There is no EWS at {self.where} under the path of url (HTTP {status}).",
                next_step="Correct url; it usually ends in /EWS/Exchange.asmx.",
            )
        sentence = f"{self.where} failed to {doing} (HTTP {status})."
        return TransientError(codes.SERVER_BUSY if status >= 500 else codes.PROTOCOL, sentence)

    def _not_logged_in(self, error: HttpRefused) -> AuthError:
        offered = error.headers.get("www-authenticate", "").lower()
        if retirement.is_online(self.host) and self._method != "oauth":
            return AuthError(
                codes.AUTH_UNSUPPORTED,
                f"Exchange Online refused {self._who}: it has taken no passwords for EWS since "
                "October 2022.",
                next_step=f"{retirement.way_out(self.address)} Until then EWS needs auth oauth "
                "with a credential.",
            )
        if self._method != "oauth" and offered and self._method not in offered:
            schemes = ", ".join(sorted(set(re.findall(r"basic|ntlm|negotiate|bearer", offered))))
            return AuthError(
                codes.AUTH_UNSUPPORTED,
                f"{self.where} offers no log-in with {self._method}, only: {schemes or 'none'}.",
                next_step="Set auth to what the server offers, or have it enabled on the virtual "
                "directory EWS.",
            )
        what = "token" if self._method == "oauth" else "user name or password"
        return AuthError(codes.AUTH_REFUSED, f"{self.where} refused the {what} of {self._who}.")

    def _forbidden(self, now: datetime) -> SettingsError:
        if self.is_online:
            return SettingsError(
                EWS_SWITCHED_OFF,
                f"Exchange Online refuses EWS for {self.mailbox} (HTTP 403). "
                f"{retirement.notice(now)}",
                next_step=f"{retirement.way_out(self.address)} A stop-gap until then: have the "
                "client id put into EwsAllowedAppIDs (`Get-OrganizationConfig | fl Ews*`).",
            )
        return SettingsError(
            EWS_FORBIDDEN,
            f"{self.where} allows {self._who} no EWS for {self.mailbox} (HTTP 403). If it is "
            f"Exchange Online: {retirement.notice(now)}",
            next_step=f"{EWS_FORBIDDEN.next_step} In Exchange Online: "
            f"`postroom mailbox migrate {self.address} --to graph`.",
        )

    def _redirected(self, error: HttpRefused) -> TransportError:
        if "genericerrorpage" in error.location.lower():
            return TransientError(codes.SERVER_BUSY, f"{self.where} shows an error page.")
        target = quote(error.location.partition("?")[0])
        return SettingsError(
            codes.SETTINGS_INVALID,
            f"{self.where} sends us on to {target or 'nowhere'} (HTTP {error.status}).",
            next_step="Set url to the address of EWS itself, not of the web page.",
        )


def _is_too_long(error: HttpRefused) -> bool:
    """IIS refuses long requests with 404.13."""
    return b"404.13" in error.content or b"maxAllowedContentLength" in error.content


def _network_cause(error: BaseException) -> OSError | EOFError | None:
    """Return what the socket raised, behind all that wraps it."""
    if isinstance(error, ews.ResponseMessageError) and not isinstance(error, _WRAPPERS):
        return None
    found: OSError | EOFError | None = None
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError | EOFError) and not type(one).__module__.startswith(
            ("requests", "urllib3")
        ):
            found = one
        elif "Timeout" in type(one).__name__ and found is None and _is_http(one):
            found = TimeoutError()
        elif found is None and _is_http(one):
            found = ConnectionResetError(0, "closed")
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        if found is not None and not _is_http(found) and found.args != (0, "closed"):
            return found
    return found


# What exchangelib raises for a connection that failed, and servers say of themselves too
_WRAPPERS: Final = (ews.ErrorTimeoutExpired, ews.ErrorInternalServerTransientError)


def _is_http(error: BaseException) -> bool:
    return type(error).__module__.startswith(("requests.", "urllib3.", "http."))
