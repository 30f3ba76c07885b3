"""What is packed comes back byte for byte, whatever it is."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import zstandard
from postroom.api.transport import Spool
from postroom.errors import DiskFullError
from postroom.mail.decoding import runs
from postroom.mail.large import Pages
from postroom.store import packing
from postroom.store.packing import (
    CHUNK_BYTES,
    Packed,
    pack,
    pack_behind,
    unpack,
    written_behind,
)
from postroom_test_servers.attached import lines, octets

HEAD = b"From: ann@customer.example\r\nContent-Type: application/pdf\r\n\r\n"


def packed_file(raw: bytes) -> Packed:
    spool = Spool()
    spool.write(raw)
    try:
        packed = pack(spool)
        return replace(packed, chunks=list(packed.chunks))
    finally:
        spool.close()


def unpacked(packed: Packed) -> bytes:
    pieces = [unpack(chunk) for chunk in packed.chunks]
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)
    return b"".join(pieces)


def assert_comes_back(raw: bytes) -> None:
    for packed in (pack(raw), packed_file(raw)):
        assert (packed.size, packed.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
        assert unpacked(packed) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        HEAD,
        octets(100_000),
        octets(3_000_000),
        b"\n" * 100_000,
        b"--\n" * 50_000,
        lines(octets(100_000)),
        HEAD + lines(octets(100_000)),
        HEAD + lines(octets(100_001), end=b"\n"),
        HEAD + lines(octets(300_000)),
        HEAD + lines(octets(3_000_001)) + b"\r\n--end--\r\n",
        HEAD + lines(octets(900_000), width=4) + b"rest",
        HEAD + lines(octets(900_000), width=1000, end=b"\n"),
        HEAD + lines(octets(100_000), width=75),
        HEAD + lines(octets(100_000)) + b"=" * 100_000,
        b"".join(b"\r\n--a\r\n" + HEAD + lines(octets(70_000, n)) for n in range(30)),
    ],
)
def test_what_is_packed_comes_back(raw: bytes) -> None:
    assert_comes_back(raw)


def test_broken_lines_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PIECE", 4_000)
    monkeypatch.setattr(runs, "NEAR", 3_000)
    for seed in range(100):
        rng = random.Random(seed)
        parts = rng.randint(1, 4)
        raw = bytearray()
        for number in range(parts):
            end = rng.choice((b"\r\n", b"\n"))
            raw += b"\r\n--a\r\n" + HEAD
            raw += lines(
                octets(rng.randint(1, 60_000), number), width=rng.choice((60, 76)), end=end
            )
        for _ in range(rng.randint(0, 5)):
            place = rng.randrange(len(raw))
            raw[place : place + rng.randint(0, 9)] = rng.choice(
                (b"", b"=", b"\n", b"\r\n", b"!", b"-", b"\r", b"QUJDRA==", b"\x00\xff", b"QUJD")
            )
        assert_comes_back(bytes(raw))


def test_a_file_is_packed_once_more_when_it_is_asked_for_again() -> None:
    """Where a batch could not be stored at once, its messages are stored one by one."""
    raw = HEAD + lines(octets(3_000_001))
    spool = Spool()
    spool.write(raw)

    packed = pack(spool)

    assert unpacked(packed) == raw
    assert unpacked(packed) == raw
    spool.close()


def test_a_table_in_base64_takes_no_more_than_the_table() -> None:
    table = b"".join(b"%d;Example Street %d;Springfield\r\n" % (n, n % 300) for n in range(20_000))

    packed = packed_file(HEAD + lines(table))

    stored = sum(map(len, packed.chunks))
    assert stored < 1.05 * len(zstandard.ZstdCompressor(level=1).compress(table))


def test_a_mere_zstd_frame_is_a_piece() -> None:
    raw = HEAD + lines(octets(100_000))

    assert unpack(zstandard.ZstdCompressor().compress(raw)) == raw


LARGE = HEAD + lines(octets(3_000_001))


@pytest.fixture
def spool() -> Iterator[Spool]:
    spool = Spool()
    spool.write(LARGE)
    yield spool
    spool.close()


def assert_is_untouched(spool: Spool, packed: Packed) -> None:
    assert not packed.behind
    assert os.fstat(spool.fileno()).st_size == len(LARGE)
    assert unpacked(written_behind(packed, spool)) == LARGE


def test_chunks_behind_a_message_are_those_that_it_is_packed_to(spool: Spool) -> None:
    before = list(pack(spool).chunks)

    packed = pack_behind(Pages(spool))
    lengths_alone = replace(packed, chunks=[])

    assert [*packed.behind] == [*map(len, before)]
    for _ in range(2):
        assert list(written_behind(lengths_alone, spool).chunks) == before


def test_chunks_behind_a_message_are_no_part_of_it(spool: Spool) -> None:
    pack_behind(Pages(spool))

    assert len(spool) == len(LARGE)
    assert b"".join(spool.pieces()) == spool.map()[:] == LARGE
    assert spool.sha256 == pack(spool).sha256 == hashlib.sha256(LARGE).hexdigest()
    assert unpacked(pack(spool)) == LARGE


@pytest.mark.parametrize("fails", ["at once", "in the middle"])
def test_without_space_for_chunks_a_message_is_packed_later(
    fails: str, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int, chunk: bytes, place: int) -> int:
        if fails == "at once":
            raise OSError(errno.ENOSPC, "no space left on device")
        return pwrite(number, chunk[:1_000], place)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)

    assert_is_untouched(spool, pack_behind(Pages(spool)))


@pytest.mark.parametrize(("bound", "value"), [("_ROOM_BYTES", 1 << 60), ("_BEHIND_BYTES", 1 << 20)])
def test_chunks_take_no_space_that_messages_need(
    bound: str, value: int, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, bound, value)

    assert_is_untouched(spool, pack_behind(Pages(spool)))


def test_without_memory_for_chunks_a_message_is_packed_later(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has little of it."""

    def refuse(*_: object) -> Iterator[bytes]:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(packing, "_pack_large", refuse)
        packed = pack_behind(Pages(spool))

    assert_is_untouched(spool, packed)


def test_chunks_that_a_disk_lost_are_not_stored(spool: Spool) -> None:
    packed = written_behind(pack_behind(Pages(spool)), spool)
    os.ftruncate(spool.fileno(), len(LARGE) + packed.behind[0])

    with pytest.raises(DiskFullError, match="does not give a large message back"):
        list(packed.chunks)


def test_of_a_file_that_cannot_be_read_nothing_is_packed_behind(spool: Spool) -> None:
    packed = pack(spool)
    os.ftruncate(spool.fileno(), 1_000)

    with pytest.raises(DiskFullError):
        pack_behind(Pages(spool))
    assert os.fstat(spool.fileno()).st_size == 1_000
    with pytest.raises(DiskFullError):
        list(written_behind(packed, spool).chunks)
