"""Cases: what is listed, under which refs, and what `wanted` is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from postroom.api import Capability, Disposition, Limits, Settled
from postroom.testing.expectations import expect
from postroom.testing.haul import nothing
from postroom.testing.letters import letter
from postroom.testing.receiver_bench import ReceiverBench
from postroom.testing.standard import Conformance

_MOST_ON_A_PAGE = 10_000


class ListingCases(Conformance):
    """Every message has one name, and no visit leaves one out."""

    def test_empty_mailbox_yields_a_checkpoint_only(self, bench: ReceiverBench) -> None:
        """No mail is no error."""
        haul = bench.fetch()

        expect(
            not haul.raws and haul.cursors and not bench.listed(),
            "an empty mailbox lists nothing, and fetch ends with a Checkpoint.",
            because="most visits find nothing new.",
            yielded=haul.deliveries,
        )

    def test_every_message_is_listed_and_fetched_once(self, bench: ReceiverBench) -> None:
        """No window of dates or counts."""
        raws = bench.put(7)

        haul = bench.fetch()

        expect(
            sorted(haul.raws.values()) == sorted(held.raw for held in bench.watched())
            and len(haul.raws) == len(raws),
            "one run of fetch yields every message of the mailbox once.",
            because="nothing is skipped in silence (invariant 1).",
            put=len(raws),
            fetched=len(haul.raws),
        )

    def test_mailbox_of_several_pages_is_whole(self, bench: ReceiverBench) -> None:
        """`Harness.largest_page`: listed, fetched and settled, the borders of pages included."""
        raws = sorted(bench.put(2 * bench.harness.largest_page + 1))
        chosen = next(iter(bench.dispositions()), Disposition("leave"))

        listed = bench.refs()
        haul = bench.fetch()
        settled = {one.ref for one in bench.settle(haul.refs, chosen) if isinstance(one, Settled)}

        expect(
            len(set(listed)) == len(listed) == len(raws) and set(listed) == set(haul.raws),
            "list_refs and fetch bring every message of a mailbox that takes several pages, once.",
            because="the message at the border of two pages would be lost for good (invariant 1).",
            put=len(raws),
            listed=len(listed),
            fetched=len(haul.raws),
        )
        left = len(raws) if chosen.action == "leave" else 0
        undone = [held for held in bench.watched() if not (chosen.action == "seen" and held.seen)]
        expect(
            settled == set(listed) and len(undone) == left,
            "every one of hundreds of refs is settled, and done on the server.",
            because="the core hands over up to two thousand; one that is told and not done stays "
            "as it is for ever.",
            disposition=chosen,
            told=len(settled),
            not_done=len(undone),
        )

    def test_list_refs_is_complete_and_agrees_with_fetch(self, bench: ReceiverBench) -> None:
        """The audit compares the two."""
        raws = bench.put(5)

        listed = [item.ref for item in bench.listed()]
        asked = bench.fetch(wanted=nothing).asked

        again = bench.refs()
        expect(
            len(listed) == len(set(listed)) == len(raws) and set(listed) == asked == set(again),
            "list_refs yields each message once, under the refs that fetch asks about, whatever "
            "was fetched before.",
            because="`mailbox audit` compares the listing with the ledger.",
            listed=listed,
            asked=asked,
            listed_again=again,
        )

    def test_old_messages_are_listed_too(self, bench: ReceiverBench) -> None:
        """Years are no reason."""
        bench.harness.put(letter(), datetime(2009, 7, 1, 12, tzinfo=UTC))
        bench.put(1)

        expect(
            len(bench.refs()) == 2 and len(bench.fetch().raws) == 2,
            "a message's age does not matter.",
            because="no window of dates (invariant 1); `start` is the core's business.",
            refs=bench.refs(),
        )

    def test_order_is_oldest_first(self, bench: ReceiverBench) -> None:
        """Where the server lists so."""
        if not bench.harness.oldest_first:
            pytest.skip("the harness says that the server does not list in order of arrival")
        raws = bench.put(6)

        haul = bench.fetch()

        expect(
            list(haul.raws.values()) == [bench.harness.served(ref) for ref in haul.refs]
            and [_place(raws, raw) for raw in haul.raws.values()] == list(range(6)),
            "messages are yielded oldest first where the server lists them so.",
            because="questions should come before their replies, and numbers in order.",
            order=[_place(raws, raw) for raw in haul.raws.values()],
        )

    def test_refs_are_the_same_in_every_session(self, bench: ReceiverBench) -> None:
        """A ref names a message for good."""
        bench.put(4)

        first, second = bench.fetch(), bench.fetch()

        expect(
            {ref: bench.harness.served(ref) for ref in first.refs} == second.raws,
            "a ref names the same message in every session.",
            because="the ledger knows messages by their refs (invariant 4).",
            first=first.refs,
            second=second.refs,
        )

    def test_refs_do_not_count(self, bench: ReceiverBench) -> None:
        """A sequence number changes when an earlier message goes."""
        bench.put(4)
        before = bench.fetch().raws
        gone = next(iter(before))

        bench.harness.remove(gone)
        after = bench.fetch().raws

        expect(
            after == {ref: raw for ref, raw in before.items() if ref != gone},
            "removing one message changes no other's ref.",
            because="with sequence numbers the next message would take over a receipt that is not "
            "its own, and be lost.",
            before=list(before),
            after=list(after),
        )

    def test_sizes_and_dates_are_listed_the_same_each_time(self, bench: ReceiverBench) -> None:
        """A ref with another size or date is another message."""
        bench.put(3)

        first, second, third = bench.listed(), bench.listed(), bench.fetch(wanted=nothing).pages

        expect(
            first == second and [item for page in third for item in page] == first,
            "size and date of a message are listed the same each time, by fetch and list_refs.",
            because="equal refs with another size or date are taken for another message, and "
            "downloaded again (invariant 1).",
            first=first,
            second=second,
            fetch=third,
        )

    def test_received_dates_are_the_servers(self, bench: ReceiverBench) -> None:
        """In UTC, whatever the server's zone."""
        bench.require(Capability.RECEIVED_DATES)
        instant = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
        bench.harness.put(letter(), instant)

        [item] = bench.listed()
        [page] = bench.fetch().pages

        expect(
            item.received_at is not None
            and abs(item.received_at - instant) < timedelta(seconds=2)
            and page[0].received_at == item.received_at,
            "with RECEIVED_DATES every Listed tells when the server received it, in UTC.",
            because="what was received before the mailbox was set up is never acknowledged.",
            put=instant,
            listed=item.received_at,
        )

    def test_dates_that_cost_a_request_are_asked_for_what_is_wanted_only(
        self, bench: ReceiverBench
    ) -> None:
        """`Limits.received_dates`."""
        bench.put(4)
        known = set(bench.refs()[:2])
        free = {
            item.ref
            for page in bench.fetch(wanted=nothing).pages
            for item in page
            if item.received_at is not None
        }

        haul = bench.fetch(
            wanted=lambda page: [item.ref for item in page if item.ref not in known],
            limits=Limits(received_dates=True),
        )

        dated = [item for page in haul.pages for item in page if item.received_at is not None]
        expect(
            not known & {item.ref for item in dated} - free,
            "dates that cost a request are asked only of messages that were wanted without them.",
            because="a mailbox of 100,000 known messages would cost as many requests a visit.",
            dated=dated,
        )
        expect(
            len(haul.raws) == 2,
            "what is wanted is yielded, with received_dates too.",
            because="it is how a mailbox with a start is retrieved.",
            yielded=haul.refs,
        )

    def test_wanted_is_asked_about_everything_in_pages(self, bench: ReceiverBench) -> None:
        """Before anything is yielded of it."""
        bench.put(9)
        refs = set(bench.refs())

        haul = bench.fetch(wanted=nothing)

        expect(
            haul.asked == refs and all(0 < len(page) <= _MOST_ON_A_PAGE for page in haul.pages),
            "`wanted` is asked about every message, some hundreds or thousands at a time.",
            because="the ledger answers a page with one query.",
            asked=haul.asked,
            pages=[len(page) for page in haul.pages],
        )
        expect(
            not (haul.raws or haul.unavailable or haul.oversized) and haul.cursors,
            "where nothing is wanted nothing is yielded but a Checkpoint.",
            because="the ledger decides what is downloaded.",
            yielded=haul.deliveries,
        )

    def test_what_is_not_wanted_is_not_downloaded(self, bench: ReceiverBench) -> None:
        """Measured on the wire."""
        [small] = bench.put(1)
        bench.put(6, size=100_000)
        by_ref = bench.fetch().raws
        [ref] = [ref for ref, raw in by_ref.items() if raw == bench.harness.served(ref) and
                 len(raw) < 50_000]  # fmt: skip
        before = bench.harness.traffic()

        haul = bench.fetch(wanted=lambda page: [item.ref for item in page if item.ref == ref])

        traffic = bench.harness.traffic() - before
        expect(
            haul.refs == [ref] and traffic < 200_000,
            "no bytes are downloaded of what `wanted` does not choose.",
            because="a mailbox that is left as it is would be downloaded anew at each visit.",
            message=len(small),
            others=600_000,
            traffic=traffic,
        )

    def test_new_mail_is_found_by_the_next_listing(self, bench: ReceiverBench) -> None:
        """In the same session, too."""
        bench.put(2)
        receiver = bench.open()
        known = set(bench.fetch(receiver=receiver).raws)

        bench.put(1)
        haul = bench.fetch(receiver=receiver)

        expect(
            len(set(haul.raws) - known) == 1 and known <= set(haul.raws),
            "each fetch lists anew, also in a session that has listed before.",
            because="a session may be kept open while it waits for news.",
            before=known,
            after=haul.refs,
        )


def _place(raws: list[bytes], raw: bytes) -> int:
    tokens = [one.partition(b"Message-ID: <")[2].partition(b">")[0] for one in raws]
    token = raw.partition(b"Message-ID: <")[2].partition(b">")[0]
    return tokens.index(token) if token in tokens else -1
