"""Changing the key: all secrets or none are sealed anew, whenever the process dies."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from peewee import BlobField
from postroom import secrets
from postroom.admin import key_rotation
from postroom.errors import KeyUnusableError
from postroom.mailboxes import sides
from postroom.plugin_settings import stored_values
from postroom.store.models import TABLES, Mailbox, Side
from postroom_test_servers.pigeon import FakePlugins

Command = Callable[..., Result]
TOML = """
[[mailbox]]
address = "info@example.org"
[mailbox.incoming]
transport = "pigeon"
host = "loft"
password = "corn and peas"
"""


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.fixture
def key_file(store: str, pigeons: FakePlugins, command: Command) -> Path:
    """The key of an installation with secrets."""
    assert command("apply", "-", stdin=TOML).exit_code == 0
    secrets.installation_secret()
    return Path(os.environ["POSTROOM_KEY_FILE"])


def password() -> str:
    side = sides.find(Mailbox.get(), "in")
    assert side is not None
    return str(stored_values(side)["password"])


def test_everything_is_sealed_with_the_new_key_and_the_old_one_is_kept(
    key_file: Path, command: Command
) -> None:
    old, tag_secret = key_file.read_bytes(), secrets.installation_secret()

    done = command("key", "rotate", "--json")

    told = json.loads(done.stdout)
    assert told["resealed"] == 3
    assert Path(told["old_key"]).read_bytes() == old != key_file.read_bytes()
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert password() == "corn and peas"
    secrets._installation_secrets.clear()
    assert secrets.installation_secret() == tag_secret
    key_file.write_bytes(old)
    with pytest.raises(KeyUnusableError, match="another key"):
        password()


@pytest.mark.parametrize("call", ["os.link", "os.replace", "sync_folder", "_write_next", "_reseal"])
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_killed_at_any_step_nothing_is_lost_and_the_next_time_ends_it(
    key_file: Path, command: Command, call: str, is_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place: Any = {"os": os, "": key_rotation}[call.rpartition(".")[0]]
    if call == "sync_folder":
        place = secrets
    name = call.rpartition(".")[2]
    real = getattr(place, name)

    def dies(*arguments: object) -> None:
        if is_done:
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, name, dies)
        with pytest.raises(Killed):
            key_rotation.rotate()
    assert password() == "corn and peas"

    key_rotation.rotate()

    assert password() == "corn and peas"
    assert not secrets.next_to(key_file).exists()
    assert secrets.prepare() is None


def test_a_key_in_the_environment_is_replaced_by_a_given_one(
    key_file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_KEY", key_file.read_text().strip())
    new = base64.urlsafe_b64encode(b"n" * 32).decode()

    refused = command("key", "rotate")
    monkeypatch.setenv("NEW_KEY", new)
    done = command("key", "rotate", "--new-key-env", "NEW_KEY")

    assert refused.exit_code == 1 and "--new-key-env" in refused.output
    assert done.exit_code == 0 and "POSTROOM_KEY now" in done.output
    monkeypatch.setenv("POSTROOM_KEY", new)
    assert password() == "corn and peas"


def test_a_key_that_is_none_changes_nothing(key_file: Path, command: Command) -> None:
    before = bytes(Side.get().sealed)
    (key_file.parent / "new").write_text("hunter2")

    done = command("key", "rotate", "--new-key-file", str(key_file.parent / "new"))

    assert done.exit_code == 1 and "hunter2" not in done.output
    assert "openssl rand" in done.output  # it is the new one that is wrong, not the present one
    assert bytes(Side.get().sealed) == before


def test_every_column_of_bytes_is_sealed_anew_or_known_to_be_open() -> None:
    columns = {
        (table, name)
        for table in TABLES
        for name, field in table._meta.fields.items()
        if isinstance(field, BlobField)
    }
    sealed = {(table, field.name) for table, field in key_rotation.sealed_columns()}

    assert {(t.__name__, name) for t, name in columns - sealed} == {
        ("Setting", "value"),  # the two that are sealed are named
        ("RawChunk", "body"),
    }
