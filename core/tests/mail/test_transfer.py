"""What is decoded in pieces is what decoding all of it gives."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from postroom.mail.decoding.transfer import unquoted


def cut(coded: bytes, places: list[int]) -> Iterator[bytes]:
    edges = sorted({0, len(coded), *(place for place in places if place < len(coded))})
    return (coded[start:end] for start, end in pairwise(edges))


CODED = st.lists(st.sampled_from([b"=", b"\r", b"\n", b"4", b"A", b"x", b"\r\n"])).map(b"".join)
PLACES = st.lists(st.integers(0, 30))


@given(coded=CODED, places=PLACES)
def test_quoted_printable_in_pieces_says_what_it_says_whole(
    coded: bytes, places: list[int]
) -> None:
    assert b"".join(unquoted(cut(coded, places))) == binascii.a2b_qp(coded)
