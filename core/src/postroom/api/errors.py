"""Errors that a plugin may raise. The class says what the core does next.

::

    TransportError
    ├── SettingsError     an administrator must edit something; looked at again every 15 minutes
    ├── AuthError         credentials refused; again after 5 minutes, doubling to 6 hours
    ├── TransientError    passes by itself; back-off with jitter, `retry_after` is honoured
    ├── Rejected          refused for good; the outbox row becomes `failed`
    └── OutcomeUnknown    may have been sent; the outbox row becomes `unknown`, nobody tries again

Anything else that escapes a plugin is a bug of the plugin: logged with its traceback, treated as
transient. The text of an error is for the administrator ("mail.example.org refused the password
for support@example.org"); the library's own exception belongs into ``__cause__``. No secret and no
message content may stand in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from postroom.api import codes
from postroom.api.codes import Code


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with settings: `field` is the setting's name, "" where it is none alone."""

    field: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.field}: {self.sentence}" if self.field else self.sentence


def _storable(words: str) -> str:
    """Return a server's words without what no database takes: NUL and lone surrogates."""
    return words.encode(errors="replace").decode().replace("\0", "")


class TransportError(Exception):
    """Base of what a plugin may raise.

    :param code: from `postroom.api.codes`, or the plugin's own
    :param sentence: what happened and where, for an administrator
    :param next_step: the one next thing to do; default: the code's
    """

    def __init__(self, code: Code, sentence: str, *, next_step: str | None = None) -> None:
        sentence = _storable(sentence)
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.next_step = next_step or code.next_step


class SettingsError(TransportError):
    """An administrator must edit something, here or on the other side."""

    def __init__(
        self,
        code: Code,
        sentence: str,
        *,
        problems: Sequence[Problem] = (),
        next_step: str | None = None,
    ) -> None:
        super().__init__(code, sentence, next_step=next_step)
        self.problems = tuple(problems)


class AuthError(TransportError):
    """Credentials were refused or have expired.

    :param only_this_token: a credential's issuer refuses just this token, the one for this mailbox
        or purpose; others are still to be had
    """

    def __init__(
        self,
        code: Code,
        sentence: str,
        *,
        next_step: str | None = None,
        only_this_token: bool = False,
    ) -> None:
        super().__init__(code, sentence, next_step=next_step)
        self.only_this_token = only_this_token


class TransientError(TransportError):
    """Passes by itself. `retry_after` in seconds, where the server named a time."""

    def __init__(
        self,
        code: Code,
        sentence: str,
        *,
        retry_after: float | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(code, sentence, next_step=next_step)
        self.retry_after = retry_after


class Rejected(TransportError):  # noqa: N818 - a verdict, not a fault
    """The message was refused for good. `recipients`: address → the server's words."""

    def __init__(
        self,
        code: Code,
        sentence: str,
        *,
        recipients: Mapping[str, str] | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(code, sentence, next_step=next_step)
        self.recipients = dict(recipients or {})


class OutcomeUnknown(TransportError):  # noqa: N818 - a verdict, not a fault
    """The message may have been sent: the connection broke after its last byte."""

    def __init__(self, sentence: str, *, code: Code = codes.OUTCOME_UNKNOWN) -> None:
        super().__init__(code, sentence)
