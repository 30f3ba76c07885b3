"""What is packed comes back byte for byte, whatever it is."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest
import zstandard
from postroom.api.transport import Spool
from postroom.mail import runs
from postroom.store.packing import CHUNK_BYTES, Packed, pack, unpack
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
