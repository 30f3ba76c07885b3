"""Cases: through the real intake, on a real database. Nothing is lost, nothing is doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from postroom.api import Disposition
from postroom.mailboxes.mailbox_values import written_disposition
from postroom.store.models import Mailbox
from postroom.testing.expectations import expect
from postroom.testing.installed import Installed, strongest
from postroom.testing.letters import ODD_KINDS, odd
from postroom.testing.receiver_bench import ReceiverBench
from postroom.testing.standard import Conformance
from postroom.testing.workplace import expect_well

_ONCE = "nothing is lost, nothing is doubled, and we can prove it."


class IntakeCases(Conformance):
    """Through the real intake, on a real database: nothing is lost, nothing is doubled."""

    def test_mail_becomes_questions_and_is_accounted_for(
        self, bench: ReceiverBench, installed: Installed
    ) -> None:
        """One each."""
        _set_up(bench, installed)
        raws = _put(bench, 5)

        expect_well("a visit", installed.visit())

        _expect_each_once(installed, raws)
        expect(
            len(installed.questions()) == 5 and installed.outcomes()["stored"] == 5,
            "each mail becomes a question, and has a receipt that says so.",
            because="nothing is skipped in silence (invariant 1).",
            questions=len(installed.questions()),
            receipts=installed.outcomes(),
        )

    def test_second_visit_downloads_nothing_again(
        self, bench: ReceiverBench, installed: Installed
    ) -> None:
        """With `leave` everything is still there."""
        _set_up(bench, installed)
        raws = _put(bench, 4)
        expect_well("a visit", installed.visit())
        raws += _put(bench, 1)
        installed.plan.downloaded = 0

        expect_well("the second visit", installed.visit())

        expect(
            installed.plan.downloaded == 1,
            "only what is new is downloaded.",
            because="a mailbox that is left as it is would be downloaded at each visit.",
            downloaded=installed.plan.downloaded,
        )
        _expect_each_once(installed, raws)

    @pytest.mark.parametrize("cursor", [None, "", "garbage", "wound back"])
    def test_cursor_lost_wound_back_or_garbage_changes_nothing(
        self, bench: ReceiverBench, installed: Installed, cursor: str | None
    ) -> None:
        """Nothing lost, nothing doubled, nothing downloaded twice."""
        _set_up(bench, installed)
        raws = _put(bench, 2)
        expect_well("a visit", installed.visit())
        earlier = installed.mailbox().cursor
        raws += _put(bench, 2)
        expect_well("the second visit", installed.visit())
        raws += _put(bench, 2)
        Mailbox.update(cursor=earlier if cursor == "wound back" else cursor).execute()
        installed.plan.downloaded = 0

        expect_well("the visit with that cursor", installed.visit())

        _expect_each_once(installed, raws)
        expect(
            installed.plan.downloaded == 2,
            "whatever the cursor, only what has no receipt is downloaded.",
            because="the cursor is only an optimisation (invariant 3).",
            cursor=cursor,
            downloaded=installed.plan.downloaded,
        )

    # -------------------------------------------------------------------------- killed

    @pytest.mark.parametrize("place", ["first", "third", "checkpoint"])
    def test_killed_before_the_commit_nothing_has_happened(
        self, bench: ReceiverBench, installed: Installed, place: str
    ) -> None:
        """On the server; and the next visit brings everything."""
        disposition = strongest(bench.transport.capabilities, bench.harness.other_folder)
        _set_up(bench, installed, disposition)
        raws = _put(bench, 4)
        before = bench.harness.listing()
        where = "checkpoint" if place == "checkpoint" else "fetched"

        died = installed.visit_and_die(where, 3 if place == "third" else 1)

        expect(
            died and bench.harness.listing() == before and not installed.stored(),
            "before the commit nothing changes on the server.",
            because="side effects follow the commit (invariant 2): a runner that dies here would "
            "have lost the mail.",
            before=before,
            after=bench.harness.listing(),
        )
        expect_well("the next visit", installed.visit())
        _expect_each_once(installed, raws)
        _expect_settled(bench, installed, raws, disposition)

    @pytest.mark.parametrize("action", ["seen", "move", "delete"])
    @pytest.mark.parametrize(
        "place", ["before settling", "while settling", "after settling"], ids=lambda one: one[:6]
    )
    def test_killed_between_commit_and_settle_the_next_visit_settles(
        self, bench: ReceiverBench, installed: Installed, place: str, action: str
    ) -> None:
        """Before the server was told, while, and after it had confirmed."""
        disposition = bench.disposition(action)
        _set_up(bench, installed, disposition)
        raws = _put(bench, 4)

        died = installed.visit_and_die(place, 2 if place == "while settling" else 1)

        expect(
            died and sum(installed.stored().values()) == 4,
            "what was committed is settled afterwards.",
            because="side effects follow the commit (invariant 2).",
            stored=len(installed.stored()),
            settled=died,
        )
        expect_well("the next visit", installed.visit())
        _expect_each_once(installed, raws)
        _expect_settled(bench, installed, raws, disposition)

    @pytest.mark.parametrize("other_way", [False, True], ids=["what-is-said", "what-is-told"])
    def test_visit_cut_anywhere_loses_and_doubles_nothing(
        self, bench: ReceiverBench, installed: Installed, other_way: bool
    ) -> None:
        """At many points, fetch and settle together; then a visit to a healthy server."""
        disposition = strongest(bench.transport.capabilities, bench.harness.other_folder)
        _set_up(bench, installed, disposition)
        raws = _put(bench, 2)
        places = bench.cut_points(
            lambda: expect_well("a visit", installed.visit()), other_way=other_way
        )

        for place in places[::2]:
            raws += _put(bench, 2)
            bench.cut(place, other_way=other_way)
            installed.visit()
            bench.harness.heal()
        expect_well("the visit after all cuts", installed.visit())

        _expect_each_once(installed, raws)
        _expect_settled(bench, installed, raws, disposition)

    # -------------------------------------------------------------------------- odd mail

    def test_unreadable_message_goes_to_quarantine_alone(
        self, bench: ReceiverBench, installed: Installed
    ) -> None:
        """The others become questions."""
        _set_up(bench, installed)
        raws = _put(bench, 3)
        poison = next(ref for ref in bench.refs() if bench.harness.served(ref) == raws[1])
        bench.harness.make_unreadable(poison)

        expect_well("a visit", installed.visit())

        _expect_each_once(installed, [raws[0], raws[2]])
        expect(
            [one.ref for one in installed.quarantined()] == [poison],
            "a message that cannot be read is in quarantine, with its cause.",
            because="one bad message never stops a mailbox (invariant 5), and none is skipped in "
            "silence.",
            quarantined=[(one.ref, one.because) for one in installed.quarantined()],
        )

    def test_odd_messages_are_all_kept(self, bench: ReceiverBench, installed: Installed) -> None:
        """Poison for parsers, byte by byte."""
        _set_up(bench, installed)
        for kind in ODD_KINDS:
            if f"message:{kind}" not in bench.harness.unsupported:
                bench.harness.put(odd(kind))
        raws = [bench.harness.served(ref) for ref in bench.refs()]

        expect_well("a visit", installed.visit())

        _expect_each_once(installed, raws)

    def test_new_ids_double_nothing(self, bench: ReceiverBench, installed: Installed) -> None:
        """The fingerprint tells."""
        _set_up(bench, installed)
        raws = _put(bench, 3)
        expect_well("a visit", installed.visit())

        bench.harness.reset_ids()
        raws += _put(bench, 1)
        expect_well("the visit after new ids", installed.visit())

        _expect_each_once(installed, raws)

    def test_message_that_is_too_large_stays_and_is_told(
        self, bench: ReceiverBench, installed: Installed
    ) -> None:
        """`refused`, whatever the disposition."""
        disposition = strongest(bench.transport.capabilities, bench.harness.other_folder)
        _set_up(bench, installed, disposition, max_message_bytes=100_000)
        bench.put(1, size=400_000)
        [large] = [held.raw for held in bench.watched()]
        raws = _put(bench, 2)

        expect_well("a visit", installed.visit())

        _expect_each_once(installed, raws)
        expect(
            installed.outcomes()["refused"] == 1
            and [held.raw for held in bench.watched() if held.raw == large] == [large],
            "what is too large stays on the server, and is shown as refused.",
            because="it was not stored: deleting it would lose it.",
            receipts=installed.outcomes(),
            on_server=len(bench.watched()),
        )

    def test_message_that_a_person_removed_is_no_loss(
        self, bench: ReceiverBench, installed: Installed
    ) -> None:
        """Its receipt is closed; new mail comes as ever."""
        _set_up(bench, installed)
        raws = _put(bench, 3)
        expect_well("a visit", installed.visit())
        bench.harness.remove(bench.refs()[0])
        raws += _put(bench, 1)
        Mailbox.update(cursor=None).execute()

        expect_well("the next visit", installed.visit())

        _expect_each_once(installed, raws)
        expect(
            sum(installed.outcomes().values()) == 3,
            "a message that is gone has no live receipt after a complete listing.",
            because="its name may be given to another message (invariant 1).",
            receipts=installed.outcomes(),
        )

    def test_wrong_password_loses_nothing(self, bench: ReceiverBench, installed: Installed) -> None:
        """Once it is right, everything comes."""
        _set_up(bench, installed)
        raws = _put(bench, 2)
        bench.harness.refuse_password()
        installed.visit()
        bench.harness.heal()

        expect_well("the visit with the right password", installed.visit())

        _expect_each_once(installed, raws)


def _set_up(
    bench: ReceiverBench,
    installed: Installed,
    disposition: Disposition | None = None,
    **values: Any,
) -> None:
    what = disposition or Disposition("leave")
    mailbox = installed.add_mailbox(
        disposition=written_disposition(what.action, what.folder), **values
    )
    installed.add_side(mailbox, "in", bench.values())


def _put(bench: ReceiverBench, count: int) -> list[bytes]:
    """Put new letters; return them as the server serves them."""
    known = Counter(held.raw for held in bench.watched())
    bench.put(count)
    return [*(Counter(held.raw for held in bench.watched()) - known).elements()]


def _expect_each_once(installed: Installed, raws: Iterable[bytes]) -> None:
    wanted, found = Counter(raws), installed.kept()
    lost, doubled = wanted - found, found - wanted
    expect(
        not lost and not doubled,
        "each message is kept once, byte by byte, in a question or in quarantine.",
        because=_ONCE,
        lost=list(lost),
        doubled=list(doubled),
    )
    result = installed.audit()
    expect(
        result.unaccounted == 0,
        "the audit leaves nothing unaccounted for.",
        because=_ONCE,
        audit=result,
    )


def _expect_settled(
    bench: ReceiverBench, installed: Installed, raws: Iterable[bytes], disposition: Disposition
) -> None:
    undone = [
        raw for raw in raws if disposition.action != "leave" and not bench.is_done(raw, disposition)
    ]
    expect(
        installed.unsettled() == 0 and not undone,
        f"in the end `{disposition}` is applied to everything that is stored, once.",
        because="what is unsettled is settled on the next visit.",
        unsettled=installed.unsettled(),
        not_done=len(undone),
        server=bench.harness.listing(),
    )
