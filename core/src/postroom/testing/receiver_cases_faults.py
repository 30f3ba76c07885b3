"""Cases: the network at its worst, and a server that speaks up by itself."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from postroom.api import Capability, Fetched, Limits, Listed, TransientError, Unavailable
from postroom.testing.expectations import attempt, expect, expect_error, within
from postroom.testing.haul import Haul, nothing
from postroom.testing.receiver_bench import LIMITS, ReceiverBench
from postroom.testing.standard import Conformance

_BOTH_WAYS = pytest.mark.parametrize(
    "other_way", [False, True], ids=["what-is-said", "what-is-told"]
)
_SMALL = Limits(batch_count=2, batch_bytes=4_000)


class FaultCases(Conformance):
    """A run is whole, or it says that it is not."""

    @_BOTH_WAYS
    def test_fetch_cut_anywhere_is_whole_or_transient(
        self, bench: ReceiverBench, other_way: bool
    ) -> None:
        """At many points; what was yielded is whole, and what was not is listed again."""
        bench.put(5)
        raws = bench.fetch().raws
        places = bench.cut_points(lambda: bench.fetch(limits=_SMALL), other_way=other_way)

        for place in places:
            bench.cut(place, other_way=other_way)
            receiver = bench.open(impatient=True)
            haul = bench.try_fetch(receiver, limits=_SMALL)
            receiver.close()
            bench.harness.heal()
            self._judge_cut(bench, haul, raws, place)

    @staticmethod
    def _judge_cut(bench: ReceiverBench, haul: Haul, raws: dict[str, bytes], place: int) -> None:
        seen: dict[str, Any] = {"cut_after": place, "raised": haul.error, "yielded": haul.refs}
        expect(
            haul.error is None or isinstance(haul.error, TransientError),
            "a broken connection is TransientError.",
            because="it says nothing about settings or password; nobody has to look.",
            **seen,
        )
        expect(
            all(raws.get(ref) == raw for ref, raw in haul.raws.items()),
            "what is yielded before a connection breaks is whole.",
            because="half a message would be stored as the original, and the other half deleted.",
            **seen,
        )
        expect(
            not _without_proof(haul),
            "a message whose download was cut is Unavailable only if a later one was fetched "
            "after that.",
            because="else the network is the trouble, not the message; it would go to quarantine.",
            unavailable=list(haul.unavailable.values()),
            **seen,
        )
        expect(
            haul.error is not None or len(haul.raws) + len(haul.unavailable) == len(raws),
            "a run that was cut off does not end as if it were complete.",
            because="what it did not list would be taken for gone.",
            **seen,
        )
        later = bench.fetch(haul.cursors[-1] if haul.cursors else None, wanted=nothing)
        expect(
            set(raws) <= set(haul.raws) | set(haul.unavailable) | later.asked,
            "what a cut run did not yield is listed from its last checkpoint.",
            because="nothing is skipped in silence (invariant 1).",
            asked_later=later.asked,
            **seen,
        )

    @_BOTH_WAYS
    def test_listing_cut_anywhere_is_complete_or_transient(
        self, bench: ReceiverBench, other_way: bool
    ) -> None:
        """Never partial."""
        bench.put(5)
        refs = bench.refs()
        places = bench.cut_points(bench.listed, other_way=other_way)

        for place in places:
            bench.cut(place, other_way=other_way)
            receiver = bench.open(impatient=True)
            outcome = attempt(lambda one=receiver: [item.ref for item in one.list_refs()])  # type: ignore[misc]  # bound now
            receiver.close()
            bench.harness.heal()
            expect(
                outcome.result == refs or isinstance(outcome.error, TransientError),
                "list_refs is complete, or it raises TransientError.",
                because="what a partial listing leaves out counts as lost in the audit.",
                cut_after=place,
                raised=outcome.error,
                listed=outcome.result,
            )

    def test_server_that_falls_silent_while_fetching_is_given_up(
        self, bench: ReceiverBench
    ) -> None:
        """In the middle of a session."""
        bench.put(3)
        receiver = bench.open(impatient=True)

        def ask(page: Sequence[Listed]) -> Collection[str]:
            bench.harness.be_silent()
            return [item.ref for item in page]

        haul = Haul(ask)
        outcome = within(
            bench.harness.patience_seconds * 3,
            lambda: haul.take(iter(receiver.fetch(None, limits=LIMITS, wanted=haul.ask))),
            receiver,
        )

        expect_error(
            outcome,
            TransientError,
            when="the server falls silent in the middle",
            why="a run that hangs keeps the mailbox from everybody.",
        )

    def test_interrupt_while_fetching_ends_it(self, bench: ReceiverBench) -> None:
        """Between the listing and the downloads, from another thread."""
        bench.put(4, size=50_000)
        receiver = bench.open()

        def ask(page: Sequence[Listed]) -> Collection[str]:
            thread = threading.Thread(target=receiver.interrupt)
            thread.start()
            thread.join()
            return [item.ref for item in page]

        haul = Haul(ask)
        outcome = within(
            2,
            lambda: haul.take(iter(receiver.fetch(None, limits=LIMITS, wanted=haul.ask))),
            receiver,
        )

        expect(
            isinstance(outcome.error, TransientError)
            or (outcome.error is None and len(haul.raws) == 4),
            "a fetch that is interrupted raises TransientError, or is complete.",
            because="one that ends early as if it were complete makes the rest count as gone.",
            raised=outcome.error,
            yielded=haul.refs,
        )

    def test_what_wanted_raises_comes_through(self, bench: ReceiverBench) -> None:
        """The core's own trouble: its database, say."""
        bench.put(2)

        def ask(page: Sequence[Listed]) -> Collection[str]:
            raise _LedgerError(len(page))

        raised: BaseException | None = None
        try:
            for one in bench.open().fetch(None, limits=LIMITS, wanted=ask):
                expect(
                    not isinstance(one, Fetched),
                    "nothing is downloaded that `wanted` did not choose.",
                    because="the ledger decides what is downloaded.",
                    yielded=one,
                )
        except Exception as error:
            raised = error

        expect(
            raised is not None,
            "what `wanted` raises ends the fetch, with that error or one caused by it.",
            because="a fetch that goes on would give the core a cursor past mail it does not have.",
            raised=raised,
        )

    # -------------------------------------------------------------------------- push

    def test_new_mail_wakes_who_waits(self, bench: ReceiverBench) -> None:
        """`Capability.PUSH`."""
        bench.require(Capability.PUSH)
        receiver = bench.open()
        receiver.wait(0)
        bench.put(1)

        outcome = within(15, lambda: receiver.wait(10), receiver)

        expect(
            outcome.result is True,
            "with PUSH, wait returns True soon after new mail came.",
            because="that is what an administrator expects of push.",
            returned=outcome.result,
            raised=outcome.error,
            seconds=outcome.seconds,
        )

    def test_mail_that_comes_while_it_waits_wakes_it(self, bench: ReceiverBench) -> None:
        """Not only what came before."""
        bench.require(Capability.PUSH)
        receiver = bench.open()
        receiver.wait(0)

        outcome = within(
            15, lambda: receiver.wait(10), receiver, meanwhile=lambda: _ignored(bench.put(1))
        )

        expect(
            outcome.result is True,
            "with PUSH, wait returns True soon after mail came while it waited.",
            because="that is what an administrator expects of push.",
            returned=outcome.result,
            raised=outcome.error,
        )

    def test_waiting_ends_in_time(self, bench: ReceiverBench) -> None:
        """Where nothing comes."""
        bench.require(Capability.PUSH)
        receiver = bench.open()

        outcome = within(1, lambda: receiver.wait(0.2), receiver)

        expect(
            outcome.error is None and isinstance(outcome.result, bool),
            "wait returns a truth value after the time given at the latest.",
            because="the watcher looks whether it is still wanted.",
            returned=outcome.result,
            raised=outcome.error,
        )

    def test_waiting_without_news_is_quiet(self, bench: ReceiverBench) -> None:
        """It takes its time, and wakes nobody."""
        bench.require(Capability.PUSH)
        receiver = bench.open()
        receiver.wait(0)

        waits = [within(2, lambda: receiver.wait(0.3), receiver) for _ in range(3)]

        expect(
            any(wait.result is False and wait.seconds > 0.2 for wait in waits),
            "wait returns True for news only, and where there are none it takes the time given.",
            because="each True is a visit, and after False the watcher waits again at once: both "
            "would go on without a pause, day and night.",
            returned=[wait.result for wait in waits],
            seconds=[round(wait.seconds, 3) for wait in waits],
            raised=[wait.error for wait in waits],
        )

    def test_interrupt_ends_the_waiting(self, bench: ReceiverBench) -> None:
        """A runner that ends must not wait for mail."""
        bench.require(Capability.PUSH)
        receiver = bench.open()
        receiver.wait(0)

        outcome = within(2, lambda: receiver.wait(60), receiver, meanwhile=receiver.interrupt)

        expect(
            outcome.error is None or isinstance(outcome.error, TransientError),
            "interrupt ends wait at once.",
            because="a runner that is told to end would be killed instead.",
            raised=outcome.error,
        )


def _without_proof(haul: Haul) -> list[str]:
    """Return what is Unavailable although nothing was fetched after it."""
    refs: list[str] = []
    for one in haul.deliveries:
        if isinstance(one, Fetched):
            refs.clear()
        elif isinstance(one, Unavailable):
            refs.append(one.ref)
    return refs


class _LedgerError(Exception):
    """What the kit's `wanted` raises; no error of a plugin's."""


def _ignored(_: object) -> None:
    """Forget a result."""
