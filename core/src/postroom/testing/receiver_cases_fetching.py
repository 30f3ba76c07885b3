"""Cases: the bytes that are fetched, how many at once, and what cannot be had."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest

from postroom.api import Fetched, Limits, Listed, TransportError
from postroom.testing.expectations import attempt, expect, expect_no_secret
from postroom.testing.haul import Haul
from postroom.testing.letters import ODD_KINDS, letter, odd
from postroom.testing.receiver_bench import ReceiverBench, choose
from postroom.testing.standard import Conformance
from postroom.testing.workplace import expect_well

_OVERHEAD = 60_000
"""Bytes that log-in, listing and headers may take."""


class FetchingCases(Conformance):
    """The original comes whole, and memory stays flat."""

    @pytest.mark.parametrize("kind", ["letter", *ODD_KINDS])
    def test_bytes_are_those_that_the_server_serves(self, bench: ReceiverBench, kind: str) -> None:
        """No line end normalised, nothing cut, nothing decoded."""
        if f"message:{kind}" in bench.harness.unsupported:
            pytest.skip(bench.harness.unsupported[f"message:{kind}"])
        bench.harness.put(letter() if kind == "letter" else odd(kind))
        bench.put(1)

        haul = bench.fetch()

        served = {ref: bench.harness.served(ref) for ref in haul.refs}
        expect(
            len(haul.raws) == 2 and haul.raws == served,
            "Fetched.raw is what the server serves, byte by byte.",
            because="the original stays (invariant 6): signatures are checked and mail is parsed "
            "again from it.",
            fetched=haul.raws,
            served=served,
        )

    def test_large_message_is_spooled(self, bench: ReceiverBench) -> None:
        """Above `Limits.spool_above`."""
        bench.put(1, size=300_000)
        bench.put(1)

        haul = bench.fetch(limits=Limits(spool_above=100_000))

        served = {ref: bench.harness.served(ref) for ref in haul.refs}
        large = {ref for ref, raw in served.items() if len(raw) > 100_000}
        expect(
            haul.raws == served and len(served) == 2 and haul.spooled == large,
            "a message larger than spool_above is yielded as a Spool, with the same bytes; others "
            "as bytes.",
            because="memory would follow the largest message.",
            spooled=haul.spooled,
            large=large,
            same_bytes=haul.raws == served,
        )

    def test_message_above_the_limit_is_not_downloaded(self, bench: ReceiverBench) -> None:
        """`Oversized`; the others come."""
        small = bench.put(1)
        bench.put(1, size=1_500_000)
        bench.put(1)

        haul = bench.fetch(limits=Limits(max_message_bytes=100_000))

        expect(
            len(haul.oversized) == 1 and len(haul.raws) == 2,
            "a message above max_message_bytes is yielded as Oversized, and the others come.",
            because="it stays on the server, visibly (`refused`), and stops nobody.",
            oversized=list(haul.oversized.values()),
            fetched=haul.refs,
            small=len(small[0]),
        )
        [too_large] = haul.oversized.values()
        expect(
            too_large.size > 100_000,
            "Oversized tells a size above the limit, in bytes.",
            because="the administrator sees it and may raise the limit.",
            size=too_large.size,
        )

    def test_message_above_the_limit_costs_no_traffic(self, bench: ReceiverBench) -> None:
        """Measured on the wire."""
        bench.put(1, size=1_500_000)
        before = bench.harness.traffic()

        bench.fetch(limits=Limits(max_message_bytes=100_000))

        traffic = bench.harness.traffic() - before
        expect(
            traffic < 700_000,
            "the bytes of a message above max_message_bytes are not downloaded: at most what is "
            "needed to learn its size.",
            because="somebody could fill memory and network with one mail, at each visit.",
            message=1_500_000,
            traffic=traffic,
        )

    def test_wanted_is_asked_before_any_bytes(self, bench: ReceiverBench) -> None:
        """Measured on the wire."""
        bench.put(4, size=150_000)
        before = bench.harness.traffic()
        traffic: list[int] = []

        def ask(page: Sequence[Listed]) -> Collection[str]:
            traffic.append(bench.harness.traffic() - before)
            return [item.ref for item in page]

        bench.fetch(wanted=ask)

        expect(
            traffic and traffic[0] < _OVERHEAD,
            "`wanted` is asked before the bytes of any message are downloaded.",
            because="the ledger knows what is there already (invariant 3).",
            messages=600_000,
            traffic_when_asked=traffic,
        )

    def test_fetch_is_lazy(self, bench: ReceiverBench) -> None:
        """`Limits.batch_bytes` and `batch_count` at once."""
        bench.put(16, size=200_000)
        before = bench.harness.traffic()
        haul = Haul()
        deliveries = self._deliveries(bench, haul, Limits(batch_count=2, batch_bytes=450_000))

        first = next(one for one in deliveries if isinstance(one, Fetched))
        traffic = bench.harness.traffic() - before
        haul.take_one(first)
        haul.take(deliveries)

        expect(
            traffic < 1_600_000 and len(haul.raws) == 16,
            "fetch downloads as it is iterated, at most batch_count messages and batch_bytes "
            "bytes ahead.",
            because="a first visit to a mailbox of 10 GB must not need 10 GB.",
            messages=3_200_000,
            traffic_at_the_first=traffic,
            fetched=len(haul.raws),
        )

    @staticmethod
    def _deliveries(bench: ReceiverBench, haul: Haul, limits: Limits) -> Iterator[Any]:
        return iter(bench.open().fetch(None, limits=limits, wanted=haul.ask))

    def test_small_batches_bring_the_same(self, bench: ReceiverBench) -> None:
        """In the same order, each once."""
        bench.put(13)

        whole = bench.fetch()
        pieces = bench.fetch(limits=Limits(batch_count=3, batch_bytes=2_000))

        expect(
            list(whole.raws.items()) == list(pieces.raws.items()),
            "limits change how much is asked for at once, not what comes.",
            because="nothing is skipped in silence (invariant 1).",
            whole=whole.refs,
            pieces=pieces.refs,
        )

    def test_large_message_among_small_ones_is_not_left_out(self, bench: ReceiverBench) -> None:
        """Larger than a whole batch."""
        bench.put(2)
        bench.put(1, size=300_000)
        bench.put(2)

        haul = bench.fetch(limits=Limits(batch_count=4, batch_bytes=50_000))

        expect(
            len(haul.raws) == 5
            and haul.raws == {ref: bench.harness.served(ref) for ref in haul.raws},
            "a message larger than batch_bytes is fetched alone.",
            because="only max_message_bytes leaves a message out.",
            fetched=haul.refs,
        )

    def test_received_date_of_a_message_is_the_listed_one(self, bench: ReceiverBench) -> None:
        """Where both are told."""
        bench.put(3)

        haul = bench.fetch()

        listed = {item.ref: item.received_at for page in haul.pages for item in page}
        told = {one.ref: one.received_at for one in haul.deliveries if isinstance(one, Fetched)}
        expect(
            all(None in (told[ref], listed[ref]) or told[ref] == listed[ref] for ref in told),
            "Fetched.received_at is Listed.received_at.",
            because="the one decides whether a message is old, the other is shown.",
            fetched=told,
            listed=listed,
        )

    def test_fetching_changes_nothing_on_the_server(self, bench: ReceiverBench) -> None:
        """Not even the mark that a message was read."""
        bench.put(3)
        before = bench.harness.listing()

        bench.fetch()
        bench.listed()
        bench.check()

        expect(
            bench.harness.listing() == before,
            "fetch, list_refs and check mark, move and delete nothing.",
            because="side effects follow the commit (invariant 2), and `leave` means leave.",
            before=before,
            after=bench.harness.listing(),
        )

    def test_fetch_that_is_closed_early_leaves_a_usable_session(self, bench: ReceiverBench) -> None:
        """The core stops between two batches when it is asked to."""
        bench.put(5)
        receiver = bench.open()
        haul = Haul()
        deliveries: Any = receiver.fetch(None, limits=Limits(batch_count=1), wanted=haul.ask)
        first = next(one for one in deliveries if isinstance(one, Fetched))

        deliveries.close()

        found = bench.listed(receiver)
        again = bench.fetch(receiver=receiver)
        expect(
            len(found) == 5 and first.ref in again.raws and len(again.raws) == 5,
            "after a fetch that was closed early the session lists, fetches and settles.",
            because="what was committed is settled in the same session.",
            listed=len(found),
            fetched=len(again.raws),
        )

    # -------------------------------------------------------------------------- what is not there

    def test_message_that_vanishes_is_not_yielded(self, bench: ReceiverBench) -> None:
        """Between listing and download; no error, the others come."""
        bench.put(4)
        refs = bench.refs()
        gone = refs[1]

        def ask(page: Sequence[Listed]) -> Collection[str]:
            if any(item.ref == gone for item in page):
                bench.harness.remove(gone)
            return [item.ref for item in page]

        haul = bench.fetch(wanted=ask)

        expect(
            set(haul.raws) == set(refs) - {gone} and not haul.unavailable,
            "a message that vanishes between listing and download is simply not yielded.",
            because="a person deleted it: nothing is wrong, nothing is quarantined, and the others "
            "come.",
            vanished=gone,
            yielded=haul.refs,
            unavailable=list(haul.unavailable.values()),
        )

    def test_message_that_cannot_be_read_is_unavailable(self, bench: ReceiverBench) -> None:
        """Yielded, not raised; the others come."""
        bench.put(4)
        refs = bench.refs()
        bench.harness.make_unreadable(refs[1])

        haul = bench.fetch()

        expect(
            set(haul.unavailable) == {refs[1]} and set(haul.raws) == set(refs) - {refs[1]},
            "a message that is listed and cannot be read is yielded as Unavailable.",
            because="it goes to quarantine, and one bad message never stops a mailbox "
            "(invariant 5).",
            unreadable=refs[1],
            unavailable=haul.unavailable,
            yielded=haul.refs,
        )
        error = haul.unavailable[refs[1]].error
        expect(
            isinstance(error, TransportError) and error.sentence and error.next_step,
            "Unavailable.error is an error of the contract, for an administrator.",
            because="`quarantine list` shows it.",
            error=error,
        )
        expect_no_secret(bench.secrets(), "Unavailable.error", f"{error!r} {error.next_step}")

    def test_listing_of_a_message_that_cannot_be_read_stays(self, bench: ReceiverBench) -> None:
        """It is there."""
        bench.put(3)
        refs = bench.refs()
        bench.harness.make_unreadable(refs[1])

        expect(
            set(bench.refs()) == set(refs),
            "list_refs yields a message that cannot be read.",
            because="its receipt would be closed as if it were gone.",
            before=refs,
            after=bench.refs(),
        )

    def test_wanting_one_of_many_brings_that_one(self, bench: ReceiverBench) -> None:
        """In the middle, at the beginning, at the end."""
        bench.put(5)
        refs = bench.refs()

        for ref in (refs[2], refs[0], refs[-1]):
            haul = bench.fetch(wanted=choose([ref]))
            expect(
                haul.raws == {ref: bench.harness.served(ref)},
                "what is wanted comes, with its own bytes, whatever else is there.",
                because="refs that are off by one give a customer the mail of another.",
                wanted=ref,
                yielded=haul.refs,
            )

    def test_session_works_after_an_unreadable_message(self, bench: ReceiverBench) -> None:
        """The connection may be in an odd state."""
        bench.put(3)
        receiver = bench.open()
        refs = bench.refs()
        bench.harness.make_unreadable(refs[0])
        bench.fetch(receiver=receiver)

        outcome = attempt(lambda: list(receiver.list_refs()))

        expect_well("list_refs after a fetch with an unreadable message", outcome.error)
