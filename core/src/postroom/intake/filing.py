"""How a batch of retrieved messages is filed: each gets its outcome, its question and its rows.

Everything runs in the transaction of the batch, which intake opens.
"""

from __future__ import annotations

import logging
from datetime import datetime

from peewee import OperationalError

from postroom.errors import KeyUnusableError, LeaseLostError, StoreError
from postroom.intake.conversations import Conversations
from postroom.intake.listing import Listing
from postroom.intake.records import (
    Prepared,
    ReceiptRow,
    as_message,
    insert_messages,
    insert_receipts,
)
from postroom.intake.tally import Tally
from postroom.intake.unstored import Unstored
from postroom.mailboxes.ledger import BEFORE_START, live_receipts
from postroom.questions import contacts
from postroom.secrets import installation_secret
from postroom.store import raws
from postroom.store.database import allocate_ids, execute, is_sqlite, now, transaction
from postroom.store.models import Mailbox, Message, Question, Raw, Segment

logger = logging.getLogger(__name__)
NOT_ITS_FAULT = (LeaseLostError, StoreError, KeyUnusableError, OperationalError)
"""What keeps any message from being written: the visit ends, and no message is quarantined."""


class Filing:
    """Files the messages of one mailbox.

    :param own_addresses: those that are ours: mail from them is no customer's
    :param acknowledges: whether new questions may be acknowledged
    """

    def __init__(
        self,
        mailbox: Mailbox,
        listing: Listing,
        unstored: Unstored,
        tally: Tally,
        *,
        own_addresses: frozenset[str],
        acknowledges: bool,
    ) -> None:
        self._mailbox = mailbox
        self.listing = listing
        self._unstored = unstored
        self._tally = tally
        self._own_addresses = own_addresses
        self._acknowledges = acknowledges
        self._first_contact_at = mailbox.first_contact_at
        self._leaves = mailbox.disposition == "leave"

    def lock_segment(self) -> None:
        """Let one runner at a time look for conversations of a segment and add to them.

        On SQLite the transaction has the write lock of the whole database anyway.
        """
        if not is_sqlite():
            Segment.select(Segment.id).where(
                Segment.id == self._mailbox.segment_id
            ).for_update().execute()

    def write_all(self, prepared: list[Prepared]) -> list[Prepared]:
        """Write the batch at once; if that fails, one by one, and what fails alone is
        quarantined alone (invariant 5)."""
        prepared = self._without_known(prepared)
        for item in prepared:
            if item.failure is not None:
                self._unstored.quarantine(item, item.failure)
        prepared = [item for item in prepared if item.failure is None]
        try:
            with transaction():
                return self.write(prepared)
        except NOT_ITS_FAULT:
            raise
        except Exception:
            logger.warning(
                "A batch of %s is stored one by one", self._mailbox.address, exc_info=True
            )
        done: list[Prepared] = []
        for item in prepared:
            try:
                with transaction():
                    done += self.write([item])
            except NOT_ITS_FAULT:
                raise
            except Exception as error:
                logger.exception("A message of %s cannot be stored", self._mailbox.address)
                self._unstored.quarantine(item, error)
        return done

    def _without_known(self, prepared: list[Prepared]) -> list[Prepared]:
        """Leave out what has a live receipt: a transport need not have asked, or may yield a
        message twice."""
        items = {item.ref_key: item for item in prepared}
        known = live_receipts(self._mailbox.id, items)
        replaced = self.listing.replaced
        return [
            item
            for key, item in items.items()
            if key not in known or replaced.get(key) == known[key].id
        ]

    def write(self, prepared: list[Prepared]) -> list[Prepared]:
        """Decide every outcome and write all rows; return what became messages."""
        if not prepared:
            return []
        instant = now()
        for item in prepared:
            item.reset()
        self.listing.close_replaced(item.ref_key for item in prepared)
        self._decide(prepared)
        stored = [item for item in prepared if item.outcome == "stored"]
        self._place(stored, instant)
        kept = [item for item in prepared if item.keep_bytes]
        for item, raw_id in zip(kept, allocate_ids(Raw, len(kept)), strict=True):
            item.raw_id = raw_id
        raws.insert([(item.raw_id, item.packed) for item in kept if item.raw_id is not None])
        insert_messages(self._mailbox.id, stored, instant)
        insert_receipts(self._mailbox.id, (self._receipt(item) for item in prepared), instant)
        self._acknowledge([item for item in stored if self._is_to_be_acknowledged(item)], instant)
        for item in prepared:
            self._tally.count(item.outcome)
        return stored

    def _decide(self, prepared: list[Prepared]) -> None:
        """Say of each message whether it is new, a duplicate, or to be ignored."""
        twins = self._stored_twins([item.incoming.fingerprint for item in prepared])
        new: dict[str, Prepared] = {}
        message_ids = iter(allocate_ids(Message, len(prepared)))
        for item in prepared:
            fingerprint = item.incoming.fingerprint
            if self.listing.is_before_start(item.received_at):
                item.outcome, item.reason, item.keep_bytes = "ignored", BEFORE_START, False
            elif item.incoming.verdict.ignore is not None:
                item.outcome, item.reason = "ignored", item.incoming.verdict.ignore
            elif fingerprint in twins:
                item.outcome, (item.twin, sha256) = "duplicate", twins[fingerprint]
                item.keep_bytes = item.packed.sha256 != sha256
            elif fingerprint in new:
                twin = new[fingerprint]
                item.outcome, item.twin = "duplicate", twin.message_id
                item.keep_bytes = item.packed.sha256 != twin.packed.sha256
            else:
                item.message_id = next(message_ids)
                new[fingerprint] = item

    def _stored_twins(self, fingerprints: list[str]) -> dict[str, tuple[int, str]]:
        found = execute(
            "SELECT fingerprint, message, sha256 FROM receipt "
            "WHERE mailbox_id = %s AND outcome = 'stored' AND fingerprint = ANY(%s)",
            [self._mailbox.id, fingerprints],
        )
        return {fingerprint: (message, sha256) for fingerprint, message, sha256 in found}

    def _place(self, stored: list[Prepared], instant: datetime) -> None:
        """Find or open the question of each message."""
        if not stored:
            return
        conversations = self._conversations(instant)
        conversations.load([item.incoming for item in stored])
        for item in stored:
            item.placement = conversations.place(item.incoming)
        conversations.judge()
        self._complete(stored, conversations)
        conversations.changes.write(instant)

    def _conversations(self, instant: datetime) -> Conversations:
        segment_id = self._mailbox.segment_id
        topics = execute("SELECT name_key, id FROM topic WHERE segment_id = %s", [segment_id])
        siblings = execute(
            "SELECT id FROM mailbox WHERE segment_id = %s AND id <> %s",
            [segment_id, self._mailbox.id],
        )
        return Conversations(
            self._mailbox,
            own_addresses=self._own_addresses,
            tag_secret=installation_secret(),
            topics=dict(topics),
            siblings=[sibling for (sibling,) in siblings],
            instant=instant,
        )

    def _complete(self, stored: list[Prepared], conversations: Conversations) -> None:
        """Give questions that were opened their numbers and contacts, and messages what became of
        their questions by the end of the batch."""
        people = contacts.ensure(
            item.incoming.parsed.from_ for item in stored if item.incoming.parsed.from_
        )
        opened = conversations.changes.opened
        for question, number in zip(opened, allocate_ids(Question, len(opened)), strict=True):
            question.id = number
        for item in stored:
            assert item.placement is not None  # noqa: S101 - it was placed
            question = item.placement.question = conversations.final(item.placement.question)
            sender = item.incoming.parsed.from_
            if item.placement.kind == "question" and sender is not None:
                question.contact_id = people[contacts.contact_key(sender.address)]

    def _receipt(self, item: Prepared) -> ReceiptRow:
        return ReceiptRow(
            ref=item.fetched.ref,
            ref_key=item.ref_key,
            outcome=item.outcome,
            listed_size=item.listed.size,
            received_at=item.received_at,
            reason=item.reason,
            because=item.incoming.verdict.because,
            sha256=item.packed.sha256,
            fingerprint=item.incoming.fingerprint,
            raw_id=item.raw_id if item.keep_bytes else None,
            message=item.message_id if item.outcome == "stored" else item.twin,
            settle=not self._leaves and item.reason != BEFORE_START,
            is_settled=self._leaves,
        )

    def _is_to_be_acknowledged(self, item: Prepared) -> bool:
        placement, verdict = item.placement, item.incoming.verdict
        if not self._acknowledges or verdict.acknowledgement is None:
            return False
        if placement is None or not placement.opened or not item.incoming.may_auto_reply:
            return False
        received_at = item.received_at or item.incoming.parsed.received_at
        # first contact is safe (invariant 10)
        return received_at is not None and received_at >= self._first_contact_at

    def _acknowledge(self, items: list[Prepared], instant: datetime) -> None:
        if not items:
            return
        from postroom.outbox.acknowledgements import Acknowledgements  # rarely needed

        opened = [item.placement.question for item in items if item.placement is not None]
        acknowledgements = Acknowledgements(self._mailbox, [question.id for question in opened])
        for item, question in zip(items, opened, strict=True):
            message = as_message(self._mailbox.id, item, instant)
            acknowledgements.queue(question, message, item.incoming.verdict.acknowledgement or "")
