"""The kit keeps its own rules."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from postroom.testing import (
    CredentialConformance,
    Held,
    ReceiverConformance,
    ReceiverHarness,
    SenderConformance,
    without,
)
from postroom.testing.expectations import ContractBrokenError, expect, expect_no_secret
from postroom.testing.workplace import CUTS, points


def cases_of(kind: type) -> set[str]:
    return {name for name in dir(kind) if name.startswith("test_")}


@pytest.mark.parametrize(
    ("kind", "least"),
    [(ReceiverConformance, 40), (SenderConformance, 20), (CredentialConformance, 15)],
)
def test_there_are_enough_cases_and_each_says_what_it_is_about(kind: type, least: int) -> None:
    names = cases_of(kind)

    assert len(names) >= least
    assert [name for name in names if not getattr(kind, name).__doc__] == []


def test_overriding_a_case_without_a_reason_is_refused() -> None:
    with pytest.raises(TypeError, match=r"test_order_is_oldest_first.*xfail\(reason"):

        class Sloppy(ReceiverConformance):
            def test_order_is_oldest_first(self, bench: Any) -> None:
                pass


def test_overriding_a_case_in_a_class_between_is_refused_too() -> None:
    class Mixin:
        def test_order_is_oldest_first(self, bench: Any) -> None:
            pass

    with pytest.raises(TypeError, match="test_order_is_oldest_first"):

        class Sloppy(Mixin, ReceiverConformance):
            pass


@pytest.mark.parametrize("mark", [pytest.mark.skip(reason="x"), pytest.mark.xfail()])
def test_only_xfail_with_a_reason_will_do(mark: Any) -> None:
    with pytest.raises(TypeError, match="Mark it"):

        class Sloppy(SenderConformance):
            @mark
            def test_connection_is_reused(self, bench: Any) -> None:
                pass


def test_overriding_a_case_with_a_reason_is_allowed() -> None:
    class Honest(SenderConformance):
        @pytest.mark.xfail(reason="the service takes one message for each connection")
        def test_connection_is_reused(self, bench: Any) -> None:
            pass

    assert cases_of(Honest) == cases_of(SenderConformance)


class Bare(ReceiverHarness):
    """Only what a harness must have."""

    unsupported = without("it has no clock", "throttle")

    def settings(self) -> dict[str, Any]:
        return {}

    def put(self, raw: bytes, received_at: Any = None) -> None:
        pass

    def served(self, ref: str) -> bytes:
        return b""

    def listing(self) -> list[Held]:
        return []

    def remove(self, ref: str) -> None:
        pass


def test_what_a_harness_cannot_play_is_skipped_with_its_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="it has no clock"):
        Bare().throttle(1)


def test_what_a_harness_lacks_without_a_reason_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="has no reset_ids"):
        Bare().reset_ids()


def test_a_failure_says_what_is_wanted_why_and_what_was_seen() -> None:
    with pytest.raises(ContractBrokenError) as caught:
        expect(False, "mail comes.", because="people wait.", came=0)

    assert str(caught.value).splitlines() == [
        "The contract wants: mail comes.",
        "Because: people wait.",
        "Seen: came: 0",
    ]


@pytest.mark.parametrize("before", ["", "a", "ab", "user\0"])
def test_a_secret_is_found_in_base64_too(before: str) -> None:
    text = base64.b64encode(f"{before}Kanarienvogel{before}".encode()).decode()

    with pytest.raises(ContractBrokenError, match="no secret") as caught:
        expect_no_secret(["Kanarienvogel"], "a log", f"AUTH PLAIN {text}")

    assert "Kanarienvogel" not in str(caught.value)


def test_cuts_are_spread_over_the_whole_session() -> None:
    assert points(10_000)[0] == 0
    assert points(10_000)[-1] == 9_999
    assert len(points(10_000)) == CUTS
    assert points(3) == [0, 1, 2]
