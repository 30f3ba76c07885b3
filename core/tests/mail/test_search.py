"""What is searched in pieces is found as in bytes."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from postroom.mail import search
from postroom.mail.search import find_line

PIECES = st.lists(
    st.sampled_from([b"-", b"\n", b"\n-", b"\n--", b"b", b"\n--b", b"x" * 7, b"x" * 40]),
    max_size=40,
).map(b"".join)


@given(source=PIECES, mark=st.sampled_from([b"\n--", b"\n--b", b"\n--bb-"]), data=st.data())
def test_what_is_found_is_what_bytes_find_finds(
    source: bytes, mark: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(0, len(source)))
    stride, search._STRIDE = search._STRIDE, data.draw(st.sampled_from([1, 2, 5, 16]))
    try:
        assert find_line(source, mark, start, end) == source.find(mark, start, end)
    finally:
        search._STRIDE = stride


def test_a_mark_after_a_long_stretch_without_hyphens_is_found() -> None:
    source = b"a-b" * 20_000 + b"x" * 100_000 + b"\n--b\r\n"
    assert find_line(source, b"\n--b", 0, len(source)) == len(source) - 6
    assert find_line(source, b"\n--b", 0, len(source) - 3) == -1


class InPieces:
    """Bytes that do not show themselves as such, as a file does not."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def find(self, sub: bytes, start: int, end: int, /) -> int:
        return self._raw.find(sub, start, end)

    def __getitem__(self, key: slice, /) -> bytes:
        return self._raw[key]

    def __len__(self) -> int:
        return len(self._raw)


@given(
    source=PIECES,
    pattern=st.sampled_from([rb"\n-{1,3}", rb"(?:^|\n)--[bx]", rb"-{0,2}b(?=\n)", rb"x{7}"]),
    data=st.data(),
)
def test_a_pattern_is_found_as_in_bytes(source: bytes, pattern: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(0, len(source)))
    first, search._FIRST_PIECE = search._FIRST_PIECE, data.draw(st.sampled_from([1, 2, 5, 16]))
    try:
        found = search.search(re.compile(pattern), InPieces(source), start, end, reach=7)
    finally:
        search._FIRST_PIECE = first

    expected = re.compile(pattern).search(source, start, end)
    assert (found and found[:2]) == (expected and expected.span())
