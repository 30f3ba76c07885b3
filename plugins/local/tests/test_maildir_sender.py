"""The Maildir sender."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from postroom.api import (
    CANNOT_TELL,
    OutcomeUnknown,
    Outgoing,
    Sender,
    Sent,
    SettingsError,
    TransientError,
    codes,
)
from postroom_local import maildir_sender
from postroom_local.maildir_sender import MaildirSender
from postroom_local.settings import MaildirSettings

RAW = b"From: support@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return MaildirSender(MaildirSettings(path=str(tmp_path / "out")))


def outgoing(*recipients: str) -> Outgoing:
    return Outgoing("1@desk.example.org", "", recipients or ("jane@example.org",), RAW)


def test_message_and_envelope_are_written(sender: Sender, tmp_path: Path) -> None:
    result = sender.send(outgoing("jane@example.org", "jörg@example.org"), None)

    [message] = (tmp_path / "out/new").iterdir()
    [envelope] = (tmp_path / "out/envelope").iterdir()
    assert message.read_bytes() == RAW
    assert json.loads(envelope.read_text()) == {
        "sender": "",
        "recipients": ["jane@example.org", "jörg@example.org"],
    }
    assert envelope.name == f"{message.name}.json"
    assert result.accepted == ("jane@example.org", "jörg@example.org")
    assert not os.listdir(tmp_path / "out/tmp")


def test_second_try_writes_the_same_file(sender: Sender, tmp_path: Path) -> None:
    sender.send(outgoing(), None)
    sender.send(outgoing(), None)
    sender.send(outgoing("other@example.org"), None)

    assert len(os.listdir(tmp_path / "out/new")) == 2


def test_what_was_written_is_found(sender: Sender) -> None:
    sender.send(outgoing(), None)

    assert sender.find_sent("1@desk.example.org", None) == Sent()
    assert sender.find_sent("2@desk.example.org", None) is CANNOT_TELL


def test_missing_place_needs_an_administrator(tmp_path: Path) -> None:
    sender = MaildirSender(MaildirSettings(path=str(tmp_path / "no/out")))

    with pytest.raises(SettingsError) as caught:
        sender.send(outgoing(), None)

    assert caught.value.code is codes.FOLDER_MISSING
    assert [step.outcome for step in sender.check()] == ["fail"]


def test_full_disk_passes_by_itself(
    sender: Sender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(TransientError):
        sender.send(outgoing(), None)
    assert not os.listdir(tmp_path / "out/new")


def test_message_that_has_its_name_but_not_for_sure_is_unknown(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(maildir_sender, "_sync", broken)

    with pytest.raises(OutcomeUnknown):
        sender.send(outgoing(), None)


def test_check_writes_nothing(sender: Sender, tmp_path: Path) -> None:
    assert [step.outcome for step in sender.check()] == ["ok"]
    assert not os.listdir(tmp_path)
