"""``postroom plugin check``: what is wrong with a plugin is told before anybody depends on it."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from postroom import plugins
from postroom.admin.plugin_check import check
from postroom.plugin_loading import InstalledPlugin
from postroom.plugins import GROUP, Plugins

SOUND = """
from postroom.api import Capability, Receiver, Sender, Transport, hookimpl

class OneReceiver(Receiver):
    def fetch(self, cursor, *, limits, wanted): ...
    def settle(self, refs, disposition): ...
    def list_refs(self): ...
    def check(self): ...
    def interrupt(self): ...
    def close(self): ...

class OneTransport(Transport):
    name, title = "one", "One"
    capabilities = Capability.SEEN
    def receiver_settings(self):
        from typing import Annotated
        from pydantic import Field, SecretStr
        from postroom.api.settings import TransportSettings
        class Settings(TransportSettings):
            host: Annotated[str, Field(description="Host name")]
            password: Annotated[SecretStr, Field(description="Password")]
        return Settings
    def open_receiver(self, settings, context):
        return OneReceiver()

@hookimpl
def postroom_transports():
    return [OneTransport()]
"""
Look = Callable[[str], list[tuple[str, str]]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Look]:
    """Check a plugin with this source; return outcomes and details."""
    module = f"postroom_checked_{abs(hash(tmp_path))}"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def check_it(source: str) -> list[tuple[str, str]]:
        (tmp_path / f"{module}.py").write_text(source)
        loaded = Plugins([importlib.metadata.EntryPoint("checked", module, GROUP)])
        return [(one.outcome, one.detail) for one in check(loaded.installed[0], loaded)]

    yield check_it
    sys.modules.pop(module, None)


def test_nothing_is_wrong_with_a_sound_plugin(look: Look) -> None:
    assert [outcome for outcome, _ in look(SOUND)] == ["ok"]


@pytest.mark.parametrize(
    ("old", "new", "outcome", "said"),
    [
        ("import Capability", "import NoSuchThing, Capability", "fail", "ImportError"),
        ("@hookimpl", "", "fail", "postroom_transports is not marked"),
        ("[OneTransport()]", "[]\ndef unused(): return OneTransport()", "ok", ""),
        ("@hookimpl\ndef postroom_tr", "def tr", "fail", "implements no hook"),
        ("from postroom", "import smtplib\nfrom postroom", "warn", "smtplib"),
        ('"One"', '"One\\nTwo"', "fail", "title"),
        ("Capability.SEEN", "7", "fail", "no Capability"),
        ("Capability.SEEN", "Capability.ENVELOPE", "fail", "cannot send, but declares"),
        ("Capability.SEEN", "Capability.PUSH", "fail", "none of its receivers has a wait"),
        ("def open_receiver", "def open_mailbox", "fail", "neither a receiver nor a sender"),
        ("def receiver_settings", "def sender_settings", "fail", "no open_sender"),
        ("(TransportSettings)", "", "fail", "no TransportSettings"),
        ("host: Annotated", "model_config = {'extra': 'allow'}\n            host: Annotated",
         "fail", "forbid"),
        ('"Host name"', '"Host name."', "fail", "host needs a description"),
        ("Annotated[SecretStr", "Annotated[str", "fail", "password sounds secret"),
        ("from typing", "1/0; from typing", "fail", "ZeroDivisionError"),
        ("    def settle(self, refs, disposition): ...\n", "", "fail", "OneReceiver lacks settle"),
        ("capabilities =", "settings_version = 0; capabilities =", "fail", "settings_version"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(look: Look, old: str, new: str, outcome: str, said: str) -> None:
    assert old in SOUND

    found = look(SOUND.replace(old, new, 1))

    assert any(one == outcome and said in detail for one, detail in found), found


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_installed_plugins_are_checked_and_what_is_broken_needs_a_person(
    command: Callable[..., Result],
) -> None:
    installed = Plugins()
    sound = InstalledPlugin("off", "postroom-off", "1", "off", enabled=False)
    broken = InstalledPlugin("bad", "postroom-bad", "1", "bad", broken="ImportError: no")
    installed.installed = (sound, broken)
    plugins.use(installed)
    try:
        all_of_them = command("plugin", "check", "--json")
        one = command("plugin", "check", "off")
        unknown = command("plugin", "check", "nobody")
    finally:
        plugins.use(None)

    assert all_of_them.exit_code == 3
    assert [row["outcome"] for row in rows(all_of_them)] == ["ok", "fail"]
    assert (one.exit_code, one.stdout) == (0, "ok    off: switched off, not looked at\n")
    assert unknown.exit_code == 1
    assert "there are: bad, off" in unknown.stderr


@pytest.mark.parametrize(("verb", "ends_with"), [("list", 0), ("check", 3)])
def test_misspelt_name_in_the_environment_is_told(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, verb: str, ends_with: int
) -> None:
    monkeypatch.setenv("POSTROOM_PLUGINS", "no-such-plugin")

    result = command("plugin", verb)

    assert result.exit_code == ends_with
    assert "Warning: POSTROOM_PLUGINS names no-such-plugin" in result.stderr
