"""The hooks. A plugin is a module with functions marked `hookimpl`, found by its entry point in
the group ``postroom``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from postroom.api.credential import CredentialKind
    from postroom.api.events import Event
    from postroom.api.transport import Transport
    from postroom.api.verdict import MailboxView, Verdict
    from postroom.mail import ParsedMessage

PROJECT: Final = "postroom"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def postroom_transports() -> Iterable[Transport]:  # type: ignore[empty-body]
    """Return the transports this plugin adds.

    Called once at start, for each plugin alone: one that raises here is listed as broken by
    ``postroom plugin list`` and the others go on, and so is one that takes more than 10 seconds.
    Import nothing heavy; open no connection.

    :returns: one `Transport` a protocol; a name that is taken makes the plugin broken
    .. versionadded:: 0.1
    """


@hookspec
def postroom_credentials() -> Iterable[CredentialKind]:  # type: ignore[empty-body]
    """Return the kinds of credential this plugin adds.

    Called as `postroom_transports` is, and held to the same. Import the plugin's codes of errors
    along with it: an error is kept by its code's name.

    :returns: one `CredentialKind` an issuer; a name that is taken makes the plugin broken
    .. versionadded:: 0.1
    """


@hookspec
def postroom_classify(message: ParsedMessage, mailbox: MailboxView) -> Verdict | None:
    """Say what to do with a message, before it is stored.

    Called once for each message, in the thread that retrieves the mailbox, before the transaction
    opens. Plugins are asked one by one, installed ones first, built-in ones last; for each field of
    the verdict the first to set it wins. One that raises or takes more than 5 seconds is skipped
    for this message and reported; the message is stored none the less.

    .. versionadded:: 0.1
    """


@hookspec
def postroom_event(event: Event) -> None:
    """Hear what happened, after it was committed.

    Best effort: called at most once for each event, in the order of one mailbox, from the thread
    that works on it; exceptions are logged and otherwise ignored. Be quick: one that takes more
    than 5 seconds is left behind and passed over.

    .. versionadded:: 0.1
    """
