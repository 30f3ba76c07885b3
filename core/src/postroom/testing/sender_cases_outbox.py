"""Cases: through the real outbox, on a real database. No answer is sent twice."""

from __future__ import annotations

from collections import Counter

import pytest

from postroom.mail import parse
from postroom.outbox import answers
from postroom.store.models import Outbox
from postroom.testing.expectations import expect
from postroom.testing.installed import Installed
from postroom.testing.letters import inquiry
from postroom.testing.sender_bench import ANN, EVE, SenderBench
from postroom.testing.standard import Conformance
from postroom.testing.workplace import expect_well

_TWICE = "nobody gets an answer twice, and an unknown outcome is never tried again (invariant 7)."
_SEVERAL = 3


class OutboxCases(Conformance):
    """Through the real outbox, on a real database: no answer is sent twice."""

    def test_answer_is_sent_once(self, bench: SenderBench, installed: Installed) -> None:
        """And the row says so."""
        row = _queue(bench, installed)

        for _ in range(_SEVERAL):
            expect_well("a visit", installed.visit("out"))

        _expect(bench, row, states={"sent"}, copies={ANN: 1})

    def test_runner_that_dies_before_sending_leaves_an_unknown(
        self, bench: SenderBench, installed: Installed
    ) -> None:
        """Nobody can know how far it got; only proof sends it again."""
        row = _queue(bench, installed)

        died = installed.visit_and_die("before sending", direction="out")
        for _ in range(_SEVERAL):
            installed.visit("out")

        expect(
            died,
            "send is called for what is queued.",
            because="otherwise nothing is sent.",
            rows=installed.outbox(),
        )
        _expect(bench, row, states={"unknown", "sent"}, copies={ANN: None})

    def test_runner_that_dies_after_sending_sends_nothing_twice(
        self, bench: SenderBench, installed: Installed
    ) -> None:
        """The server has it, and nobody noted that."""
        row = _queue(bench, installed)

        installed.visit_and_die("after sending", direction="out")
        for _ in range(_SEVERAL):
            installed.visit("out")

        _expect(bench, row, states={"unknown", "sent"}, copies={ANN: 1})

    @pytest.mark.parametrize("kept", [True, False], ids=["taken", "not-taken"])
    def test_unknown_outcome_is_resolved_by_evidence_alone(
        self, bench: SenderBench, installed: Installed, kept: bool
    ) -> None:
        """Or waits for a person."""
        row = _queue(bench, installed)
        bench.harness.cut_after_end(kept=kept)

        installed.visit("out")
        bench.harness.heal()
        for _ in range(_SEVERAL):
            installed.visit("out")

        _expect(bench, row, states={"unknown", "sent"}, copies={ANN: 1 if kept else None})

    def test_deferred_recipient_alone_is_tried_again(
        self, bench: SenderBench, installed: Installed
    ) -> None:
        """The others have it."""
        bench.harness.defer_recipient(EVE)
        row = _queue(bench, installed, also=EVE)

        installed.visit("out")
        bench.harness.heal()
        for _ in range(_SEVERAL):
            installed.visit("out")

        _expect(bench, row, states={"sent"}, copies={ANN: 1, EVE: 1})

    def test_what_was_surely_not_sent_is_tried_again(
        self, bench: SenderBench, installed: Installed
    ) -> None:
        """Under the same Message-ID."""
        row = _queue(bench, installed)
        bench.harness.cut_before_end()

        installed.visit("out")
        bench.harness.heal()
        for _ in range(_SEVERAL):
            installed.visit("out")

        _expect(bench, row, states={"sent"}, copies={ANN: 1})

    def test_refused_answer_has_failed(self, bench: SenderBench, installed: Installed) -> None:
        """The agent is told why."""
        row = _queue(bench, installed)
        bench.harness.refuse_message()

        for _ in range(_SEVERAL):
            installed.visit("out")

        _expect(bench, row, states={"failed"}, copies={ANN: 0})
        [failed] = installed.outbox()
        expect(
            failed.sentence and failed.next_step,
            "a rejected answer says why, and the next thing to do.",
            because="it is shown on the question.",
            sentence=failed.sentence,
        )

    def test_wrong_password_keeps_the_answer_queued(
        self, bench: SenderBench, installed: Installed
    ) -> None:
        """It is sent once the password is right."""
        row = _queue(bench, installed)
        bench.harness.refuse_password()

        installed.visit("out")
        bench.harness.heal()
        for _ in range(_SEVERAL):
            installed.visit("out")

        _expect(bench, row, states={"sent"}, copies={ANN: 1})

    @pytest.mark.parametrize("other_way", [False, True], ids=["what-is-told", "what-is-said"])
    def test_visit_cut_anywhere_sends_nothing_twice(
        self, bench: SenderBench, installed: Installed, other_way: bool
    ) -> None:
        """At many points; each answer is sent once, or is unknown."""
        rows = [_queue(bench, installed)]
        places = bench.cut_points(
            lambda: expect_well("a visit", installed.visit("out")), other_way=other_way
        )

        for place in places[::2]:
            rows.append(_queue(bench, installed))
            bench.cut(place, other_way=other_way)
            installed.visit("out")
            bench.harness.heal()
        for _ in range(_SEVERAL):
            installed.visit("out")

        for row in rows:
            _expect(bench, row, states={"unknown", "sent"}, copies={ANN: None})


def _queue(bench: SenderBench, installed: Installed, *, also: str | None = None) -> Outbox:
    """Have a customer ask and an agent answer; return the answer's row."""
    if not installed.questions():
        mailbox = installed.add_mailbox()
        installed.add_side(mailbox, "in", None)
        installed.add_side(mailbox, "out", bench.values(), send_as=bench.harness.ours)
    installed.letterbox.letters.append(inquiry(ANN, cc=also))
    expect_well("a visit to the letter box", installed.visit("in"))
    question = installed.questions()[-1]
    answers.answer(question, "It is 12 euros.", author="agent", reply_all=also is not None)
    return installed.outbox()[-1]


def _expect(
    bench: SenderBench,
    row: Outbox,
    *,
    states: set[str],
    copies: dict[str, int | None],
) -> None:
    """Fail unless the row came to one of the states, and each got so many copies; None: as many as
    the state says, at most one."""
    row = Outbox.get_by_id(row.id)
    subject = row.message.subject
    arrived = [one for one in bench.harness.received() if parse(one.raw).subject == subject]
    got = Counter(to for one in arrived for to in one.recipients)
    wanted = {
        address: count if count is not None else min(got[address], 1)
        for address, count in copies.items()
    }
    if row.state == "sent":
        wanted = dict.fromkeys(copies, 1)
    expect(
        row.state in states and got == Counter(wanted) + Counter(),
        f"the answer ends as {' or '.join(sorted(states))}, and arrived as often as that says.",
        because=_TWICE,
        state=row.state,
        sentence=row.sentence,
        arrived=dict(got),
        wanted=wanted,
    )
