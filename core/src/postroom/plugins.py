"""Finds, loads and isolates plugins: one that is broken is listed with its reason, and everything
else works.

A plugin is a module behind an entry point in the group ``postroom``. POSTROOM_PLUGINS (names,
separated by commas) allows only those; POSTROOM_DISABLE_PLUGINS switches some off, the built-in
ones ``filters``, ``acknowledgement`` and ``loops`` included.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pluggy

from postroom.api import codes, hookspecs
from postroom.api.credential import CredentialKind
from postroom.api.errors import SettingsError
from postroom.api.events import Event
from postroom.api.transport import API_VERSION, Capability, Transport
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
from postroom.time_limit import LateError, TimeLimit, patience

if TYPE_CHECKING:
    from postroom.mail import ParsedMessage

logger = logging.getLogger(__name__)
T = TypeVar("T")

GROUP: Final = "postroom"
CLASSIFY_SECONDS: Final = 5.0
EVENT_SECONDS: Final = 5.0
LOAD_SECONDS: Final = 10.0
"""A plugin that takes longer to be imported, or to say what it offers, is broken."""
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
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_WHAT: Final[Mapping[type[Any], str]] = {
    Transport: "transport",
    CredentialKind: "kind of credential",
}


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A plugin as `plugin list` shows it.

    `broken`: why it does not work; `enabled`: allowed; `capabilities`: by transport, in lower case;
    `hooks`: those that it implements; `api`: the version that it was written for, None where it
    could not be asked.
    """

    name: str
    distribution: str
    version: str
    module: str
    enabled: bool = True
    transports: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    api: int | None = API_VERSION
    broken: str | None = None
    capabilities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hooks: tuple[str, ...] = ()


class _BrokenError(Exception):
    """Why a plugin cannot be used.

    :param api: the version of the API that it asks for, where it could be asked
    """

    def __init__(self, reason: str, api: int | None = None) -> None:
        super().__init__(reason)
        self.api = api


class Plugins:
    """What is installed, with every call into it contained. Safe to use from any thread."""

    def __init__(
        self,
        entry_points: Iterable[importlib.metadata.EntryPoint] = (),
        *,
        allowed: Callable[[str], bool] = lambda _: True,
        chosen: Mapping[str, str] | None = None,
    ) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._allowed = allowed
        self._transports: dict[str, Transport] = {}
        self._kinds: dict[str, CredentialKind] = {}
        self._classifiers: list[tuple[str, pluggy.HookImpl, TimeLimit]] = []
        self._listeners: list[tuple[str, pluggy.HookImpl, TimeLimit]] = []
        self._built_in = BuiltIn()
        self.installed = tuple(self._load(entry) for entry in entry_points)
        self.unknown_names = tuple(self._unknown_names(chosen or {}))
        """Sentences on names in POSTROOM_PLUGINS and POSTROOM_DISABLE_PLUGINS that name nothing."""

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
            raise self._missing(what, DISTRIBUTIONS.get(name), self._transports) from None

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
            raise self._missing(what, distribution, self._kinds) from None

    def classify(self, message: ParsedMessage, mailbox: MailboxView) -> Classified:
        """Ask every plugin what to do with a message, what is built in last."""
        reports: list[str] = []
        verdict = NOTHING
        arguments = {"message": message, "mailbox": mailbox}
        for name, impl, limit in self._classifiers:
            try:
                said = limit.call(lambda impl=impl: _call(impl, arguments))  # type: ignore[misc]
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
                limit.call(lambda impl=impl: _call(impl, arguments))  # type: ignore[misc]
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

    def _load(self, entry: importlib.metadata.EntryPoint) -> InstalledPlugin:
        distribution = entry.dist
        plugin = InstalledPlugin(
            entry.name,
            distribution.name if distribution else "",
            distribution.version if distribution else "",
            entry.value,
        )
        if not self._allowed(entry.name):
            return replace(plugin, enabled=False)
        try:
            return replace(plugin, **self._register(entry))
        except _BrokenError as error:
            return replace(plugin, broken=str(error), api=error.api)

    def _register(self, entry: importlib.metadata.EntryPoint) -> dict[str, Any]:
        """Take a plugin in whole, or not at all; return what it offers."""
        if self._manager.has_plugin(entry.name):
            raise _BrokenError(f"the name {entry.name} is taken by another plugin")
        module = _import(entry)
        try:
            self._manager.register(module, entry.name)
            self._refuse_unknown_hooks(module)
            transports = self._offered(module, "postroom_transports", Transport, self._transports)
            kinds = self._offered(module, "postroom_credentials", CredentialKind, self._kinds)
        except BaseException as error:
            if self._manager.is_registered(module):
                self._manager.unregister(module)
            if isinstance(error, _BrokenError | KeyboardInterrupt):
                raise
            raise _BrokenError(_describe(error)) from error
        self._transports.update(transports)
        self._kinds.update(kinds)
        for impl in _impls_of(self._manager, "postroom_classify", module):
            self._classifiers.append((entry.name, impl, TimeLimit(CLASSIFY_SECONDS)))
        for impl in _impls_of(self._manager, "postroom_event", module):
            self._listeners.append((entry.name, impl, TimeLimit(EVENT_SECONDS)))
        callers = self._manager.get_hookcallers(module) or ()
        return {
            "transports": tuple(transports),
            "credentials": tuple(kinds),
            "capabilities": {name: _words(one.capabilities) for name, one in transports.items()},
            "hooks": tuple(sorted(caller.name for caller in callers)),
        }

    def _refuse_unknown_hooks(self, module: object) -> None:
        for caller in self._manager.get_hookcallers(module) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is not module:
                    continue
                if not caller.has_spec() and not impl.optionalhook:
                    known = [name for name in vars(hookspecs) if name.startswith("postroom_")]
                    near = difflib.get_close_matches(caller.name, known, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise _BrokenError(f"{caller.name} is no hook of postroom{hint}")
                if impl.wrapper or impl.hookwrapper:
                    raise _BrokenError(f"{caller.name} is a wrapper; hooks are called one by one")

    def _offered(
        self, module: object, hook: str, base: type[Any], known: Mapping[str, object]
    ) -> dict[str, Any]:
        offered: dict[str, Any] = {}
        for impl in _impls_of(self._manager, hook, module):
            for one in _ask(impl):
                _check_description(one, base, hook)
                if one.name in known or one.name in offered:
                    what = f"the {_WHAT[base]} {one.name}"
                    raise _BrokenError(f"{what} is there already{self._from(one.name, base)}")
                offered[one.name] = one
        return offered

    def _from(self, name: str, base: type[Any]) -> str:
        """Return where a name that is taken comes from."""
        known = self._transports if base is Transport else self._kinds
        package = type(known[name]).__module__.partition(".")[0] if name in known else ""
        return f", from {package}" if package else ""

    def _missing(
        self, what: str, distribution: str | None, known: Mapping[str, object]
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


def _import(entry: importlib.metadata.EntryPoint) -> ModuleType:
    try:
        loaded = _in_time(entry.load)
    except KeyboardInterrupt:
        raise
    except _BrokenError:
        raise
    except BaseException as error:  # a module may raise anything, SystemExit included
        raise _BrokenError(_describe(error)) from error
    if not isinstance(loaded, ModuleType):
        raise _BrokenError(f"{entry.value} is not a module")
    return loaded


def _in_time(function: Callable[[], T]) -> T:
    """Call what is a plugin's own while it is loaded.

    :raises _BrokenError: it does not come back
    """
    seconds = min(LOAD_SECONDS, patience())
    try:
        return TimeLimit(seconds).call(function)
    except LateError:
        raise _BrokenError(f"it could not be loaded within {seconds:.0f} seconds") from None


def _ask(impl: pluggy.HookImpl) -> list[Any]:
    """Return what a registration hook offers."""
    return _in_time(lambda: list(_call(impl, {}) or ()))


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _check_description(described: Any, base: type[Any], hook: str) -> None:
    version = getattr(described, "api", None)
    if version != API_VERSION:
        reason = f"it asks for version {version} of the API, this is {API_VERSION}"
        raise _BrokenError(reason, version if isinstance(version, int) else None)
    if not isinstance(described, base):
        raise _BrokenError(f"{hook} returned {type(described).__name__}")
    if not _NAME.fullmatch(str(getattr(described, "name", ""))):
        raise _BrokenError(f"a {_WHAT[base]}'s name is lower case letters, digits and hyphens")
    if not isinstance(getattr(described, "capabilities", Capability.NONE), Capability):
        raise _BrokenError(f"the capabilities of {described.name} are no Capability")


def _words(capabilities: Capability) -> tuple[str, ...]:
    return tuple((one.name or "").lower() for one in capabilities)


def _impls_of(manager: pluggy.PluginManager, hook: str, module: object) -> list[pluggy.HookImpl]:
    impls = getattr(manager.hook, hook).get_hookimpls()
    return [impl for impl in impls if impl.plugin is module]


def _call(impl: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    """Call one implementation, with those arguments that it takes."""
    return impl.function(*(arguments[name] for name in impl.argnames))


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
