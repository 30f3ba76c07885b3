"""Cases: what arrives, for whom, and what is said of each recipient."""

from __future__ import annotations

import pytest

from postroom.api import Capability, Rejected, TransientError
from postroom.mail import parse
from postroom.testing.expectations import attempt, expect, expect_error
from postroom.testing.letters import SENT_KINDS
from postroom.testing.sender_bench import ANN, BOB, EVE, SenderBench
from postroom.testing.standard import Conformance
from postroom.testing.workplace import expect_well

_WITH_CAPITALS = "Ann.Lee@customer.example"
_NOT_THERE = "nobody@customer.example"


class SendingCases(Conformance):
    """A message arrives once, whole, for those it is for."""

    @pytest.mark.parametrize("kind", SENT_KINDS)
    def test_message_arrives_as_it_is(self, bench: SenderBench, kind: str) -> None:
        """Byte by byte with EXACT_BYTES, else the same to whoever reads it."""
        if f"message:{kind}" in bench.harness.unsupported:
            pytest.skip(bench.harness.unsupported[f"message:{kind}"])
        outgoing = bench.outgoing(ANN, kind=kind)

        result = bench.send(outgoing)

        arrived = bench.arrived(outgoing)
        expect(
            len(arrived) == 1 and result.accepted == (ANN,),
            "a message that is sent arrives once, and its recipient is accepted.",
            because="nothing is lost, nothing is doubled.",
            arrived=len(arrived),
            result=result,
        )
        bench.expect_same(outgoing, arrived[0])

    def test_every_recipient_is_served(self, bench: SenderBench) -> None:
        """In one message or in several."""
        outgoing = bench.outgoing(ANN, BOB, EVE)

        result = bench.send(outgoing)

        reached = [to for one in bench.arrived(outgoing) for to in one.recipients]
        expect(
            sorted(reached) == sorted(outgoing.recipients) == sorted(result.accepted),
            "each recipient gets the message once.",
            because="an agent answers everybody who was asked to be answered.",
            reached=reached,
            accepted=result.accepted,
        )

    def test_many_recipients_are_served(self, bench: SenderBench) -> None:
        """More than servers take at once (RFC 5321 section 4.5.3.1.8: a hundred)."""
        everybody = tuple(f"person{number}@customer.example" for number in range(120))
        outgoing = bench.outgoing(*everybody)

        bench.send(outgoing)

        reached = [to for one in bench.arrived(outgoing) for to in one.recipients]
        expect(
            sorted(reached) == sorted(everybody),
            "each of many recipients gets the message once.",
            because="a server takes a hundred at a time; the others must not be lost.",
            reached=len(reached),
        )

    def test_envelope_sender_is_honoured(self, bench: SenderBench) -> None:
        """Bounces go there."""
        bench.require(Capability.ENVELOPE)
        outgoing = bench.outgoing(ANN)

        bench.send(outgoing)

        [arrived] = bench.arrived(outgoing)
        expect(
            arrived.sender == bench.harness.ours,
            "with ENVELOPE the message has the envelope sender that is given.",
            because="bounces go there.",
            given=bench.harness.ours,
            arrived=arrived.sender,
        )

    def test_addresses_are_told_as_they_were_given(self, bench: SenderBench) -> None:
        """Capitals included: the part before the @ belongs to its server (RFC 5321 section 2.4)."""
        outgoing = bench.outgoing(_WITH_CAPITALS, ANN)

        bench.send(outgoing)  # which looks at the names in the result

        told = [to for one in bench.arrived(outgoing) for to in one.recipients]
        expect(
            Capability.ENVELOPE not in bench.transport.capabilities or _WITH_CAPITALS in told,
            "an address is passed on as it was given.",
            because="only its own server knows whether Ann.Lee and ann.lee are one person.",
            arrived=told,
        )

    def test_null_sender_is_honoured(self, bench: SenderBench) -> None:
        """Automatic mail has none (RFC 3834 section 3.3)."""
        bench.require(Capability.ENVELOPE)
        outgoing = bench.outgoing(ANN, sender="")

        bench.send(outgoing)

        [arrived] = bench.arrived(outgoing)
        expect(
            arrived.sender == "",
            "with ENVELOPE automatic mail goes out with the null path.",
            because="a bounce of it would be answered automatically, and that for ever.",
            arrived=arrived.sender,
        )

    def test_only_the_recipients_given_get_it(self, bench: SenderBench) -> None:
        """Whoever stands in To: a retry is for some of them."""
        bench.require(Capability.ENVELOPE)
        outgoing = bench.outgoing(ANN, BOB)
        retry = type(outgoing)(
            message_id=outgoing.message_id,
            sender=outgoing.sender,
            recipients=(BOB,),
            raw=outgoing.raw,
            from_address=outgoing.from_address,
        )

        bench.send(retry)

        reached = [to for one in bench.arrived(outgoing) for to in one.recipients]
        expect(
            reached == [BOB],
            "the recipients are those of `Outgoing.recipients`, not those that stand in To.",
            because="a retry names only the deferred ones; the others have the message already.",
            reached=reached,
        )

    # -------------------------------------------------------------------------- recipients

    def test_refused_recipient_is_told_and_others_get_it(self, bench: SenderBench) -> None:
        """Each recipient has a state of its own."""
        bench.harness.refuse_recipient(_NOT_THERE)
        outgoing = bench.outgoing(ANN, _NOT_THERE, BOB)

        result = bench.send(outgoing)

        reached = [to for one in bench.arrived(outgoing) for to in one.recipients]
        expect(
            [one.address for one in result.refused] == [_NOT_THERE]
            and sorted(result.accepted) == sorted(reached) == [ANN, BOB],
            "a recipient that is refused is in `refused`, and the others get the message.",
            because="one mistyped address must not keep an answer from the others.",
            result=result,
            reached=reached,
        )

    def test_deferred_recipient_is_told_and_others_get_it(self, bench: SenderBench) -> None:
        """Greylisting."""
        bench.harness.defer_recipient(EVE)
        outgoing = bench.outgoing(ANN, EVE)

        result = bench.send(outgoing)

        reached = [to for one in bench.arrived(outgoing) for to in one.recipients]
        expect(
            [one.address for one in result.deferred] == [EVE]
            and list(result.accepted) == reached == [ANN],
            "a recipient that is put off is in `deferred`, and the others get the message.",
            because="the core tries the deferred ones again, and only those.",
            result=result,
            reached=reached,
        )

    def test_deferred_recipient_alone_is_served_by_the_retry(self, bench: SenderBench) -> None:
        """Nobody gets it twice."""
        bench.harness.defer_recipient(EVE)
        outgoing = bench.outgoing(ANN, EVE)
        sender = bench.open()
        bench.send(outgoing, sender)
        bench.harness.heal()

        retry = type(outgoing)(
            message_id=outgoing.message_id,
            sender=outgoing.sender,
            recipients=(EVE,),
            raw=outgoing.raw,
            from_address=outgoing.from_address,
        )
        result = bench.send(retry, sender)

        reached = [to for one in bench.arrived(outgoing) for to in one.recipients]
        expect(
            sorted(reached) == [ANN, EVE] and result.accepted == (EVE,),
            "after a retry for the deferred recipient each has the message once.",
            because="nobody gets an answer twice.",
            reached=reached,
            result=result,
        )

    def test_all_recipients_refused_is_rejected(self, bench: SenderBench) -> None:
        """With what the server said of each."""
        for one in (_NOT_THERE, EVE):
            bench.harness.refuse_recipient(one)
        outgoing = bench.outgoing(_NOT_THERE, EVE)

        error = expect_error(
            bench.try_send(bench.open(), outgoing),
            Rejected,
            when="the server refuses every recipient for good",
            why="nobody will ever get it; the agent is told at once.",
        )

        expect(
            set(error.recipients) == {_NOT_THERE, EVE} and not bench.arrived(outgoing),
            "Rejected.recipients has the server's words for each.",
            because="whoever answers the customer has to know why it did not arrive.",
            recipients=error.recipients,
        )

    def test_all_recipients_deferred_is_not_final(self, bench: SenderBench) -> None:
        """Neither sent nor rejected."""
        for one in (ANN, EVE):
            bench.harness.defer_recipient(one)
        outgoing = bench.outgoing(ANN, EVE)

        outcome = bench.try_send(bench.open(), outgoing)

        put_off = outcome.result is not None and len(outcome.result.deferred) == 2
        expect(
            (put_off or isinstance(outcome.error, TransientError)) and not bench.arrived(outgoing),
            "recipients that are all put off are `deferred`, or TransientError is raised.",
            because="greylisting refuses everybody the first time.",
            raised=outcome.error,
            returned=outcome.result,
        )

    def test_refused_message_is_rejected(self, bench: SenderBench) -> None:
        """And the next one is sent in the same session."""
        bench.harness.refuse_message()
        outgoing = bench.outgoing()
        sender = bench.open()

        outcome = bench.try_send(sender, outgoing)
        bench.harness.heal()
        later = bench.outgoing()
        bench.send(later, sender)

        expect_error(
            outcome,
            Rejected,
            when="the server refuses the message for good",
            why="trying again would be refused again; the agent is told.",
        )
        expect(
            not bench.arrived(outgoing) and len(bench.arrived(later)) == 1,
            "after Rejected the session sends the next message.",
            because="one bad message never stops a mailbox (invariant 5).",
            arrived=len(bench.arrived(later)),
        )

    def test_message_that_is_too_large_is_rejected(self, bench: SenderBench) -> None:
        """The limit is the server's."""
        bench.harness.limit_size(100_000)
        outgoing = bench.outgoing(kind="large")

        outcome = bench.try_send(bench.open(), outgoing)

        expect_error(
            outcome,
            Rejected,
            when="the message is larger than the server takes",
            why="it will not become smaller by trying again.",
        )
        expect(
            not bench.arrived(outgoing),
            "what is rejected was not sent.",
            because="the agent sends it another way.",
            arrived=len(bench.arrived(outgoing)),
        )

    @pytest.mark.parametrize("address", ["jürgen@customer.example", "ann@müller.example"])
    def test_address_beyond_ascii_is_served_or_refused(
        self, bench: SenderBench, address: str
    ) -> None:
        """Never another address, never an error of the library's."""
        outgoing = bench.outgoing(address)

        outcome = bench.try_send(bench.open(), outgoing)

        reached = [to for one in bench.arrived(outgoing) for to in one.recipients]
        if outcome.error is None:
            domain = address.rpartition("@")[2].encode("idna").decode()
            fine = {address, f"{address.rpartition('@')[0]}@{domain}"}
            expect(
                len(reached) == 1 and set(reached) <= fine,
                "an address with letters beyond ASCII is served as it is, its domain at most in "
                "the form for DNS.",
                because="another address is another person.",
                address=address,
                reached=reached,
            )
        else:
            expect_error(
                outcome,
                Rejected,
                when="an address cannot be served",
                why="it is the message that is in trouble, not the server.",
            )

    # -------------------------------------------------------------------------- identity

    def test_message_id_is_kept_or_told(self, bench: SenderBench) -> None:
        """Replies name it."""
        outgoing = bench.outgoing()

        result = bench.send(outgoing)

        [arrived] = bench.arrived(outgoing)
        known = {outgoing.message_id, result.message_id}
        expect(
            parse(arrived.raw).message_id in known,
            "the Message-ID stays, or SendResult.message_id tells the provider's.",
            because="a reply names it; an unknown one opens a new question.",
            ours=outgoing.message_id,
            arrived=parse(arrived.raw).message_id,
            told=result.message_id,
        )

    def test_prepare_sends_nothing(self, bench: SenderBench) -> None:
        """Its handle is a text that can be stored, or None."""
        outgoing = bench.outgoing()

        outcome = attempt(lambda: bench.open().prepare(outgoing))

        expect_well("prepare", outcome.error)
        handle = outcome.result
        expect(
            handle is None or (isinstance(handle, str) and handle and "\0" not in handle),
            "prepare returns a text that can be stored, or None.",
            because="the handle is kept with the outbox row.",
            handle=handle,
        )
        expect(
            not bench.arrived(outgoing),
            "prepare sends nothing.",
            because="a runner that dies after it would send the message again.",
            arrived=len(bench.arrived(outgoing)),
        )

    def test_handle_is_good_in_another_session(self, bench: SenderBench) -> None:
        """The runner that prepared may have died."""
        outgoing = bench.outgoing()
        handle = bench.open().prepare(outgoing)

        outcome = bench.try_send(bench.open(), outgoing, handle)

        expect_well("send with the handle of another session", outcome.error)
        bench.expect_arrived_once(
            outgoing,
            "a handle is good in another session, and the message arrives once.",
            because="whoever takes over a row goes on with its handle.",
        )

    def test_several_messages_go_through_one_session(self, bench: SenderBench) -> None:
        """Each to its own recipient."""
        sender = bench.open()
        letters = [bench.outgoing(one) for one in (ANN, BOB, EVE)]

        for outgoing in letters:
            bench.send(outgoing, sender)

        reached = [one.recipients for outgoing in letters for one in bench.arrived(outgoing)]
        expect(
            reached == [(ANN,), (BOB,), (EVE,)],
            "a session sends several messages, each to its recipients.",
            because="what is left over from one must not get into the next.",
            reached=reached,
        )

    def test_connection_is_reused(self, bench: SenderBench) -> None:
        """Within a session."""
        sender = bench.open()
        before = bench.harness.connections()
        for _ in range(3):
            bench.send(bench.outgoing(), sender)

        made = bench.harness.connections() - before
        expect(
            made <= 2,
            "the messages of a session share a connection (or two).",
            because="logging in for each message takes longer than sending it, and servers "
            "throttle those who do.",
            connections=made,
        )
