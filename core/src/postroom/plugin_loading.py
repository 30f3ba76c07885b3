"""Takes plugins in, one by one: each is loaded whole or listed as broken with its reason."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Final, TypeVar

import pluggy

from postroom.api import hookspecs
from postroom.api.credential import CredentialKind
from postroom.api.transport import API_VERSION, Capability, Transport
from postroom.time_limit import LateError, TimeLimit, patience

T = TypeVar("T")

CLASSIFY_SECONDS: Final = 5.0
EVENT_SECONDS: Final = 5.0
LOAD_SECONDS: Final = 10.0
"""A plugin that takes longer to be imported, or to say what it offers, is broken."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_WHAT: Final[Mapping[type[Any], str]] = {
    Transport: "transport",
    CredentialKind: "kind of credential",
}

Hook = tuple[str, pluggy.HookImpl, TimeLimit]
"""A plugin's name, what it implements, and the limit for all calls of that."""


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


class Loader:
    """Takes plugins in.

    :param allowed: says by its name whether a plugin may be loaded
    """

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._allowed = allowed
        self.transports: dict[str, Transport] = {}
        self.kinds: dict[str, CredentialKind] = {}
        self.classifiers: list[Hook] = []
        self.listeners: list[Hook] = []

    def load(self, entry: importlib.metadata.EntryPoint) -> InstalledPlugin:
        """Take in what an entry point names; never raises for what is wrong with it."""
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
            transports = self._offered(module, "postroom_transports", Transport, self.transports)
            kinds = self._offered(module, "postroom_credentials", CredentialKind, self.kinds)
        except BaseException as error:
            if self._manager.is_registered(module):
                self._manager.unregister(module)
            if isinstance(error, _BrokenError | KeyboardInterrupt):
                raise
            raise _BrokenError(_describe(error)) from error
        self.transports.update(transports)
        self.kinds.update(kinds)
        for impl in _impls_of(self._manager, "postroom_classify", module):
            self.classifiers.append((entry.name, impl, TimeLimit(CLASSIFY_SECONDS)))
        for impl in _impls_of(self._manager, "postroom_event", module):
            self.listeners.append((entry.name, impl, TimeLimit(EVENT_SECONDS)))
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
        known = self.transports if base is Transport else self.kinds
        package = type(known[name]).__module__.partition(".")[0] if name in known else ""
        return f", from {package}" if package else ""


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
    return _in_time(lambda: list(call(impl, {}) or ()))


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


def call(impl: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    """Call one implementation, with those arguments that it takes."""
    return impl.function(*(arguments[name] for name in impl.argnames))
