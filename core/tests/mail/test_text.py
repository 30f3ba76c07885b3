"""Strings that a database takes."""

from __future__ import annotations

import random

import pytest
from postroom.mail.text import storable


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("plain", "plain"),
        ("n\x00ul", "nul"),
        ("gr\x00öße", "größe"),
        ("lone \ud83d half", "lone  half"),
        ("\udc00\ud800", ""),
        ("whole 😀", "whole 😀"),
    ],
)
def test_what_no_database_takes_is_left_out(text: str, stored: str) -> None:
    assert storable(text) == stored


def test_nothing_else_is_left_out() -> None:
    rng = random.Random(1)
    for _ in range(2_000):
        text = "".join(rng.choices("ab\x00\x01é\ud800\udfff\ue000ж😀\n", k=rng.randint(0, 12)))
        kept = [c for c in text if c != "\x00" and not "\ud800" <= c <= "\udfff"]

        assert storable(text) == "".join(kept)
