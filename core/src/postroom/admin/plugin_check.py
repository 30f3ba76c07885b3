"""Looks into an installed plugin more deeply than loading does: ``postroom plugin check``.

Opens no connection. Imports all of the plugin's modules, its library included.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from postroom.admin.loading import HEAVY, SOUNDS_SECRET, imported_at_load
from postroom.api import hookspecs
from postroom.api.credential import CredentialKind
from postroom.api.transport import Capability, Receiver, Sender, Transport
from postroom.plugin_loading import InstalledPlugin
from postroom.plugin_settings import is_secret
from postroom.plugins import Plugins

_RECEIVING: Final = (Capability.FOLDERS | Capability.SEEN | Capability.MOVE | Capability.DELETE) | (
    Capability.PUSH | Capability.RECEIVED_DATES
)
_SENDING: Final = Capability.EXACT_BYTES | Capability.ENVELOPE | Capability.FIND_SENT


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fail`: it does not work, or will not; `warn`: it may."""

    plugin: str
    subject: str
    outcome: Literal["ok", "warn", "fail"]
    detail: str


def check(plugin: InstalledPlugin, plugins: Plugins) -> Iterator[Finding]:
    """Yield what is wrong with a plugin, or one finding that says that nothing is."""
    if not plugin.enabled:
        yield Finding(plugin.name, "", "ok", "switched off, not looked at")
        return
    if plugin.broken is not None:
        yield Finding(plugin.name, "", "fail", plugin.broken)
        return
    found = [*_guarded(plugin, "", lambda: _of_the_module(plugin))]
    for name in plugin.transports:
        transport = plugins.transport(name)
        found += _guarded(plugin, name, lambda one=transport: _of_a_transport(one))  # type: ignore[misc]
    for name in plugin.credentials:
        kind = plugins.credential_kind(name)
        found += _guarded(plugin, name, lambda one=kind: _of_a_credential(one))  # type: ignore[misc]
    found += _guarded(plugin, "", lambda: _of_loading(plugin))
    found += _guarded(plugin, "", lambda: _of_the_sessions(plugin, plugins))
    yield from found or [Finding(plugin.name, "", "ok", _summary(plugin))]


_Problems = Iterator[tuple[Literal["warn", "fail"], str]]


def _guarded(
    plugin: InstalledPlugin, subject: str, look: Callable[[], _Problems]
) -> Iterator[Finding]:
    try:
        for outcome, detail in look():
            yield Finding(plugin.name, subject, outcome, detail)
    except (Exception, SystemExit) as error:  # the plugin's
        detail = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        yield Finding(plugin.name, subject, "fail", detail)


def _summary(plugin: InstalledPlugin) -> str:
    offers = ", ".join((*plugin.transports, *plugin.credentials)) or "hooks"
    return f"{plugin.distribution} {plugin.version}: {offers}"


# ---------------------------------------------------------------------------- the module


def _of_the_module(plugin: InstalledPlugin) -> _Problems:
    module = importlib.import_module(plugin.module.partition(":")[0])
    known = [name for name in vars(hookspecs) if name.startswith("postroom_")]
    marked = 0
    for name, function in inspect.getmembers(module, callable):
        if hasattr(function, f"{hookspecs.PROJECT}_impl"):
            marked += 1
        elif name in known and getattr(function, "__module__", "") == module.__name__:
            yield "fail", f"{name} is not marked with @hookimpl, so it is never called"
    if not marked:
        yield "fail", "it implements no hook, so it does nothing"


def _of_loading(plugin: InstalledPlugin) -> _Problems:
    """See in a process of its own what loading the plugin imports."""
    module = plugin.module.partition(":")[0]
    try:
        heavy = sorted(HEAVY & imported_at_load(module))
    except ImportError as error:
        yield "fail", f"it cannot be imported by itself: {str(error)[-300:]}"
        return
    if heavy:
        yield "warn", f"loading it imports {', '.join(heavy)}: every command pays for that"


# ---------------------------------------------------------------------------- what it offers


def _of_a_transport(transport: Transport) -> _Problems:
    yield from _of_a_description(transport)
    receives, sends = transport.receiver_settings(), transport.sender_settings()
    for model in dict.fromkeys(model for model in (receives, sends) if model is not None):
        yield from _of_settings(model)
    opens_receiver = type(transport).open_receiver is not Transport.open_receiver
    opens_sender = type(transport).open_sender is not Transport.open_sender
    if not (opens_receiver or opens_sender):
        yield "fail", "it opens neither a receiver nor a sender"
    if receives is not None and not opens_receiver:
        yield "fail", "it has settings for receiving and no open_receiver"
    if sends is not None and not opens_sender:
        yield "fail", "it has settings for sending and no open_sender"
    if not opens_receiver and transport.capabilities & _RECEIVING:
        yield "fail", f"it cannot receive, but declares {transport.capabilities & _RECEIVING!r}"
    if not opens_sender and transport.capabilities & _SENDING:
        yield "fail", f"it cannot send, but declares {transport.capabilities & _SENDING!r}"


def _of_a_credential(kind: CredentialKind) -> _Problems:
    yield from _of_a_description(kind)
    yield from _of_settings(kind.settings())


def _of_a_description(described: Transport | CredentialKind) -> _Problems:
    title = getattr(described, "title", None)
    if not isinstance(title, str) or not title.strip() or not title.isprintable():
        yield "fail", "its title is not a line of text"
    version = described.settings_version
    if not isinstance(version, int) or version < 1:
        yield "fail", "settings_version is not a whole number from 1 on"


def _of_settings(model: Any) -> _Problems:
    from postroom.api.settings import TransportSettings

    if not (isinstance(model, type) and issubclass(model, TransportSettings)):
        yield "fail", f"its settings are no TransportSettings: {model!r}"
        return
    if model.model_config.get("extra") != "forbid":
        yield "fail", f'{model.__name__} does not forbid what it does not know (extra="forbid")'
    for name, field in model.model_fields.items():
        said = field.description or ""
        if not said or said.endswith(".") or "\n" in said:
            yield "fail", f"{name} needs a description of one sentence without a full stop"
        if SOUNDS_SECRET.search(name) and not is_secret(field):
            yield "fail", f"{name} sounds secret and is no SecretStr: it would be stored in clear"
    model.model_json_schema()


# ---------------------------------------------------------------------------- its sessions


def _of_the_sessions(plugin: InstalledPlugin, plugins: Plugins) -> _Problems:
    """Hold what is declared against the classes in the plugin's package."""
    package = plugin.module.partition(".")[0].partition(":")[0]
    _import_all(package)
    receivers, senders = _of_package(Receiver, package), _of_package(Sender, package)
    for one in (*receivers, *senders):
        if not _of_package(one, package) and (missing := sorted(one.__abstractmethods__)):
            yield "fail", f"{one.__name__} lacks {', '.join(missing)}"
    declared = Capability.NONE
    for name in plugin.transports:
        declared |= plugins.transport(name).capabilities
    # Without a class of its own here, a session comes from another package.
    if Capability.PUSH in declared and receivers and not _overrides(receivers, "wait"):
        yield "fail", "it declares PUSH, and none of its receivers has a wait"
    if Capability.FIND_SENT in declared and senders and not _overrides(senders, "find_sent"):
        yield "fail", "it declares FIND_SENT, and none of its senders has a find_sent"


def _import_all(package: str) -> None:
    top = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{package}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _of_package(base: Any, package: str) -> list[Any]:
    """Return all that inherit from a class and are defined in the package."""
    found: list[Any] = []
    for one in base.__subclasses__():
        if one.__module__.partition(".")[0] == package:
            found.append(one)
        found += _of_package(one, package)
    return found


def _overrides(classes: list[Any], method: str) -> bool:
    """Say whether one of them has a method that is not the contract's default."""
    return any(
        method in vars(base)
        for one in classes
        for base in one.__mro__
        if base not in (Receiver, Sender)
    )
