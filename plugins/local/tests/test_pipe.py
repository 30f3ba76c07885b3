"""The receiver for standard input."""

from __future__ import annotations

import io

import pytest
from postroom.api import Checkpoint, Oversized, Spool
from postroom_local.pipe import PipeReceiver
from postroom_test_servers.context import LoopbackContext

from .conftest import Fetch, letter


def piped(content: bytes) -> PipeReceiver:
    return PipeReceiver(LoopbackContext(), io.BytesIO(content))


def test_bytes_come_as_they_are() -> None:
    raw = b"From ann Mon Jan  1 12:34:56 2024\n" + letter(1) + b"\0\r\xff"

    assert Fetch(piped(raw)).raws == [raw]


def test_each_message_has_a_ref_of_its_own() -> None:
    assert Fetch(piped(letter(1))).refs != Fetch(piped(letter(1))).refs


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n"])
def test_nothing_is_no_message(content: bytes) -> None:
    assert Fetch(piped(content)).deliveries == [Checkpoint("")]


def test_large_message_is_spooled() -> None:
    raw = letter(1, size=3 << 20)

    fetch = Fetch(piped(raw), spool_above=1 << 20)

    assert isinstance(fetch.fetched[0].raw, Spool)
    assert fetch.raws == [raw]


@pytest.mark.parametrize("spool_above", [100, 1 << 20])
def test_too_large_message_is_read_to_its_end(spool_above: int) -> None:
    raw = letter(1, size=5000)
    receiver = piped(raw)

    [oversized, _] = Fetch(receiver, spool_above=spool_above, max_message_bytes=1000).deliveries

    assert isinstance(oversized, Oversized)
    assert oversized.size == len(raw)
