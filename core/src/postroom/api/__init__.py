"""What a plugin author imports.

Each name is loaded when it is first asked for. All are cheap but the settings models (pydantic),
which have a place of their own: ``from postroom.api.settings import ServerSettings``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = "verdict codes errors events context hookspecs transport credential".split()

if not TYPE_CHECKING:  # a type checker is to see the names above, and no others

    def __getattr__(name: str) -> Any:
        """Load the module that has this name, or is it, and remember what it is."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name in __all__:
            for module in _MODULES:
                loaded = import_module(f"{__name__}.{module}")
                if hasattr(loaded, name):
                    return globals().setdefault(name, getattr(loaded, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Return also what was not asked for yet."""
        return sorted({*globals(), *__all__, *_MODULES})
