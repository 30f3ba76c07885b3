"""What `run --once` did, and whether what it left needs a person or only time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from postroom.errors import in_one_line
from postroom.intake.tally import STOPPED, Tally
from postroom.leases import health
from postroom.mailboxes.ledger import needs_person
from postroom.outbox.stranded import stranded
from postroom.store.database import now
from postroom.store.models import Mailbox, Outbox, Receipt, Side, Trouble


@dataclass(slots=True)
class Outcome:
    """What a run did and found; `exit_code` is one of those that the manual lists."""

    needs_person: bool = False
    try_later: bool = False
    tallies: dict[str, Tally] = field(default_factory=dict)
    sent: int = 0
    remarks: list[str] = field(default_factory=list)
    """What is wrong and was not logged in this run, and what to look at, a line each."""

    @property
    def exit_code(self) -> int:
        """Return 3 if something needs a person, else 75 if something waits, else 0."""
        return 3 if self.needs_person else 75 if self.try_later else 0

    def judge(self, begun: datetime, *, was_stopped: bool) -> None:
        """Look at what there is after a run that began at that time."""
        if was_stopped:
            self.try_later = True
            self.remarks.append(STOPPED)
        self._judge_receipts(begun)
        self._judge_outbox()
        self._judge_troubles(begun)

    def _judge_receipts(self, begun: datetime) -> None:
        for result, words in (("quarantined", "new in quarantine"), ("refused", "too large")):
            is_new = (Receipt.outcome == result) & (Receipt.created_at >= begun)
            if new := Receipt.select().where(needs_person() & is_new).count():
                self.needs_person = True
                self.remarks.append(f"{new} {words}: see `postroom quarantine list`.")

    def _judge_outbox(self) -> None:
        if undone := Outbox.select().where(Outbox.state.in_(["failed", "unknown"])).count():
            self.needs_person = True
            self.remarks.append(f"{undone} failed or unknown: see `postroom outbox list`.")
        for one in stranded():
            self.needs_person = True
            self.remarks.append(f"{one.mailbox} (out): {in_one_line(one.sentence, one.next_step)}")
        self.try_later |= Outbox.select().where(Outbox.state == "queued").exists()

    def _judge_troubles(self, begun: datetime) -> None:
        instant = now()
        troubles = Trouble.select(Trouble, Side, Mailbox).join(Side).join(Mailbox)
        for trouble in troubles.where(Trouble.cleared_at.is_null()):
            side = trouble.side
            if side.direction == "in" and not side.mailbox.enabled:
                continue
            if trouble.first_seen_at < begun:
                self.remarks.append(_remark(trouble))
            since = health.lasts_since(trouble, side)
            if health.needs_attention(trouble.kind, since, instant):
                self.needs_person = True
            else:
                self.try_later = True


def _remark(trouble: Trouble) -> str:
    side = trouble.side
    words = in_one_line(trouble.sentence, trouble.next_step)
    return f"{side.mailbox.address} ({side.direction}): {words}"
