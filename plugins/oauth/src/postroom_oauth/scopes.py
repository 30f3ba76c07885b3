"""From the core's purposes to scopes, and to the rights that a token should have."""

from __future__ import annotations

from typing import Final

from postroom.api import SettingsError
from postroom.api.codes import CREDENTIAL_UNFIT

from postroom_oauth.clouds import cloud_of
from postroom_oauth.settings import MicrosoftSettings

GOOGLE_MAIL: Final = "https://mail.google.com/"
_FOR_PEOPLE: Final = {
    "imap": ("IMAP.AccessAsUser.All",),
    "pop": ("POP.AccessAsUser.All",),
    "smtp": ("SMTP.Send",),
    "ews": ("EWS.AccessAsUser.All",),
    # The .Shared ones: the account may read another mailbox than its own.
    "graph": ("Mail.ReadWrite", "Mail.Send", "Mail.ReadWrite.Shared", "Mail.Send.Shared"),
}
_FOR_APPS: Final = {
    "imap": ("IMAP.AccessAsApp",),
    "pop": ("POP.AccessAsApp",),
    "smtp": ("SMTP.SendAsApp",),
    "ews": ("full_access_as_app",),
    "graph": ("Mail.ReadWrite", "Mail.Send"),
}


def scopes_of(settings: MicrosoftSettings, purpose: str) -> tuple[str, ...]:
    """Return what Microsoft is asked for.

    :raises SettingsError: no token is for this purpose
    """
    if purpose not in _FOR_APPS:
        raise unfit("Microsoft 365", purpose)
    cloud = cloud_of(settings.authority)
    if purpose == "graph":
        resource = settings.graph_resource or cloud.graph
    elif settings.account is None or purpose == "ews":
        resource = settings.exchange_resource or cloud.exchange
    else:
        resource = settings.exchange_resource or cloud.exchange_for_people
    if settings.account is None:
        return (f"{resource}/.default",)
    return tuple(f"{resource}/{name}" for name in _FOR_PEOPLE[purpose])


def rights_for(settings: MicrosoftSettings, purpose: str) -> tuple[str, ...]:
    """Return the permissions that a token for a purpose should name."""
    names = _FOR_APPS if settings.account is None else _FOR_PEOPLE
    return tuple(name for name in names[purpose] if not name.endswith(".Shared"))


def unfit(title: str, purpose: str) -> SettingsError:
    """Return the error for a purpose that no token is for."""
    return SettingsError(CREDENTIAL_UNFIT, f"A credential of {title} has no tokens for {purpose}.")
