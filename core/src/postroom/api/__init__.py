"""What a plugin author imports.

Everything here is cheap to import except the settings models (pydantic), which are therefore
loaded on first use: ``from postroom.api.settings import ServerSettings``.
"""

from postroom.api.codes import Code
from postroom.api.context import Context, Token
from postroom.api.credential import CredentialContext, CredentialKind, SignIn
from postroom.api.errors import (
    AuthError,
    OutcomeUnknown,
    Problem,
    Rejected,
    SettingsError,
    TransientError,
    TransportError,
)
from postroom.api.events import Event
from postroom.api.hookspecs import hookimpl
from postroom.api.transport import (
    CANNOT_TELL,
    NOT_SENT,
    Capability,
    Checkpoint,
    CheckStep,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Outgoing,
    Oversized,
    Receiver,
    RecipientProblem,
    Sender,
    SendResult,
    Sent,
    Session,
    Settled,
    Spool,
    SpoolError,
    Transport,
    Unavailable,
    Unsettled,
)
from postroom.api.verdict import FilterRule, MailboxView, Verdict

__all__ = [
    "CANNOT_TELL",
    "NOT_SENT",
    "AuthError",
    "Capability",
    "CheckStep",
    "Checkpoint",
    "Code",
    "Context",
    "CredentialContext",
    "CredentialKind",
    "Disposition",
    "Event",
    "Fetched",
    "FilterRule",
    "Limits",
    "Listed",
    "MailboxView",
    "OutcomeUnknown",
    "Outgoing",
    "Oversized",
    "Problem",
    "Receiver",
    "RecipientProblem",
    "Rejected",
    "SendResult",
    "Sender",
    "Sent",
    "Session",
    "SettingsError",
    "Settled",
    "SignIn",
    "Spool",
    "SpoolError",
    "Token",
    "TransientError",
    "Transport",
    "TransportError",
    "Unavailable",
    "Unsettled",
    "Verdict",
    "hookimpl",
]
