"""Cases: what may have been sent is never said to be safe to try again."""

from __future__ import annotations

from typing import Any

import pytest

from postroom.api import (
    CANNOT_TELL,
    NOT_SENT,
    Capability,
    OutcomeUnknown,
    Outgoing,
    SendResult,
    Sent,
    TransientError,
)
from postroom.testing.expectations import Outcome, attempt, expect, expect_error, within
from postroom.testing.sender_bench import SenderBench
from postroom.testing.standard import Conformance
from postroom.testing.workplace import expect_well

_NEVER_AGAIN = (
    "TransientError means surely not sent: the core would send it again, and the customer would "
    "get it twice (invariant 7)."
)
_EITHER_WAY = pytest.mark.parametrize(
    "other_way", [False, True], ids=["what-is-told", "what-is-said"]
)
_KEPT = pytest.mark.parametrize("kept", [True, False], ids=["taken", "not-taken"])


class SenderFaultCases(Conformance):
    """Where the connection breaks decides what may be said."""

    def test_cut_before_the_end_is_transient(self, bench: SenderBench) -> None:
        """And the message is sent by the next try."""
        bench.harness.cut_before_end()
        outgoing = bench.outgoing()
        sender = bench.open()

        outcome = bench.try_send(sender, outgoing)
        bench.harness.heal()

        expect_error(
            outcome,
            TransientError,
            when="the connection breaks before the last byte of the message",
            why="nothing was accepted; it can safely be tried again.",
        )
        again = bench.try_send(bench.open(), outgoing)
        expect_well("the next try", again.error)
        bench.expect_arrived_once(
            outgoing,
            "after the next try the message has arrived once.",
            because="nothing is lost, nothing is doubled.",
        )

    @_KEPT
    def test_cut_after_the_end_is_unknown(self, bench: SenderBench, kept: bool) -> None:
        """Whatever the server made of it."""
        bench.harness.cut_after_end(kept=kept)

        outcome = bench.try_send(bench.open(), bench.outgoing())

        _expect_unknown(
            outcome, when="the connection breaks after the last byte, before the answer"
        )

    def test_silence_after_the_end_is_unknown(self, bench: SenderBench) -> None:
        """The time limit is over, and the message may be on its way."""
        bench.harness.be_silent_after_end(kept=True)
        sender = bench.open(impatient=True)
        outgoing = bench.outgoing()

        outcome = within(
            bench.harness.patience_seconds * 4,
            lambda: bench.try_send(sender, outgoing).again(),
            sender,
        )

        _expect_unknown(outcome, when="the server takes the last byte and never answers")

    def test_interrupt_after_the_end_is_unknown(self, bench: SenderBench) -> None:
        """A runner that is told to end, at the worst moment."""
        bench.harness.be_silent_after_end(kept=True)
        sender = bench.open()
        outgoing = bench.outgoing()

        def interrupt() -> None:
            bench.wait_for_arrival(outgoing)
            sender.interrupt()

        outcome = within(
            1, lambda: bench.try_send(sender, outgoing).again(), sender, meanwhile=interrupt
        )

        _expect_unknown(
            outcome, when="the session is interrupted after the last byte, before the answer"
        )

    def test_session_sends_on_after_an_unknown_outcome(self, bench: SenderBench) -> None:
        """One message in doubt does not stop the others."""
        bench.harness.cut_after_end(kept=True)
        sender = bench.open()
        bench.try_send(sender, bench.outgoing())
        bench.harness.heal()
        later = bench.outgoing()

        bench.send(later, sender)

        bench.expect_arrived_once(
            later,
            "after OutcomeUnknown the session sends the next message.",
            because="the core goes on with the next row in the same session.",
        )

    @_EITHER_WAY
    def test_connection_cut_anywhere_tells_the_truth(
        self,
        bench: SenderBench,
        other_way: bool,
    ) -> None:
        """At many points of a session, in either direction."""
        places = bench.cut_points(lambda: bench.send(bench.outgoing()), other_way=other_way)

        for place in places:
            bench.cut(place, other_way=other_way)
            outgoing = bench.outgoing()
            session = bench.open(impatient=True)
            outcome = bench.try_send(session, outgoing)
            session.close()
            bench.harness.heal()
            self._judge(bench, outgoing, outcome, place)

    @staticmethod
    def _judge(
        bench: SenderBench, outgoing: Outgoing, outcome: Outcome[SendResult], place: int
    ) -> None:
        arrived = len(bench.arrived(outgoing))
        seen: dict[str, Any] = {
            "cut_after_bytes": place,
            "raised": outcome.error,
            "returned": outcome.result,
            "arrived": arrived,
        }
        expect(
            outcome.error is None or isinstance(outcome.error, TransientError | OutcomeUnknown),
            "a broken connection is TransientError, or OutcomeUnknown after the last byte.",
            because="it says nothing about settings, password or message.",
            **seen,
        )
        expect(
            not (isinstance(outcome.error, TransientError) and arrived),
            "TransientError is raised only for what was surely not sent.",
            because=_NEVER_AGAIN,
            **seen,
        )
        expect(
            outcome.error is not None or arrived == 1,
            "what send returns well has arrived, once.",
            because="the outbox row becomes `sent`, and nobody looks again.",
            **seen,
        )
        expect(
            place > 0 or isinstance(outcome.error, TransientError),
            "a connection that breaks before anything was said is TransientError.",
            because="a person would have to look at every message that a restarted server missed.",
            **seen,
        )

    def test_connection_dropped_while_idle_is_replaced(self, bench: SenderBench) -> None:
        """Servers close what is idle for some minutes."""
        sender = bench.open()
        bench.send(bench.outgoing(), sender)
        bench.harness.drop_connections()
        outgoing = bench.outgoing()

        outcome = bench.try_send(sender, outgoing)

        expect_well("send after the server closed an idle connection", outcome.error)
        bench.expect_arrived_once(
            outgoing,
            "the message is sent once, through a new connection.",
            because="nothing of it had been sent; no person is needed, and no pause.",
        )

    def test_nothing_is_sent_with_a_wrong_password(self, bench: SenderBench) -> None:
        """About us, not about the message."""
        bench.harness.refuse_password()
        outgoing = bench.outgoing()

        bench.try_send(bench.open(), outgoing)

        expect(
            not bench.arrived(outgoing),
            "AuthError is raised before anything was sent.",
            because="the message stays queued, and is sent once the password is right.",
            arrived=len(bench.arrived(outgoing)),
        )

    def test_nothing_is_sent_while_throttled(self, bench: SenderBench) -> None:
        """It is tried again, so it must not have been sent. The time to come back is soon over:
        a later session of the mailbox keeps it too."""
        bench.harness.throttle(0.1)
        outgoing = bench.outgoing()
        bench.try_send(bench.open(impatient=True), outgoing)

        bench.harness.heal()
        again = bench.try_send(bench.open(), outgoing)

        expect_well("send after the server was busy", again.error)
        bench.expect_arrived_once(
            outgoing,
            "what the server was too busy for arrives once, by the next try.",
            because="nothing is lost, nothing is doubled.",
        )

    # -------------------------------------------------------------------------- evidence

    def test_sent_message_is_found_or_nothing_is_claimed(self, bench: SenderBench) -> None:
        """`find_sent`."""
        outgoing, handle = self._sent(bench)

        found = self._find(bench, outgoing, handle)

        able = Capability.FIND_SENT in bench.transport.capabilities
        expect(
            isinstance(found, Sent) if able else found is CANNOT_TELL or isinstance(found, Sent),
            "with FIND_SENT a message that was sent is found; without it nothing is claimed.",
            because="it is what resolves an unknown outcome without a person.",
            found=found,
        )

    def test_message_never_sent_is_not_found(self, bench: SenderBench) -> None:
        """Prepared at most."""
        outgoing = bench.outgoing()
        handle = bench.open().prepare(outgoing)

        found = self._find(bench, outgoing, handle)

        expect(
            not isinstance(found, Sent),
            "a message that was only prepared is not found as sent.",
            because="the customer would never get the answer, and nobody would know.",
            found=found,
        )

    @_KEPT
    def test_evidence_after_an_unknown_outcome_is_true(
        self,
        bench: SenderBench,
        kept: bool,
    ) -> None:
        """Sent only if it was, NOT_SENT only if it was not."""
        bench.harness.cut_after_end(kept=kept)
        outgoing = bench.outgoing()
        sender = bench.open()
        handle = sender.prepare(outgoing)
        bench.try_send(sender, outgoing, handle)
        bench.harness.heal()

        found = self._find(bench, outgoing, handle)

        arrived = len(bench.arrived(outgoing))
        expect(
            not (isinstance(found, Sent) and not arrived) and not (found is NOT_SENT and arrived),
            "find_sent tells Sent or NOT_SENT only where that is so.",
            because="on Sent nobody sends it again, on NOT_SENT the core does.",
            found=found,
            arrived=arrived,
        )

    def test_not_finding_a_message_proves_nothing(self, bench: SenderBench) -> None:
        """Somebody may have emptied the folder."""
        bench.require(Capability.FIND_SENT)
        outgoing, handle = self._sent(bench)
        bench.harness.forget_sent(outgoing.message_id)

        found = self._find(bench, outgoing, handle)

        expect(
            found is not NOT_SENT,
            "not finding a message proves nothing: CANNOT_TELL.",
            because="people and rules delete sent mail; the core would send it again.",
            found=found,
        )

    def test_evidence_is_about_the_message_asked_for(self, bench: SenderBench) -> None:
        """Not about the one that the session sent before."""
        bench.require(Capability.FIND_SENT)
        sender, other = bench.open(), bench.outgoing()
        bench.send(bench.outgoing(), sender)
        handle = sender.prepare(other)

        outcome = attempt(lambda: sender.find_sent(other.message_id, handle))

        expect_well("find_sent", outcome.error)
        expect(
            not isinstance(outcome.result, Sent),
            "find_sent speaks of the message with this Message-ID and this handle.",
            because="on Sent nobody sends it again: an answer that never left would be lost.",
            found=outcome.result,
        )

    @_EITHER_WAY
    def test_evidence_that_could_not_be_read_proves_nothing(
        self, bench: SenderBench, other_way: bool
    ) -> None:
        """The connection is cut at many points while it is looked for."""
        bench.require(Capability.FIND_SENT)
        outgoing, handle = self._sent(bench)
        places = bench.cut_points(lambda: self._find(bench, outgoing, handle), other_way=other_way)

        for place in places:
            bench.cut(place, other_way=other_way)
            sender = bench.open(impatient=True)
            outcome = attempt(lambda: sender.find_sent(outgoing.message_id, handle))  # noqa: B023
            sender.close()
            bench.harness.heal()
            expect(
                outcome.result is not NOT_SENT
                and (outcome.error is None or isinstance(outcome.error, TransientError)),
                "find_sent never says NOT_SENT because it could not look: it raises "
                "TransientError, or says CANNOT_TELL.",
                because="on NOT_SENT the core sends the message again, and it was sent.",
                cut_after_bytes=place,
                found=outcome.result,
                raised=outcome.error,
            )

    @staticmethod
    def _sent(bench: SenderBench) -> tuple[Outgoing, str | None]:
        """Send a message in two steps, as the core does; return it and its handle."""
        outgoing = bench.outgoing()
        sender = bench.open()
        handle = sender.prepare(outgoing)
        expect_well("send", bench.try_send(sender, outgoing, handle).error)
        return outgoing, handle

    @staticmethod
    def _find(bench: SenderBench, outgoing: Outgoing, handle: str | None) -> Any:
        outcome = attempt(lambda: bench.open().find_sent(outgoing.message_id, handle))
        expect_well("find_sent", outcome.error)
        expect(
            outcome.result in (NOT_SENT, CANNOT_TELL) or isinstance(outcome.result, Sent),
            "find_sent returns Sent, NOT_SENT or CANNOT_TELL.",
            because="the core passes over anything else.",
            found=outcome.result,
        )
        return outcome.result


def _expect_unknown(outcome: Outcome[Any], *, when: str) -> None:
    expect_error(outcome, OutcomeUnknown, when=when, why=_NEVER_AGAIN)
