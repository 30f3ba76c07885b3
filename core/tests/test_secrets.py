"""Sealing: what is stored cannot be read without the key, and another key is recognised."""

from __future__ import annotations

import errno
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from postroom import secrets
from postroom.errors import KeyUnusableError
from postroom.store import database


@pytest.fixture
def key_file(store: str) -> Path:
    """Where the key is, or will be."""
    return Path(os.environ["POSTROOM_KEY_FILE"])


def test_what_was_sealed_comes_back(key_file: Path) -> None:
    sealed = secrets.seal(b"hunter2")

    assert b"hunter2" not in sealed
    assert secrets.unseal(sealed) == b"hunter2"


def test_key_is_made_for_its_owner_only(key_file: Path) -> None:
    assert secrets.prepare() == key_file

    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_file.parent.glob("key*")] == ["key"]
    assert secrets.prepare() is None


def test_another_key_is_recognised_before_it_seals(key_file: Path) -> None:
    sealed = secrets.seal(b"hunter2")
    key_file.unlink()
    key_file.write_text("A" * 43 + "=")
    key_file.chmod(0o600)

    with pytest.raises(KeyUnusableError, match=str(key_file)):
        secrets.unseal(sealed)
    with pytest.raises(KeyUnusableError, match=str(key_file)):
        secrets.seal(b"hunter3")


def test_lost_key_is_not_replaced_by_a_new_one(key_file: Path) -> None:
    sealed = secrets.seal(b"hunter2")
    key_file.unlink()

    with pytest.raises(KeyUnusableError, match="does not exist"):
        secrets.seal(b"hunter3")
    with pytest.raises(KeyUnusableError, match="does not exist"):
        secrets.unseal(sealed)
    assert not key_file.exists()


@pytest.mark.parametrize("content", [b"", b"secret", b"\xff\xfe", b"QUJD"])
def test_file_that_holds_no_key_is_named(key_file: Path, content: bytes) -> None:
    key_file.write_bytes(content)
    key_file.chmod(0o600)

    with pytest.raises(KeyUnusableError, match="holds no key"):
        secrets.seal(b"x")


def test_key_in_the_environment_needs_no_file(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_KEY", "B" * 43 + "=")

    assert secrets.unseal(secrets.seal(b"x")) == b"x"
    assert not key_file.exists()

    monkeypatch.setenv("POSTROOM_KEY", "not a key")
    with pytest.raises(KeyUnusableError, match="POSTROOM_KEY holds no key"):
        secrets.seal(b"x")


def test_key_file_that_cannot_be_read_or_made_is_named(
    key_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POSTROOM_KEY_FILE", str(tmp_path))
    with pytest.raises(KeyUnusableError, match="cannot be read"):
        secrets.seal(b"x")

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POSTROOM_KEY_FILE", str(tmp_path / "file" / "key"))
    with pytest.raises(KeyUnusableError, match=r"cannot be (made|read)"):
        secrets.seal(b"x")


def test_key_that_others_may_read_is_warned_of(
    key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secrets.prepare()
    key_file.chmod(0o644)

    with caplog.at_level(logging.WARNING):
        secrets.seal(b"x")

    assert str(key_file) in caplog.text


def test_damaged_secret_is_an_error(key_file: Path) -> None:
    sealed = secrets.seal(b"x")

    for damaged in (sealed[:-1], b"\x09" + sealed[1:], b""):
        with pytest.raises(KeyUnusableError):
            secrets.unseal(damaged)


def test_installation_secret_is_made_once_by_whoever_is_first(store: str) -> None:
    def ask(_: int) -> bytes:
        with database.connection():
            return secrets.installation_secret()

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(ask, range(4)))

    assert len(answers) == 1
    assert len(answers.pop()) == 32


def test_repr_of_a_key_shows_no_key() -> None:
    assert "value" not in repr(secrets.Key(b"k" * 32, "the key file /x"))


def test_a_key_file_that_could_not_be_written_whole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OSError, match="No space"):
        secrets.write_private(tmp_path / "key.next", b"half")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_matter_of_permission() -> None:
    full = secrets.cannot_be_made(Path("key"), OSError(errno.ENOSPC, "No space left on device"))
    closed = secrets.cannot_be_made(Path("key"), OSError(errno.EACCES, "Permission denied"))

    assert full.next_step.startswith("Free some space")
    assert "this user may write" in closed.next_step
