"""The plugins that are installed, with every call into them contained: one that is broken is listed
with its reason (`plugin_loading`), and everything else works.

A plugin is a module behind an entry point in the group ``postroom``. POSTROOM_PLUGINS (names,
separated by commas) allows only those; POSTROOM_DISABLE_PLUGINS switches some off, the built-in
ones ``filters``, ``acknowledgement`` and ``loops`` included.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from postroom.api import codes
from postroom.api.credential import CredentialKind
from postroom.api.errors import SettingsError
from postroom.api.events import Event
from postroom.api.transport import Transport
from postroom.api.verdict import MailboxView
from postroom.classification import (
    BUILT_IN,
    DENY,
    NOTHING,
    BuiltIn,
    Classified,
    merge,
    names_in,
    report_failure,
)
from postroom.plugin_loading import InstalledPlugin, Loader, call
from postroom.time_limit import LateError

if TYPE_CHECKING:
    from postroom.mail import ParsedMessage

logger = logging.getLogger(__name__)

GROUP: Final = "postroom"
DISTRIBUTIONS: Final = {
    "imap": "postroom-pop-imap",
    "pop3": "postroom-pop-imap",
    "smtp": "postroom-smtp",
    "graph": "postroom-graph",
    "ews": "postroom-ews",
    "maildir": "postroom-local",
    "mbox": "postroom-local",
    "eml": "postroom-local",
    "pipe": "postroom-local",
}
CREDENTIAL_DISTRIBUTIONS: Final = {"microsoft": "postroom-oauth", "google": "postroom-oauth"}
_ALLOW: Final = "POSTROOM_PLUGINS"


class Plugins:
    """What is installed, with every call into it contained. Safe to use from any thread."""

    def __init__(
        self,
        entry_points: Iterable[importlib.metadata.EntryPoint] = (),
        *,
        allowed: Callable[[str], bool] = lambda _: True,
        chosen: Mapping[str, str] | None = None,
    ) -> None:
        loader = Loader(allowed)
        self.installed: tuple[InstalledPlugin, ...] = tuple(
            loader.load(entry) for entry in entry_points
        )
        self.unknown_names = tuple(self._unknown_names(chosen or {}))
        """Sentences on names in POSTROOM_PLUGINS and POSTROOM_DISABLE_PLUGINS that name nothing."""
        self._transports, self._kinds = loader.transports, loader.kinds
        self._classifiers, self._listeners = loader.classifiers, loader.listeners
        self._built_in = BuiltIn()

    @property
    def transports(self) -> Mapping[str, Transport]:
        """Every transport that can be used, by name."""
        return self._transports

    def transport(self, name: str) -> Transport:
        """Return a transport.

        :raises SettingsError: no installed plugin offers it; says what to install
        """
        try:
            return self._transports[name]
        except KeyError:
            what = f'the transport "{name}"'
            raise self._missing(what, name, DISTRIBUTIONS.get(name), self._transports) from None

    @property
    def credential_kinds(self) -> Mapping[str, CredentialKind]:
        """Every kind of credential that can be used, by name."""
        return self._kinds

    def credential_kind(self, name: str) -> CredentialKind:
        """Return a kind of credential.

        :raises SettingsError: no installed plugin offers it; says what to install
        """
        try:
            return self._kinds[name]
        except KeyError:
            what = f'the kind of credential "{name}"'
            distribution = CREDENTIAL_DISTRIBUTIONS.get(name)
            raise self._missing(what, name, distribution, self._kinds) from None

    def classify(self, message: ParsedMessage, mailbox: MailboxView) -> Classified:
        """Ask every plugin what to do with a message, what is built in last."""
        reports: list[str] = []
        verdict = NOTHING
        arguments = {"message": message, "mailbox": mailbox}
        for name, impl, limit in self._classifiers:
            try:
                said = limit.call(lambda impl=impl: call(impl, arguments))  # type: ignore[misc]
                verdict = merge(verdict, said)
            except BaseException as error:
                reports.append(_report(name, error))
        verdict, more = self._built_in.classify(message, mailbox, verdict)
        return verdict, reports + more

    def tell(self, event: Event) -> None:
        """Tell every plugin what happened; their failures are logged, nothing else."""
        arguments = {"event": event}
        for name, impl, limit in self._listeners:
            extra = {"plugin": name}
            try:
                limit.call(lambda impl=impl: call(impl, arguments))  # type: ignore[misc]
            except LateError as error:
                _log_late(name, error, "an event")
            except KeyboardInterrupt:
                raise
            except BaseException:
                logger.exception("Plugin %s failed on an event", name, extra=extra)

    def classifies_elsewhere(self) -> bool:
        """Say whether a plugin that is not built in classifies messages."""
        return bool(self._classifiers)

    def hears_events(self) -> bool:
        """Say whether any plugin wants events, so that none has to be made where nobody does."""
        return bool(self._listeners)

    def who_offers(self, transport: str) -> str:
        """Return the plugin of a transport, for people."""
        for plugin in self.installed:
            if transport in plugin.transports and plugin.distribution:
                return f"The plugin {plugin.distribution} {plugin.version} (transport {transport})"
        return f"The plugin of the transport {transport}"

    # ------------------------------------------------------------------------ loading

    def _unknown_names(self, chosen: Mapping[str, str]) -> Iterator[str]:
        installed = {one.name for one in self.installed}
        for variable, text in chosen.items():
            known = sorted(installed | (set(BUILT_IN) if variable == DENY else set()))
            for name in sorted(names_in(text) - set(known)):
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
                yield f"{variable} names {name}, which is not installed; {hint}"

    def _missing(
        self, what: str, word: str, distribution: str | None, known: Mapping[str, object]
    ) -> SettingsError:
        there = ", ".join(sorted(known)) or "none"
        step: str | None = None
        sentence = f"No installed plugin offers {what} (there are: {there})."
        for plugin in self.installed:
            if plugin.distribution != distribution:
                continue
            if plugin.broken:
                name = f"{plugin.distribution} {plugin.version}"
                sentence = f"The plugin of {what}, {name}, is broken: {plugin.broken}."
                return SettingsError(codes.PLUGIN_MISSING, sentence)
            if not plugin.enabled:
                sentence = f"The plugin of {what} is switched off."
                step = "See POSTROOM_PLUGINS and POSTROOM_DISABLE_PLUGINS."
                return SettingsError(codes.PLUGIN_MISSING, sentence, next_step=step)
        step = f"Install it: pip install {distribution}" if distribution else None
        if near := difflib.get_close_matches(word.lower(), known, n=1):
            step = step or f'Did you mean "{near[0]}"? Else install the plugin that offers it.'
        broken = [f"{one.name} ({one.broken})" for one in self.installed if one.broken]
        if broken and not distribution:  # a stranger's: it may be one of these
            sentence += f" Broken plugins: {'; '.join(broken)}."
        return SettingsError(codes.PLUGIN_MISSING, sentence, next_step=step)


# ---------------------------------------------------------------------------- the process's plugins

_loaded: tuple[tuple[str, str], Plugins] | None = None
_replacement: Plugins | None = None


def load() -> Plugins:
    """Return the plugins of this process, loaded once for each setting of the environment."""
    global _loaded
    if _replacement is not None:
        return _replacement
    settings = (os.environ.get(_ALLOW, ""), os.environ.get(DENY, ""))
    if _loaded is None or _loaded[0] != settings:
        chosen = dict(zip((_ALLOW, DENY), settings, strict=True))
        _loaded = (settings, Plugins(_scan(), allowed=_permission(*settings), chosen=chosen))
    return _loaded[1]


def use(plugins: Plugins | None) -> None:
    """Use these plugins instead of the installed ones, or with None those again; for tests."""
    global _replacement
    _replacement = plugins


def _scan() -> list[importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=GROUP)
    return sorted(found, key=lambda entry: entry.name)


def _permission(allow: str, deny: str) -> Callable[[str], bool]:
    allowed, denied = names_in(allow), names_in(deny)

    def is_allowed(name: str) -> bool:
        return name not in denied and (not allowed or name in allowed)

    return is_allowed


# ---------------------------------------------------------------------------- containment


def _log_late(name: str, error: LateError, what: str) -> None:
    """Say so while it is called; not each time that it is passed over."""
    if not error.was_called:
        return
    more = " It is asked no more before it comes back." if error.is_last else ""
    logger.error(
        "Plugin %s did not come back in time on %s.%s", name, what, more, extra={"plugin": name}
    )


def _report(name: str, error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        raise error
    if isinstance(error, LateError):
        _log_late(name, error, "a message")
        return f"The plugin {name} did not say in time what to do with a message."
    return report_failure(name, error)
