"""A kind of credential that keeps the contract passes the kit; one with a fault does not."""

from __future__ import annotations

from collections import defaultdict

import pytest
from postroom.testing import CredentialConformance, expectations
from postroom_test_servers.mint import Mint
from postroom_test_servers.mint_faults import FAULTS, MintHarness

pytest_plugins = ["pytester"]
_FILE = """
import pytest
from postroom.testing import CredentialConformance
from postroom_test_servers.mint_faults import FAULTS, MintHarness


def conformance(name):
    class Faulty(CredentialConformance):
        kind = FAULTS[name][0]()
        plugin = "postroom_test_servers.mint"

        @pytest.fixture
        def harness(self):
            return MintHarness()

    return Faulty


"""
_VERDICT = "The contract wants: "


class TestMint(CredentialConformance):
    kind = Mint()

    @pytest.fixture
    def harness(self) -> MintHarness:
        return MintHarness()


def test_every_fault_is_found_by_the_case_made_for_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectations, "MARGIN_SECONDS", 0.7)
    classes = "".join(f"Test{name} = conformance({name!r})\n" for name in FAULTS)
    path = pytester.makepyfile(test_faults=_FILE + classes)
    cases = [f"{path}::Test{name}::{case}" for name, (_, case) in FAULTS.items()]

    run = pytester.inline_run("-q", "-p", "no:randomly", "-p", "no:cacheprovider", *cases)

    said: dict[str, str] = defaultdict(str)
    for report in run.getreports("pytest_runtest_logreport"):
        name = report.nodeid.split("::")[1].removeprefix("Test")
        said[name] += report.longreprtext if report.failed else ""
    missed = [name for name in FAULTS if _VERDICT not in said[name]]
    assert missed == [], [(name, said[name][-2000:]) for name in missed]
