"""The loader: whatever a plugin does, the others work and the core goes on."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from postroom import plugin_loading, plugins
from postroom.api import Event, FilterRule, MailboxView, SettingsError, Verdict, codes
from postroom.classification import BUILT_IN
from postroom.mail import parse
from postroom.plugins import Plugins
from postroom.time_limit import TimeLimit

VIEW = MailboxView("info@example.org", "", "default", frozenset())
MESSAGE = parse(b"Subject: hello\r\n\r\nhello\r\n")
GOOD = """
from postroom.api import Transport, hookimpl
class Good(Transport):
    name = "{name}"
    title = "Good"
@hookimpl
def postroom_transports():
    return [Good()]
"""
Install = Callable[..., importlib.metadata.EntryPoint]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a module and return its entry point: ``install("name", source)``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written: list[str] = []

    def write(name: str, source: str) -> importlib.metadata.EntryPoint:
        module = f"postroom_made_up_{name}_{len(written)}_{abs(hash(tmp_path))}"
        (tmp_path / f"{module}.py").write_text(source)
        written.append(module)
        return importlib.metadata.EntryPoint(name, module, plugins.GROUP)

    yield write
    for module in written:
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1/0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        (GOOD.format(name="Bad Name"), "lower case"),
        (GOOD.format(name="x") + "Good.api = 2", "version 2"),
        (GOOD.format(name="good"), "is there already"),
        (GOOD.format(name="x") + "@hookimpl\ndef postroom_dance(): pass", "no hook of postroom"),
        (GOOD.format(name="x") + "@hookimpl\ndef postroom_event(wrong): pass", "wrong"),
        (GOOD.format(name="x") + "Good.__init__ = lambda self: 1/0", "ZeroDivisionError"),
        (GOOD.format(name="x") + "Good.__init__ = lambda self: exit()", "SystemExit"),
        (GOOD.format(name="x").replace("Good()", "42"), "version None"),
        (GOOD.format(name="x").replace("[Good()]", "42"), "TypeError"),
        (
            GOOD.format(name="x")
            + "@hookimpl(wrapper=True)\ndef postroom_event(event):\n    return (yield)",
            "wrapper",
        ),
    ],
)
def test_broken_plugin_is_listed_with_its_reason_and_the_others_work(
    install: Install, source: str, reason: str
) -> None:
    good = install("good", GOOD.format(name="good"))

    loaded = Plugins([good, install("bad", source)])

    assert list(loaded.transports) == ["good"]
    assert loaded.installed[0].broken is None
    assert reason in str(loaded.installed[1].broken)
    assert not loaded.hears_events()


def test_second_plugin_of_a_name_is_refused(install: Install) -> None:
    first = install("good", GOOD.format(name="good"))

    loaded = Plugins([first, install("good", GOOD.format(name="other"))])

    assert "taken" in str(loaded.installed[1].broken)
    assert "other" not in loaded.transports


def test_only_allowed_plugins_are_imported(install: Install) -> None:
    loaded = Plugins([install("bad", "raise SystemExit")], allowed=lambda name: name != "bad")

    assert loaded.installed[0].enabled is False
    assert loaded.installed[0].broken is None


@pytest.mark.parametrize(
    ("allow", "deny", "allowed"),
    [
        ("", "", {"a", "b"}),
        ("a", "", {"a"}),
        ("", "a, filters", {"b"}),
        ("a,b", "b", {"a"}),
    ],
)
def test_environment_says_which_plugins_are_allowed(
    allow: str, deny: str, allowed: set[str]
) -> None:
    permission = plugins._permission(allow, deny)

    assert {name for name in ("a", "b") if permission(name)} == allowed


@pytest.mark.parametrize(
    ("variable", "name", "said"),
    [
        ("POSTROOM_PLUGINS", "gods", "did you mean good?"),
        ("POSTROOM_PLUGINS", "filters", "there are: good"),
        ("POSTROOM_DISABLE_PLUGINS", "filter", "did you mean filters?"),
        ("POSTROOM_DISABLE_PLUGINS", "filters, good", ""),
    ],
)
def test_name_in_the_environment_that_names_nothing_is_told(
    install: Install, variable: str, name: str, said: str
) -> None:
    good = install("good", GOOD.format(name="good"))

    told = " ".join(Plugins([good], chosen={variable: name}).unknown_names)

    assert told == (f"{variable} names {name}, which is not installed; {said}" if said else "")


def test_missing_transport_names_what_to_install() -> None:
    with pytest.raises(SettingsError) as caught:
        Plugins().transport("graph")

    assert caught.value.code is codes.PLUGIN_MISSING
    assert "pip install postroom-graph" in caught.value.next_step


# ---------------------------------------------------------------------------- hooks


def plugin_with(**hooks: Callable[..., Any]) -> ModuleType:
    """Return a plugin's module with these hooks."""
    from postroom.api import hookimpl

    module = ModuleType(f"made_up_{len(hooks)}_{time.monotonic_ns()}")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, ModuleType], Any]:
    """Return an entry point that loads a module."""

    def make(name: str, module: ModuleType) -> importlib.metadata.EntryPoint:
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return importlib.metadata.EntryPoint(name, module.__name__, plugins.GROUP)

    return make


@pytest.fixture
def _no_builtins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROOM_DISABLE_PLUGINS", ",".join(BUILT_IN))


@pytest.mark.usefixtures("_no_builtins")
def test_first_plugin_to_set_a_field_wins(entry: Callable[..., Any]) -> None:
    one = plugin_with(postroom_classify=lambda message: Verdict(topic="A", because="one"))
    two = plugin_with(postroom_classify=lambda mailbox: Verdict(topic="B", assignee="b"))
    three = plugin_with(postroom_classify=lambda message, mailbox: None)

    loaded = Plugins([entry("a", one), entry("b", two), entry("c", three)])
    verdict, reports = loaded.classify(MESSAGE, VIEW)

    assert verdict == Verdict(topic="A", assignee="b", because="one")
    assert reports == []


def fail(message: Any) -> Verdict:
    raise RuntimeError("no")


def leave(message: Any) -> Verdict:
    raise SystemExit


@pytest.mark.usefixtures("_no_builtins")
@pytest.mark.parametrize("bad", [fail, leave, lambda message: "spam"])
def test_plugin_that_fails_on_a_message_is_reported_and_skipped(
    entry: Callable[..., Any], bad: Callable[..., Any]
) -> None:
    good = plugin_with(postroom_classify=lambda message: Verdict(topic="A"))

    loaded = Plugins([entry("bad", plugin_with(postroom_classify=bad)), entry("good", good)])
    verdict, reports = loaded.classify(MESSAGE, VIEW)

    assert verdict.topic == "A"
    assert len(reports) == 1
    assert "bad" in reports[0]


@pytest.mark.usefixtures("_no_builtins")
def test_plugin_that_hangs_is_skipped(
    entry: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_loading, "CLASSIFY_SECONDS", 0.05)
    free = threading.Event()
    slow = plugin_with(postroom_classify=lambda message: free.wait(30))

    verdict, reports = Plugins([entry("slow", slow)]).classify(MESSAGE, VIEW)
    free.set()

    assert verdict == Verdict()
    assert "in time" in reports[0]


@pytest.mark.parametrize(("allow", "deny", "said"), [("a", "", "A"), ("", "filters", None)])
def test_built_in_filters_can_only_be_denied(
    allow: str, deny: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_PLUGINS", allow)
    monkeypatch.setenv("POSTROOM_DISABLE_PLUGINS", deny)
    rule = FilterRule("all", "subject", "hello", topic="A")

    verdict, _ = Plugins().classify(MESSAGE, replace(VIEW, filters=(rule,)))

    assert verdict.topic == said


def test_builtin_that_cannot_be_loaded_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "filters", "postroom.builtin.no_such_module")

    verdict, reports = Plugins().classify(MESSAGE, VIEW)

    assert verdict == Verdict()
    assert len(reports) == 1


def test_event_reaches_every_plugin_whatever_one_does(entry: Callable[..., Any]) -> None:
    heard = []

    def break_down(event: Event) -> None:
        raise SystemExit

    listener = plugin_with(postroom_event=lambda event: heard.append(event.name))
    loaded = Plugins(
        [
            entry("a", listener),
            entry("b", plugin_with(postroom_event=break_down)),
            entry("c", plugin_with(postroom_event=lambda event: heard.append(event.name))),
        ]
    )

    assert loaded.hears_events()
    loaded.tell(Event("stored", datetime.now(UTC), "info@example.org"))

    assert heard == ["stored", "stored"]


def test_listener_that_hangs_is_passed_over_in_the_end(
    entry: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plugin_loading, "EVENT_SECONDS", 0.2)
    free, heard = threading.Event(), []
    loaded = Plugins(
        [
            entry("slow", plugin_with(postroom_event=lambda event: free.wait(30))),
            entry("good", plugin_with(postroom_event=lambda event: heard.append(event))),
        ]
    )

    for _ in range(6):
        loaded.tell(Event("stored", datetime.now(UTC), "info@example.org"))
    free.set()

    assert len(heard) == 6
    late = [record for record in caplog.records if "did not come back in time" in record.message]
    assert len(late) == 4
    assert "Plugin slow" in late[0].message
    assert "asked no more" in late[-1].message


def test_code_that_never_comes_back_is_not_called_for_ever() -> None:
    limit = TimeLimit(0.01)
    free = threading.Event()
    begun = []

    def hang() -> None:
        begun.append(1)
        free.wait(30)

    for _ in range(6):
        with pytest.raises(TimeoutError):
            limit.call(hang)
    assert len(begun) == 4

    free.set()
    while threading.active_count() > 1 and any(
        t.name == "postroom-plugin" for t in threading.enumerate()
    ):
        pass
    assert limit.call(lambda: "back") == "back"


def test_what_authors_import_is_there_before_it_was_asked_for() -> None:
    code = (
        "import postroom.api as api; assert {'Receiver', 'errors'} <= set(dir(api)); "
        "assert api.errors.AuthError is api.AuthError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
