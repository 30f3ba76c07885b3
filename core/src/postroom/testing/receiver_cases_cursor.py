"""Cases: the cursor is only an optimisation (invariant 3)."""

from __future__ import annotations

import pytest

from postroom.api import Checkpoint, Fetched, Limits
from postroom.testing.expectations import expect, expect_no_secret
from postroom.testing.haul import Haul, nothing
from postroom.testing.letters import letter
from postroom.testing.receiver_bench import ReceiverBench
from postroom.testing.standard import Conformance

_MOST = 64 << 10
_GARBAGE = {
    "empty": "",
    "word": "garbage",
    "number": "0",
    "large-number": "9" * 40,
    "object": "{}",
    "list": "[1, null]",
    "letters": "Ünïcödé 你好",
    "control": "\x01\x7f\r\n\t",
    "long": "x" * 5_000,
    "path": "../../etc/passwd",
    "url": "https://127.0.0.1:9/delta?token=1",
}
_LOSES_NOTHING = "losing the cursor costs time and no mail (invariant 3)."


class CursorCases(Conformance):
    """Whatever cursor is given, no message is left out."""

    def test_cursor_can_be_stored(self, bench: ReceiverBench) -> None:
        """A text of at most 64 KiB."""
        bench.put(3)

        haul = bench.fetch()

        expect(
            all(
                isinstance(one, str) and "\0" not in one and len(one.encode()) <= _MOST
                for one in [haul.cursor, *haul.cursors]
            ),
            "a cursor is a text without NUL, of at most 64 KiB.",
            because="it is stored with the mailbox, in SQLite and PostgreSQL.",
            cursors=haul.cursors,
        )
        expect_no_secret(bench.secrets(), "a cursor or ref", " ".join([*haul.cursors, *haul.refs]))

    def test_checkpoint_is_the_last_item(self, bench: ReceiverBench) -> None:
        """Of a complete run."""
        bench.put(3)

        haul = bench.fetch()

        expect(
            isinstance(haul.deliveries[-1], Checkpoint),
            "the last item of a complete run is a Checkpoint.",
            because="what comes after it is listed again at each visit.",
            last=haul.deliveries[-1],
        )

    def test_new_mail_is_found_from_the_cursor(self, bench: ReceiverBench) -> None:
        """In another session."""
        bench.put(3)
        first = bench.fetch()

        bench.put(2)
        second = bench.fetch(first.cursor)

        new = set(bench.refs()) - set(first.raws)
        expect(
            len(new) == 2 and new <= set(second.raws),
            "from the cursor on, everything that is new is asked about.",
            because="nothing is skipped in silence (invariant 1).",
            new=new,
            yielded=second.refs,
        )

    def test_cursor_of_an_empty_mailbox_finds_the_first_mail(self, bench: ReceiverBench) -> None:
        """The usual start."""
        cursor = bench.fetch().cursor

        bench.put(2)
        haul = bench.fetch(cursor)

        expect(
            len(haul.raws) == 2,
            "the first mail is found from the cursor of the empty mailbox.",
            because="most mailboxes are set up before any mail comes.",
            cursor=cursor,
            yielded=haul.refs,
        )

    def test_old_cursor_still_finds_everything_since(self, bench: ReceiverBench) -> None:
        """Wound back: restored from a backup, say."""
        bench.put(2)
        old = bench.fetch()
        bench.put(2)
        middle = bench.fetch(old.cursor)
        bench.put(2)
        bench.fetch(middle.cursor)

        haul = bench.fetch(old.cursor)

        since = set(bench.refs()) - set(old.raws)
        expect(
            len(since) == 4 and since <= haul.asked,
            "an older cursor lists everything since it was given.",
            because="a database that was restored has one. " + _LOSES_NOTHING,
            since=since,
            asked=haul.asked,
        )

    def test_lost_cursor_lists_everything(self, bench: ReceiverBench) -> None:
        """None at any time."""
        bench.put(4)
        bench.fetch(bench.fetch().cursor)

        haul = bench.fetch(None, wanted=nothing)

        expect(
            haul.asked == set(bench.refs()),
            "without a cursor everything is listed.",
            because=_LOSES_NOTHING,
            asked=haul.asked,
        )

    @pytest.mark.parametrize("garbage", _GARBAGE.values(), ids=_GARBAGE)
    def test_cursor_that_is_garbage_lists_everything(
        self, bench: ReceiverBench, garbage: str
    ) -> None:
        """No error: a listing from the start."""
        bench.put(3)

        haul = bench.fetch(garbage)

        expect(
            haul.asked == set(bench.refs()) and len(haul.raws) == 3,
            "an unusable cursor means a listing from the start, and no error.",
            because="an older version may have written it, or another folder. " + _LOSES_NOTHING,
            cursor=garbage,
            asked=haul.asked,
        )

    def test_cursor_that_was_damaged_loses_nothing(self, bench: ReceiverBench) -> None:
        """Cut off, doubled, one character changed."""
        bench.put(3)
        cursor = bench.fetch().cursor
        bench.put(2)
        new = len(bench.refs()) - 3
        damaged = {cursor[: len(cursor) // 2], cursor + cursor, cursor[:-1], f"x{cursor}"}

        for one in sorted(damaged):
            haul = bench.fetch(one)
            expect(
                len(haul.raws) >= new and set(bench.refs()[3:]) <= haul.asked,
                "a damaged cursor leaves out nothing that is new.",
                because=_LOSES_NOTHING,
                cursor=one,
                asked=haul.asked,
            )

    def test_every_checkpoint_covers_only_what_came_before(self, bench: ReceiverBench) -> None:
        """A runner may die after any of them."""
        bench.put(9)
        everything = set(bench.refs())
        haul = bench.fetch(limits=Limits(batch_count=2, batch_bytes=4_000))

        before: set[str] = set()
        for one in haul.deliveries:
            if isinstance(one, Fetched):
                before.add(one.ref)
            elif isinstance(one, Checkpoint):
                later = bench.fetch(one.cursor, wanted=nothing)
                expect(
                    everything <= before | later.asked,
                    "a Checkpoint covers only what was yielded before it.",
                    because="the core stores the cursor with what came before; the rest would "
                    "never be listed again.",
                    yielded_before=before,
                    asked_from_the_cursor=later.asked,
                )

    def test_removal_of_old_mail_does_not_hide_new_mail(self, bench: ReceiverBench) -> None:
        """The last one that the cursor knew, and all of them."""
        bench.put(3)
        first = bench.fetch()
        for ref in reversed(first.refs):
            bench.harness.remove(ref)
        bench.put(2)

        haul = bench.fetch(first.cursor)

        expect(
            len(haul.raws) == 2,
            "new mail is found from the cursor although what it knew is gone.",
            because="with `delete` this is every visit.",
            yielded=haul.refs,
        )

    def test_new_ids_are_noticed_and_everything_is_listed(self, bench: ReceiverBench) -> None:
        """A new UIDVALIDITY, a rebuilt store."""
        bench.put(4)
        first = bench.fetch()

        bench.harness.reset_ids()
        haul = bench.fetch(first.cursor)

        expect(
            len(haul.raws) == 4 and not set(haul.raws) & set(first.raws),
            "when the server gives its messages other ids, every ref is another one, and the old "
            "cursor lists everything.",
            because="an old ref could name another message now: one would be lost, another one "
            "deleted.",
            before=first.refs,
            after=haul.refs,
        )

    def test_mail_that_comes_after_new_ids_is_found(self, bench: ReceiverBench) -> None:
        """From the cursor that was given after them."""
        bench.put(2)
        bench.harness.reset_ids()
        first = bench.fetch()
        bench.harness.put(letter())

        haul = bench.fetch(first.cursor)

        new = set(bench.refs()) - set(first.raws)
        expect(
            len(new) == 1 and new <= set(haul.raws),
            "from the cursor after a reset new mail is found as ever.",
            because="nothing is skipped in silence (invariant 1).",
            new=new,
            yielded=haul.refs,
        )

    def test_run_that_is_stopped_starts_again_without_loss(self, bench: ReceiverBench) -> None:
        """Only the checkpoints that came are used."""
        bench.put(8)
        everything = set(bench.refs())
        haul = Haul()
        receiver = bench.open()
        deliveries = iter(receiver.fetch(None, limits=Limits(batch_count=2), wanted=haul.ask))
        while len(haul.raws) < 3:
            haul.take_one(next(deliveries))
        receiver.close()

        later = bench.fetch(haul.cursors[-1] if haul.cursors else None)

        expect(
            set(haul.raws) | later.asked == everything,
            "what a stopped run did not yield is listed from its last checkpoint.",
            because="a runner may be stopped after any message.",
            yielded_before=haul.refs,
            asked_later=later.asked,
        )
