"""The mbox receiver."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postroom.api import (
    Checkpoint,
    Disposition,
    Listed,
    Oversized,
    Receiver,
    SettingsError,
    Settled,
    Spool,
    TransientError,
    codes,
)
from postroom_local import mbox_scan
from postroom_local.errors import LOCAL_NO_MBOX

from .conftest import Fetch, letter

OpenReceiver = Callable[..., Receiver]
FROM = b"From ann@example.com Mon Jan  1 12:34:56 2024\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mail.mbox"


def mbox(*raws: bytes, line: bytes = FROM) -> bytes:
    return b"".join(line + raw + b"\n" for raw in raws)


def test_messages_come_with_their_bytes_and_dates(open_receiver: OpenReceiver, path: Path) -> None:
    raws = [letter(1), letter(2) + b"\n>From here\n\n", letter(3)]
    path.write_bytes(mbox(*raws))

    fetch = Fetch(open_receiver("mbox", path=path))

    assert fetch.raws == raws
    assert [item.size for item in fetch.listed] == [len(raw) for raw in raws]
    assert {item.received_at for item in fetch.fetched} == {
        datetime(2024, 1, 1, 12, 34, 56, tzinfo=UTC)
    }


def test_crlf_file_is_served_as_it_is(open_receiver: OpenReceiver, path: Path) -> None:
    raws = [letter(n).replace(b"\n", b"\r\n") for n in (1, 2)]
    line = FROM.replace(b"\n", b"\r\n")
    path.write_bytes(b"".join(line + raw + b"\r\n" for raw in raws))

    assert Fetch(open_receiver("mbox", path=path)).raws == raws


@pytest.mark.parametrize(
    "body",
    [
        b"From now on I write\n",
        b"text\nFrom ann@example.com Mon Jan  1 12:34:56 2024\n",
        b"\nFrom the desk of Ann, 2024\n",
    ],
    ids=["prose", "no empty line before", "no time"],
)
def test_line_that_only_begins_like_one_tears_no_message(
    open_receiver: OpenReceiver, path: Path, body: bytes
) -> None:
    raws = [letter(1) + b"\n" + body, letter(2)]
    path.write_bytes(mbox(*raws))

    assert Fetch(open_receiver("mbox", path=path)).raws == raws


@pytest.mark.parametrize(
    "line",
    [
        b"From \n",
        b"From - Mon Jan 01 12:34:56 2024\n",
        b"From 1792@xxx Mon Jan 01 12:34:56 +0000 2024\n",
        b"From MAILER-DAEMON Mon Jan  1 12:34 2024\n",
        b'From "a b"@example.com Mon Jan  1 12:34:56 2024\n',
    ],
    ids=["bare", "thunderbird", "takeout", "no seconds", "quoted"],
)
def test_separators_of_many_programs_are_known(
    open_receiver: OpenReceiver, path: Path, line: bytes
) -> None:
    path.write_bytes(mbox(letter(1), letter(2), line=line))

    assert Fetch(open_receiver("mbox", path=path)).raws == [letter(1), letter(2)]


@pytest.mark.parametrize("size", range(985, 1030, 3))
def test_messages_are_found_wherever_pieces_end(
    open_receiver: OpenReceiver, path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(mbox_scan, "_PIECE", 2048)
    raws = [letter(n, size=size * n % 4000) + b"\n" for n in range(40)]
    path.write_bytes(mbox(*raws))

    assert Fetch(open_receiver("mbox", path=path)).raws == raws


def test_refs_stay_when_mail_is_appended(open_receiver: OpenReceiver, path: Path) -> None:
    path.write_bytes(mbox(letter(1), letter(2))[:-1])  # without the empty line at the end
    before = Fetch(open_receiver("mbox", path=path))
    path.write_bytes(mbox(letter(1), letter(2), letter(3)))

    after = Fetch(open_receiver("mbox", path=path))

    assert after.listed[:2] == before.listed
    assert len(after.listed) == 3


def test_cursor_saves_the_way_to_what_is_new(open_receiver: OpenReceiver, path: Path) -> None:
    path.write_bytes(mbox(*map(letter, range(10))))
    last = Fetch(open_receiver("mbox", path=path)).deliveries[-1]
    assert isinstance(last, Checkpoint)
    path.write_bytes(mbox(*map(letter, range(12))))

    fetch = Fetch(open_receiver("mbox", path=path), last.cursor)

    assert [raw.split(b"\n")[0] for raw in fetch.raws] == [
        b"Message-ID: <%d@example.com>" % n for n in (9, 10, 11)
    ]


@pytest.mark.parametrize("cursor", ["", "x", "12;nonsense", "9999999;a", "1" * 500, "-1;a"])
def test_useless_cursor_means_from_the_start(
    open_receiver: OpenReceiver, path: Path, cursor: str
) -> None:
    path.write_bytes(mbox(letter(1), letter(2)))

    assert Fetch(open_receiver("mbox", path=path), cursor).raws == [letter(1), letter(2)]


def test_after_rewriting_the_next_listing_is_complete(
    open_receiver: OpenReceiver, path: Path
) -> None:
    path.write_bytes(mbox(letter(1), letter(2)))
    before = Fetch(open_receiver("mbox", path=path))
    cursor = before.deliveries[-1]
    assert isinstance(cursor, Checkpoint)
    path.write_bytes(mbox(letter(2)))

    after = Fetch(open_receiver("mbox", path=path), cursor.cursor)

    assert after.raws == [letter(2)]
    assert not {*after.refs} & {*before.refs}
    assert after.deliveries[-1] == Checkpoint("")


def test_file_rewritten_between_listing_and_reading_yields_no_nonsense(
    open_receiver: OpenReceiver, path: Path
) -> None:
    path.write_bytes(mbox(letter(1), letter(2)))
    receiver = open_receiver("mbox", path=path)

    class Rewriting(list[str]):
        def __contains__(self, ref: object) -> bool:
            path.write_bytes(mbox(letter(2)))
            return True

    with pytest.raises(TransientError, match="rewritten"):
        list(receiver.fetch(None, limits=_limits(), wanted=lambda _: Rewriting()))


def _limits() -> object:
    from postroom.api import Limits

    return Limits()


def test_large_message_is_spooled_and_a_larger_one_is_not_read(
    open_receiver: OpenReceiver, path: Path
) -> None:
    raws = [letter(1, size=3000), letter(2, size=9000), letter(3)]
    path.write_bytes(mbox(*(raw + b"\n" for raw in raws)))

    fetch = Fetch(open_receiver("mbox", path=path), spool_above=2000, max_message_bytes=5000)

    assert isinstance(fetch.fetched[0].raw, Spool)
    assert fetch.raws == [raws[0] + b"\n", raws[2] + b"\n"]
    assert [d.size for d in fetch.deliveries if isinstance(d, Oversized)] == [len(raws[1]) + 1]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\r\n" + mbox(letter(1))])
def test_empty_lines_at_the_start_are_no_message(
    open_receiver: OpenReceiver, path: Path, content: bytes
) -> None:
    path.write_bytes(content)

    assert Fetch(open_receiver("mbox", path=path)).raws in ([], [letter(1)])
    assert len(Fetch(open_receiver("mbox", path=path)).raws) == content.count(b"From ann@")


def test_another_kind_of_file_is_refused(open_receiver: OpenReceiver, path: Path) -> None:
    path.write_bytes(letter(1))
    receiver = open_receiver("mbox", path=path)

    with pytest.raises(SettingsError) as caught:
        Fetch(receiver)

    assert caught.value.code is LOCAL_NO_MBOX
    assert [step.outcome for step in receiver.check()] == ["fail"]


def test_missing_file_needs_an_administrator(open_receiver: OpenReceiver, path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        list(open_receiver("mbox", path=path).list_refs())

    assert caught.value.code is codes.FOLDER_MISSING


def test_nothing_but_leave_can_be_done(open_receiver: OpenReceiver, path: Path) -> None:
    receiver = open_receiver("mbox", path=path)

    assert list(receiver.settle(["1;a"], Disposition("leave"))) == [Settled("1;a")]
    with pytest.raises(SettingsError):
        list(receiver.settle(["1;a"], Disposition("delete")))


def test_interrupted_session_ends(open_receiver: OpenReceiver, path: Path) -> None:
    path.write_bytes(mbox(letter(1)))
    receiver = open_receiver("mbox", path=path)
    receiver.interrupt()

    with pytest.raises(TransientError):
        Fetch(receiver)


@pytest.mark.parametrize(
    "line", [b"From x Mon Foo 99 12:00 2024", b"From x Mon Jan 1 12:00 99999", b"From "]
)
def test_date_that_is_none_is_left_out(line: bytes) -> None:
    assert mbox_scan.received_at(line) is None


def test_listing_says_what_fetching_says(open_receiver: OpenReceiver, path: Path) -> None:
    path.write_bytes(mbox(*map(letter, range(1200))))

    listed: list[Listed] = list(open_receiver("mbox", path=path).list_refs())

    assert listed == Fetch(open_receiver("mbox", path=path)).listed
    assert len({item.ref for item in listed}) == 1200
