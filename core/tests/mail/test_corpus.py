"""Every message of the developers' corpus is understood as its expectation says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from postroom_test_servers.loading import load

ROOT = Path(__file__).resolve().parents[3]


corpus = load(ROOT / "tests" / "corpus" / "make_corpus.py")
adaptor = load(Path(__file__).with_name("corpus_adaptor.py"))


@pytest.mark.parametrize("name", sorted(corpus.MESSAGES))
def test_message_is_understood(name: str) -> None:
    raw = corpus.raw_of(name)
    started = time.perf_counter()

    got = adaptor.parse(raw)

    seconds = time.perf_counter() - started
    assert corpus.problems(corpus.MESSAGES[name][1]["must"], got, seconds) == []
    assert seconds < 5
    assert not [problem for problem in got["problems"] if "could not be read" in problem]
