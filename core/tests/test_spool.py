"""A large message on its way through a temporary file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest
from postroom.api.transport import Spool, SpoolError


@pytest.fixture
def spool() -> Iterator[Spool]:
    spool = Spool()
    yield spool
    spool.close()


def test_digest_is_that_of_all_that_was_written(spool: Spool) -> None:
    written = b""
    for piece in (b"", b"Subject: ", b"x" * 3_000_000, b"the end"):
        spool.write(piece)
        written += piece

        assert spool.sha256 == hashlib.sha256(written).hexdigest()
    assert b"".join(spool.pieces()) == written


def test_a_temporary_folder_that_loses_bytes_gives_no_digest(spool: Spool) -> None:
    spool.write(b"x" * 1_000)
    os.ftruncate(spool.fileno(), 10)

    with pytest.raises(SpoolError, match="does not give a large message back"):
        _ = spool.sha256
