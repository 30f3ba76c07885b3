"""The receivers for a Maildir and for a folder of .eml files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from postroom.api import (
    CheckStep,
    Disposition,
    Limits,
    Oversized,
    Receiver,
    SettingsError,
    Settled,
    Spool,
    TransientError,
    Unavailable,
    Unsettled,
    codes,
)
from postroom_local import files
from pydantic import ValidationError

from .conftest import Fetch, letter

OpenReceiver = Callable[..., Receiver]


def put(path: Path, raw: bytes, *, time: float = 1_700_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    os.utime(path, (time, time))
    return path


# ---------------------------------------------------------------------------- both


@pytest.fixture(params=["maildir", "eml"])
def place(request: pytest.FixtureRequest, open_receiver: OpenReceiver, maildir: Path) -> Place:
    return Place(request.param, open_receiver, maildir)


class Place:
    """A folder with messages, of either kind."""

    def __init__(self, kind: str, open_receiver: OpenReceiver, folder: Path) -> None:
        self.kind, self.folder, self._open = kind, folder, open_receiver

    def receiver(self) -> Receiver:
        return self._open(self.kind, path=self.folder)

    def put(self, number: int, raw: bytes) -> Path:
        name = f"new/{number}.M1.host" if self.kind == "maildir" else f"{number}.eml"
        return put(self.folder / name, raw, time=1_700_000_000 + number)


def test_messages_come_oldest_first_with_bytes_and_dates(place: Place) -> None:
    for number in (3, 1, 2):
        place.put(number, letter(number))

    fetch = Fetch(place.receiver())

    assert fetch.raws == [letter(1), letter(2), letter(3)]
    assert [item.size for item in fetch.listed] == [len(letter(1))] * 3
    assert [item.received_at.timestamp() - 1_700_000_000 for item in fetch.fetched] == [1, 2, 3]  # type: ignore[union-attr]


def test_only_what_is_wanted_is_read(place: Place) -> None:
    for number in (1, 2):
        place.put(number, letter(number))
    known = Fetch(place.receiver()).refs[:1]

    assert Fetch(place.receiver(), known=known).raws == [letter(2)]


def test_vanished_message_is_left_out(place: Place) -> None:
    path = place.put(1, letter(1))
    place.put(2, letter(2))
    receiver = place.receiver()

    def wanted(page: object) -> list[str]:
        path.unlink()
        return [item.ref for item in page]  # type: ignore[attr-defined]

    got = list(receiver.fetch(None, limits=Limits(), wanted=wanted))

    assert [getattr(item, "raw", None) for item in got] == [letter(2), None]


def test_message_that_fails_while_it_is_read_does_not_stop_the_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = place.put(1, letter(1))
    place.put(2, letter(2))

    def failing(path: str, mode: str) -> object:
        if path == str(bad):
            raise OSError(5, "Input/output error", path)
        return open(path, mode)

    monkeypatch.setattr(files, "open", failing, raising=False)
    fetch = Fetch(place.receiver())

    assert fetch.raws == [letter(2)]
    assert isinstance(fetch.deliveries[0], Unavailable)
    assert fetch.deliveries[0].error.code is codes.MESSAGE_UNREADABLE


def test_large_message_is_spooled_and_a_larger_one_is_not_read(place: Place) -> None:
    place.put(1, letter(1, size=3000))
    place.put(2, letter(2, size=9000))

    fetch = Fetch(place.receiver(), spool_above=2000, max_message_bytes=5000)

    assert isinstance(fetch.fetched[0].raw, Spool)
    assert fetch.raws == [letter(1, size=3000)]
    assert isinstance(fetch.deliveries[1], Oversized)


def test_missing_folder_needs_an_administrator(place: Place) -> None:
    place.folder = place.folder / "no"

    with pytest.raises(SettingsError) as caught:
        Fetch(place.receiver())

    assert caught.value.code is codes.FOLDER_MISSING
    assert [step.outcome for step in place.receiver().check()] == ["fail", "skip"]


def test_check_counts(place: Place) -> None:
    place.put(1, letter(1))

    steps = list(place.receiver().check())

    assert steps[0] == CheckStep("list", "ok", "1 messages")
    assert steps[1].outcome == "ok"


def test_deleting_is_confirmed_also_for_what_is_gone(place: Place) -> None:
    place.put(1, letter(1))
    place.put(2, letter(2)).with_suffix(".tmp")
    refs = Fetch(place.receiver()).refs

    results = list(place.receiver().settle([*refs, "gone"], Disposition("delete")))

    assert results == [*map(Settled, refs), Settled("gone")]
    assert not Fetch(place.receiver()).refs


def test_message_that_cannot_be_deleted_stays_unsettled(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put(1, letter(1))
    refs = Fetch(place.receiver()).refs

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    [result] = place.receiver().settle(refs, Disposition("delete"))

    assert isinstance(result, Unsettled)
    assert "Permission denied" in result.error.sentence


def test_interrupted_session_ends(place: Place) -> None:
    receiver = place.receiver()
    receiver.interrupt()

    with pytest.raises(TransientError):
        Fetch(receiver)


def test_relative_path_is_refused(open_receiver: OpenReceiver) -> None:
    with pytest.raises(ValidationError, match="must be an absolute path"):
        open_receiver("maildir", path="Maildir")


def test_name_that_is_no_text_has_a_ref_that_is(place: Place) -> None:
    name = b"1.\xff%.eml" if place.kind == "eml" else b"new/1.\xff%"
    (place.folder / os.fsdecode(name)).write_bytes(letter(1))

    fetch = Fetch(place.receiver())

    assert fetch.refs[0].encode().endswith((b"1.%FF%25.eml", b"1.%FF%25"))
    assert fetch.raws == [letter(1)]


# ---------------------------------------------------------------------------- Maildir


def test_ref_stays_when_a_mail_program_marks_or_moves(
    open_receiver: OpenReceiver, maildir: Path
) -> None:
    path = put(maildir / "new/1.M1.host", letter(1))
    before = Fetch(open_receiver("maildir", path=maildir))
    path.rename(maildir / "cur/1.M1.host:2,FS")

    assert Fetch(open_receiver("maildir", path=maildir)).listed == before.listed


def test_message_marked_between_listing_and_reading_is_found(
    open_receiver: OpenReceiver, maildir: Path
) -> None:
    path = put(maildir / "new/1.M1.host", letter(1))

    def wanted(page: object) -> list[str]:
        path.rename(maildir / "cur/1.M1.host:2,S")
        return ["1.M1.host"]

    got = list(open_receiver("maildir", path=maildir).fetch(None, limits=Limits(), wanted=wanted))

    assert getattr(got[0], "raw", None) == letter(1)


def test_seen_moves_to_cur_and_keeps_other_flags(
    open_receiver: OpenReceiver, maildir: Path
) -> None:
    put(maildir / "new/1.M1.host", letter(1))
    put(maildir / "cur/2.M1.host:2,FR", letter(2))
    receiver = open_receiver("maildir", path=maildir)
    refs = ["1.M1.host", "2.M1.host"]

    for _ in range(2):  # also when it is done already
        assert list(receiver.settle(refs, Disposition("seen"))) == [*map(Settled, refs)]

    assert sorted(os.listdir(maildir / "cur")) == ["1.M1.host:2,S", "2.M1.host:2,FRS"]
    assert not os.listdir(maildir / "new")


def test_move_makes_the_subfolder(open_receiver: OpenReceiver, maildir: Path) -> None:
    put(maildir / "cur/1.M1.host:2,S", letter(1))
    receiver = open_receiver("maildir", path=maildir)

    assert list(receiver.settle(["1.M1.host"], Disposition("move", "Done/2026"))) == [
        Settled("1.M1.host")
    ]

    assert (maildir / ".Done.2026/cur/1.M1.host:2,S").read_bytes() == letter(1)
    assert (maildir / ".Done.2026/maildirfolder").exists()


@pytest.mark.parametrize("name", ["", "a//b", "../x", "a\0"])
def test_move_never_leaves_the_maildir(
    open_receiver: OpenReceiver, maildir: Path, name: str
) -> None:
    put(maildir / "new/1.M1.host", letter(1))

    with pytest.raises(SettingsError):
        list(
            open_receiver("maildir", path=maildir).settle(["1.M1.host"], Disposition("move", name))
        )


def test_hidden_files_and_folders_are_no_messages(
    open_receiver: OpenReceiver, maildir: Path
) -> None:
    put(maildir / "new/.nfs0001", b"x")
    (maildir / "new/folder").mkdir()
    os.mkfifo(maildir / "new/fifo")

    assert not Fetch(open_receiver("maildir", path=maildir)).listed


# ---------------------------------------------------------------------------- eml


def test_pattern_and_subfolders(open_receiver: OpenReceiver, tmp_path: Path) -> None:
    for name in ("a.eml", "b.txt", "c.EML", "sub/d.eml", "sub/deep/e.eml", ".hidden/f.eml"):
        put(tmp_path / name, letter(1))

    def refs(**values: object) -> list[str]:
        return sorted(Fetch(open_receiver("eml", path=tmp_path, **values)).refs)

    assert refs() == ["a.eml"]
    assert refs(pattern="*.[Ee][Mm][Ll]") == ["a.eml", "c.EML"]
    assert refs(subfolders=True) == ["a.eml", "sub/d.eml", "sub/deep/e.eml"]


def test_replaced_file_is_another_message(open_receiver: OpenReceiver, tmp_path: Path) -> None:
    put(tmp_path / "a.eml", letter(1))
    [before] = Fetch(open_receiver("eml", path=tmp_path)).listed
    put(tmp_path / "a.eml", letter(2), time=1_800_000_000)
    [after] = Fetch(open_receiver("eml", path=tmp_path)).listed

    assert after.ref == before.ref
    assert after != before


def test_moved_file_overwrites_nothing(open_receiver: OpenReceiver, tmp_path: Path) -> None:
    put(tmp_path / "done/a.eml", letter(1))
    put(tmp_path / "a.eml", letter(2))

    [result] = open_receiver("eml", path=tmp_path).settle(["a.eml"], Disposition("move", "done"))

    assert result == Settled("a.eml")
    assert (tmp_path / "done/a.eml").read_bytes() == letter(1)
    assert (tmp_path / "done/a-1.eml").read_bytes() == letter(2)


@pytest.mark.parametrize("folder", [".", "sub"])
def test_nothing_is_moved_to_where_it_is_read_again(
    open_receiver: OpenReceiver, tmp_path: Path, folder: str
) -> None:
    put(tmp_path / "a.eml", letter(1))
    receiver = open_receiver("eml", path=tmp_path, subfolders=True)

    with pytest.raises(SettingsError, match="is read itself"):
        list(receiver.settle(["a.eml"], Disposition("move", folder)))


def test_files_cannot_be_marked(open_receiver: OpenReceiver, tmp_path: Path) -> None:
    put(tmp_path / "a.eml", letter(1))

    with pytest.raises(SettingsError):
        list(open_receiver("eml", path=tmp_path).settle(["a.eml"], Disposition("seen")))
