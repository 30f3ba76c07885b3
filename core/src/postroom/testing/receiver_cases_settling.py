"""Cases: the disposition, applied to what is stored, and only then (invariant 2)."""

from __future__ import annotations

from typing import Any

import pytest

from postroom.api import Disposition, SettingsError, Settled, TransientError, Unsettled
from postroom.testing.expectations import attempt, expect, expect_error
from postroom.testing.haul import Haul
from postroom.testing.receiver_bench import ReceiverBench
from postroom.testing.standard import Conformance

_ACTIONS = pytest.mark.parametrize("action", ["seen", "move", "delete"])


class SettlingCases(Conformance):
    """Nothing is changed but what was asked for, and only what is confirmed is told."""

    def test_leaving_changes_nothing(self, bench: ReceiverBench) -> None:
        """And everything counts as settled."""
        bench.put(3)
        refs = bench.refs()
        before = bench.harness.listing()

        results = bench.settle(refs, Disposition("leave"))

        expect(
            _settled(results) == set(refs) and bench.harness.listing() == before,
            "`leave` settles every ref and changes nothing on the server.",
            because="it is the default: first contact is safe (invariant 10).",
            results=results,
            after=bench.harness.listing(),
        )

    @_ACTIONS
    def test_disposition_is_applied(self, bench: ReceiverBench, action: str) -> None:
        """To those that were asked for, and to no other."""
        disposition = bench.disposition(action)
        bench.put(5)
        haul = bench.fetch()
        chosen, others = haul.refs[1:3], [*haul.refs[:1], *haul.refs[3:]]

        results = bench.settle(chosen, disposition)

        expect(
            _settled(results) == set(chosen)
            and all(bench.is_done(haul.raws[ref], disposition) for ref in chosen),
            f"`{action}` is applied to each ref, and each is yielded as Settled.",
            because="what is not settled is tried again at each visit.",
            results=results,
            server=bench.harness.listing(),
        )
        expect(
            not any(bench.is_done(haul.raws[ref], disposition) for ref in others),
            "no other message is touched.",
            because="what is not stored must not be deleted.",
            server=bench.harness.listing(),
        )

    @_ACTIONS
    def test_settling_again_is_harmless(self, bench: ReceiverBench, action: str) -> None:
        """The runner may have died before it noted the first time."""
        disposition = bench.disposition(action)
        bench.put(3)
        haul = bench.fetch()
        bench.settle(haul.refs[:2], disposition)
        before = bench.harness.listing()

        results = bench.settle(haul.refs[:2], disposition)

        expect(
            _settled(results) == set(haul.refs[:2]) and bench.harness.listing() == before,
            f"`{action}` for the second time changes nothing, and counts as settled.",
            because="a runner may die between the server's confirmation and its own commit.",
            results=results,
            before=before,
            after=bench.harness.listing(),
        )

    @_ACTIONS
    def test_message_that_is_gone_counts_as_settled(
        self, bench: ReceiverBench, action: str
    ) -> None:
        """A person deleted it; the others are settled."""
        disposition = bench.disposition(action)
        bench.put(3)
        haul = bench.fetch()
        gone = haul.refs[1]
        bench.harness.remove(gone)

        results = bench.settle(haul.refs, disposition)

        expect(
            _settled(results) == set(haul.refs)
            and all(bench.is_done(haul.raws[ref], disposition) for ref in haul.refs if ref != gone),
            "a ref that is gone counts as settled, and the others are settled too.",
            because="it would be tried again for ever.",
            gone=gone,
            results=results,
        )

    @_ACTIONS
    def test_many_messages_are_settled_at_once(self, bench: ReceiverBench, action: str) -> None:
        """The core hands over up to two thousand."""
        disposition = bench.disposition(action)
        bench.put(40)
        haul = bench.fetch()

        results = bench.settle(haul.refs, disposition)

        expect(
            _settled(results) == set(haul.refs)
            and all(bench.is_done(raw, disposition) for raw in haul.raws.values()),
            "every one of many refs is settled.",
            because="a first visit brings thousands.",
            settled=len(_settled(results)),
            asked=len(haul.refs),
        )

    @_ACTIONS
    def test_settling_after_an_interrupt_changes_nothing(
        self, bench: ReceiverBench, action: str
    ) -> None:
        """An interrupt holds for whatever comes after it."""
        disposition = bench.disposition(action)
        bench.put(2)
        receiver = bench.open()
        haul = bench.fetch(receiver=receiver)
        receiver.interrupt()

        outcome = attempt(lambda: list(receiver.settle(haul.refs, disposition)))

        touched = [raw for raw in haul.raws.values() if bench.is_done(raw, disposition)]
        expect(
            not touched and (outcome.error is None or isinstance(outcome.error, TransientError)),
            "after interrupt settle changes nothing: it ends with TransientError or returns.",
            because="a runner that lost its lease interrupts; its mailbox is another runner's from "
            "then on.",
            raised=outcome.error,
            touched=len(touched),
        )
        expect(
            not _settled(outcome.result or []),
            "what was not done is not told as Settled.",
            because="nobody would do it later.",
            told=outcome.result,
        )

    @_ACTIONS
    def test_old_ids_harm_no_other_message(self, bench: ReceiverBench, action: str) -> None:
        """The server gave new ids between fetch and settle."""
        disposition = bench.disposition(action)
        bench.put(3)
        haul = bench.fetch()
        bench.harness.reset_ids()

        outcome = attempt(lambda: list(bench.open().settle(haul.refs[:1], disposition)))

        touched = [raw for raw in haul.raws.values() if bench.is_done(raw, disposition)]
        expect(
            touched in ([], [haul.raws[haul.refs[0]]]),
            "a ref of before a reset touches no other message.",
            because="the message that has the number now may not be stored: it would be lost.",
            raised=outcome.error,
            touched=len(touched),
        )

    @_ACTIONS
    def test_settling_follows_fetch_in_one_session(self, bench: ReceiverBench, action: str) -> None:
        """As the core does it."""
        disposition = bench.disposition(action)
        bench.put(3)
        receiver = bench.open()
        haul = bench.fetch(receiver=receiver)

        results = bench.settle(haul.refs, disposition, receiver)

        expect(
            _settled(results) == set(haul.refs)
            and all(bench.is_done(raw, disposition) for raw in haul.raws.values()),
            "settle works in the session that fetched.",
            because="that is how each visit goes.",
            results=results,
        )

    def test_moving_makes_the_folder_and_moves_once(self, bench: ReceiverBench) -> None:
        """The folder does not exist at first."""
        disposition = bench.disposition("move")
        bench.put(2)
        haul = bench.fetch()

        for ref in haul.refs:
            bench.settle([ref], disposition)

        there = sorted(held.raw for held in bench.in_other_folder())
        expect(
            there == sorted(haul.raws.values()) and not bench.watched(),
            "`move` makes the folder if it is missing, and each message is there once.",
            because="people look for their mail there.",
            moved=len(there),
            left=len(bench.watched()),
        )

    def test_move_keeps_a_message_unread(self, bench: ReceiverBench) -> None:
        """Nobody asked to mark it."""
        disposition = bench.disposition("move")
        bench.put(1)
        before = {held.seen for held in bench.watched()}

        bench.settle(bench.refs(), disposition)

        expect(
            {held.seen for held in bench.in_other_folder()} == before,
            "`move` does not mark a message as seen.",
            because="whoever works in that folder sees what is new by it.",
            before=before,
            after=bench.in_other_folder(),
        )

    @_ACTIONS
    def test_disposition_that_is_not_declared_is_a_settings_error(
        self, bench: ReceiverBench, action: str
    ) -> None:
        """And changes nothing."""
        disposition = Disposition(action, "Done" if action == "move" else None)  # type: ignore[arg-type]  # one of them
        if any(one.action == action for one in bench.dispositions()):
            pytest.skip(f"{bench.transport.name} declares {action}")
        bench.put(1)
        refs, before = bench.refs(), bench.harness.listing()

        outcome = attempt(lambda: list(bench.open().settle(refs, disposition)))

        expect_error(
            outcome,
            SettingsError,
            when=f"the transport cannot do `{action}`",
            why="an administrator has to choose another disposition.",
        )
        expect(
            bench.harness.listing() == before,
            "a disposition that is refused changes nothing.",
            because="the message is not where anybody would look for it.",
            after=bench.harness.listing(),
        )

    def test_settling_nothing_is_no_work(self, bench: ReceiverBench) -> None:
        """An empty list of refs."""
        for disposition in [Disposition("leave"), *bench.dispositions()]:
            results = bench.settle([], disposition)
            expect(
                results == [],
                "settle with no refs yields nothing.",
                because="most visits have nothing to settle.",
                results=results,
            )

    # -------------------------------------------------------------------------- cut off

    @_ACTIONS
    @pytest.mark.parametrize("other_way", [False, True], ids=["what-is-said", "what-is-told"])
    def test_settling_cut_anywhere_tells_only_what_is_confirmed(
        self, bench: ReceiverBench, action: str, other_way: bool
    ) -> None:
        """At many points; then it is done again, and no message is there twice."""
        disposition = bench.disposition(action)
        bench.put(2)
        places = bench.cut_points(
            lambda: bench.settle(bench.refs(), disposition), other_way=other_way
        )
        bench.empty()
        for place in places[:: 2 if action == "seen" else 1]:
            bench.put(2)
            haul = bench.fetch()
            bench.cut(place, other_way=other_way)
            told, error = self._settle_cut(bench, haul, disposition)
            bench.harness.heal()
            self._judge_settled(
                bench, haul, disposition, told, {"cut_after": place, "raised": error}
            )
            bench.empty()

    @staticmethod
    def _settle_cut(
        bench: ReceiverBench, haul: Haul, disposition: Disposition
    ) -> tuple[list[Any], BaseException | None]:
        told: list[Any] = []
        receiver = bench.open(impatient=True)
        outcome = attempt(lambda: told.extend(receiver.settle(haul.refs, disposition)))
        receiver.close()
        return told, outcome.error

    @staticmethod
    def _judge_settled(
        bench: ReceiverBench,
        haul: Haul,
        disposition: Disposition,
        told: list[Any],
        seen: dict[str, Any],
    ) -> None:
        unconfirmed = [
            ref for ref in _settled(told) if not bench.is_done(haul.raws[ref], disposition)
        ]
        expect(
            not unconfirmed,
            "Settled is yielded only once the server has confirmed.",
            because="nobody settles it again: the message stays for ever.",
            not_done=unconfirmed,
            **seen,
        )
        if disposition.action == "move":
            everywhere = [held.raw for held in bench.harness.listing()]
            expect(
                all(raw in everywhere for raw in haul.raws.values()),
                "a message that is moved is in one folder or the other at every moment.",
                because="nothing is lost.",
                server=bench.harness.listing(),
                **seen,
            )
        results = bench.settle(haul.refs, disposition)
        done = all(bench.is_done(raw, disposition) for raw in haul.raws.values())
        expect(
            _settled(results) == set(haul.refs) and done,
            "what was cut off is settled at the next try: a message that was copied already is "
            "not copied again.",
            because="people would find it twice in the folder.",
            results=results,
            server=bench.harness.listing(),
            **seen,
        )


def _settled(results: list[Any]) -> set[str]:
    for one in results:
        expect(
            isinstance(one, Settled | Unsettled),
            "settle yields Settled and Unsettled.",
            because="the ledger is written from it.",
            yielded=one,
        )
    return {one.ref for one in results if isinstance(one, Settled)}
