"""Microsoft's errors of sign-in (AADSTS…) as sentences.

What the core does next is decided by `error` (RFC 6749 section 5.2, RFC 8628 section 3.5); the
number only chooses the sentence: "error codes and messages are subject to change"
(https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from postroom.api import AuthError, Code, TransientError, TransportError
from postroom.api.codes import SERVER_BUSY

from postroom_oauth import codes

_PASSING: Final = {"temporarily_unavailable", "server_error"}
_BY_NUMBER: Final[dict[int, Code]] = {
    number: code
    for code, numbers in {
        codes.SECRET_WRONG: (7000215,),
        codes.SECRET_EXPIRED: (7000222,),
        codes.SECRET_MISSING: (7000218, 7000216, 700025),
        codes.CERTIFICATE_UNKNOWN: (700027, 7000277, 700024, 700030, 7000214, 50027),
        codes.APP_UNKNOWN: (700016, 700051, 90099),
        codes.APP_DISABLED: (7000112, 7000113),
        codes.TENANT_UNKNOWN: (90002, 90019, 50128, 50059, 900023),
        codes.CONSENT_MISSING: (65001, 65004, 65005, 90094, 90095, 650052, 650056, 650057),
        codes.USER_UNKNOWN: (50034, 50020, 51004),
        codes.USER_REFUSED: (50105, 50057, 50053, 50055, 50056, 50126, 50142),
        codes.SIGN_IN_AGAIN: (
            *(50076, 50079, 50158, 50072, 50074, 50078),
            *(700082, 700084, 70043, 50173, 70008, 50089, 50132, 50133, 700081),
        ),
        codes.POLICY: (53000, 53001, 53002, 53003, 53004, 53011, 530003, 530034, 530036, 50005),
        codes.SCOPE_REFUSED: (70011, 1002012, 28002, 28003),
        codes.RESOURCE_UNKNOWN: (500011, 500014, 50001, 650053),
        codes.DECLINED: (70018, 70017),
        codes.CODE_EXPIRED: (70020, 70019),
    }.items()
    for number in numbers
}
_BY_ERROR: Final[dict[str, Code]] = {
    "invalid_scope": codes.SCOPE_REFUSED,
    "invalid_resource": codes.RESOURCE_UNKNOWN,
    "invalid_tenant": codes.TENANT_UNKNOWN,
    "unauthorized_client": codes.APP_UNKNOWN,
    "consent_required": codes.CONSENT_MISSING,
    "interaction_required": codes.SIGN_IN_AGAIN,
    "login_required": codes.SIGN_IN_AGAIN,
    "authorization_declined": codes.DECLINED,
    "access_denied": codes.DECLINED,
    "bad_verification_code": codes.CODE_EXPIRED,
    "expired_token": codes.CODE_EXPIRED,
    "code_expired": codes.CODE_EXPIRED,
    "authorization_pending": codes.CODE_EXPIRED,
    "slow_down": codes.CODE_EXPIRED,
}
_ABOUT_THE_SCOPE: Final = (
    codes.CONSENT_MISSING,
    codes.RESOURCE_UNKNOWN,
    codes.SCOPE_REFUSED,
)
"""What is wrong for one purpose need not be for another."""
_ENDINGS: Final = re.compile(r"\s*(Trace ID|Correlation ID|Timestamp):.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked, for sentences; `secrets` are cut out of the issuer's words."""

    credential: str
    client_id: str
    tenant: str
    account: str | None = None
    secrets: tuple[str, ...] = ()


def explain(answer: Mapping[str, Any], asked: Asked) -> TransportError:
    """Return the contract's error for an error answer of the token endpoint."""
    error = str(answer.get("error", ""))
    number = _number(answer)
    if error in _PASSING or number in (90033, 50196, 90055):
        words = _words(answer, asked.secrets)
        return TransientError(
            SERVER_BUSY, f"Microsoft's login is busy{_in_brackets(number)}{words}."
        )
    known = _BY_NUMBER.get(number)
    code = known or _BY_ERROR.get(error, codes.ISSUER_REFUSED)
    words = "" if known else _words(answer, asked.secrets)
    sentence = f"{_sentence(code, asked)}{_in_brackets(number, error)}{words}."
    step = code.next_step.replace("NAME", asked.credential)
    return AuthError(code, sentence, next_step=step, only_this_token=code in _ABOUT_THE_SCOPE)


def _sentence(code: Code, asked: Asked) -> str:
    app, tenant = f"the application {asked.client_id}", f"the tenant {asked.tenant}"
    who = asked.account or "the account"
    sentences = {
        codes.SECRET_WRONG: f"Microsoft does not know this client secret of {app}",
        codes.SECRET_EXPIRED: f"The client secret of {app} has expired",
        codes.SECRET_MISSING: f"Microsoft wants a client secret or a certificate of {app}",
        codes.CERTIFICATE_UNKNOWN: f"Microsoft does not take the certificate for {app}",
        codes.APP_UNKNOWN: f"There is no application {asked.client_id} in {tenant}",
        codes.APP_DISABLED: f"The application {asked.client_id} is switched off in {tenant}",
        codes.TENANT_UNKNOWN: f"Microsoft knows no tenant {asked.tenant}",
        codes.CONSENT_MISSING: f"Nobody gave {app} the consent that is needed in {tenant}",
        codes.USER_UNKNOWN: f"Microsoft knows no account {asked.account or ''}".rstrip(),
        codes.USER_REFUSED: f"Microsoft does not let {who} sign in",
        codes.SIGN_IN_AGAIN: f"The sign-in of {who} has ended: it has to be done again",
        codes.POLICY: f"A Conditional Access policy of {tenant} blocks the sign-in",
        codes.RESOURCE_UNKNOWN: f"The service that a token was asked for is not there in {tenant}",
        codes.DECLINED: "The person at the browser declined to sign in",
        codes.CODE_EXPIRED: "Nobody signed in while the code was valid",
    }
    return f'{sentences.get(code, code.meaning.rstrip("."))} (credential "{asked.credential}")'


def _number(answer: Mapping[str, Any]) -> int:
    """Return the AADSTS number, 0 where there is none."""
    numbers = answer.get("error_codes")
    if isinstance(numbers, Iterable) and not isinstance(numbers, str):
        for number in numbers:
            if str(number).isdecimal():
                return int(number)
    match = re.match(r"AADSTS(\d+)", str(answer.get("error_description", "")))
    return int(match[1]) if match else 0


def _in_brackets(number: int, error: str = "") -> str:
    said = f"AADSTS{number}" if number else error
    return f" [{said}]" if said else ""


def _words(answer: Mapping[str, Any], secrets: Iterable[str]) -> str:
    """Return the issuer's own words, short, without its ids and whatever is secret."""
    text = _ENDINGS.sub("", str(answer.get("error_description", "")))
    text = re.sub(r"^AADSTS\d+:\s*", "", " ".join(text.split()))
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    return f": {text[:300].rstrip('. ')}" if text else ""
