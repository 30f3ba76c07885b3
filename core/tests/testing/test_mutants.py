"""A transport with a fault does not pass: each mutant is caught by the case made for its fault."""

from __future__ import annotations

from collections import defaultdict

import pytest
from postroom.testing import expectations
from postroom_test_servers.crow.mutants import LEFT_OPEN, MUTANTS
from postroom_test_servers.crow.receiver import CrowReceiver

pytest_plugins = ["pytester"]

_HEAD = """
import pytest
from postroom.testing import ReceiverConformance, Relay, SenderConformance
from postroom_test_servers.crow import mutants
from postroom_test_servers.crow.harness import PASSWORD, CrowReceiverHarness, CrowSenderHarness
from postroom_test_servers.crow.sender import CrowSender
from postroom_test_servers.crow.server import running_crow


def conformance(name):
    sends = issubclass(mutants.MUTANTS[name][0], CrowSender)

    class Mutant(SenderConformance if sends else ReceiverConformance):
        transport = mutants.transport_of(name)
        plugin = mutants.PLUGINS.get(name, "postroom_test_servers.crow.plugin")

        @pytest.fixture
        def harness(self):
            kind = CrowSenderHarness if sends else CrowReceiverHarness
            with running_crow(PASSWORD) as server, Relay(server.port) as relay:
                yield kind(server, relay)

    return Mutant


"""


@pytest.mark.timeout(300)
def test_every_mutant_is_caught_by_the_case_made_for_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectations, "MARGIN_SECONDS", 0.7)
    classes = "".join(f"Test{name} = conformance({name!r})\n" for name in MUTANTS)
    path = pytester.makepyfile(test_mutants=_HEAD + classes)
    cases = [f"{path}::Test{name}::{case}" for name, (_, case) in MUTANTS.items()]

    run = pytester.inline_run("-q", "-p", "no:randomly", "-p", "no:cacheprovider", *cases)

    while LEFT_OPEN:
        CrowReceiver.close(LEFT_OPEN.pop())
    said: dict[str, str] = defaultdict(str)
    for report in run.getreports("pytest_runtest_logreport"):
        name = report.nodeid.split("::")[1].removeprefix("Test")
        said[name] += report.longreprtext if report.failed else ""
    missed = [name for name in MUTANTS if "The contract wants: " not in said[name]]
    assert missed == [], [(name, said[name][-2000:]) for name in missed]


def test_there_are_mutants_enough() -> None:
    assert len(MUTANTS) >= 40
