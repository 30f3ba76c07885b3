"""The first schema. A frozen copy of the tables: `models.py` may change, this may not."""

from __future__ import annotations

from typing import Any

import peewee as pw


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Create every table."""

    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Setting(Table):
        name = pw.TextField(primary_key=True)
        value = pw.BlobField()

    class Counter(Table):
        name = pw.TextField(primary_key=True)
        next_id = pw.IntegerField()

    class Segment(Table):
        id = pw.AutoField()
        name = pw.TextField()
        name_key = pw.TextField(unique=True)
        acknowledgement = pw.TextField(null=True)
        created_at = pw.BigIntegerField()

    class Topic(Table):
        id = pw.AutoField()
        segment = pw.ForeignKeyField(Segment)
        name = pw.TextField()
        name_key = pw.TextField()

        class Meta:
            indexes = ((("segment", "name_key"), True),)

    class Filter(Table):
        id = pw.AutoField()
        segment = pw.ForeignKeyField(Segment)
        name = pw.TextField()
        name_key = pw.TextField()
        position = pw.IntegerField()
        field = pw.TextField()
        pattern = pw.TextField()
        topic = pw.TextField(null=True)
        assignee = pw.TextField(null=True)
        status = pw.TextField(null=True)
        ignore = pw.TextField(null=True)
        stop = pw.BooleanField()

        class Meta:
            indexes = ((("segment", "name_key"), True),)

    class Mailbox(Table):
        id = pw.AutoField()
        address = pw.TextField()
        address_key = pw.TextField(unique=True)
        name = pw.TextField()
        segment = pw.ForeignKeyField(Segment)
        topic = pw.ForeignKeyField(Topic, null=True)
        enabled = pw.BooleanField()
        disposition = pw.TextField()
        disposition_folder = pw.TextField(null=True)
        start = pw.TextField()
        start_at = pw.BigIntegerField(null=True)
        acknowledge = pw.BooleanField()
        aliases = pw.TextField()
        poll_seconds = pw.IntegerField()
        max_message_bytes = pw.BigIntegerField()
        created_at = pw.BigIntegerField()
        cursor = pw.TextField(null=True)
        baseline_at = pw.BigIntegerField(null=True)

    class Side(Table):
        id = pw.AutoField()
        mailbox = pw.ForeignKeyField(Mailbox, on_delete="CASCADE")
        direction = pw.TextField()
        transport = pw.TextField()
        settings_version = pw.IntegerField()
        settings = pw.TextField()
        secret_fields = pw.TextField()
        sealed = pw.BlobField(null=True)
        send_as = pw.TextField(null=True)
        reply_to = pw.TextField(null=True)
        save_to_sent = pw.BooleanField()
        generation = pw.IntegerField()
        lease_owner = pw.TextField(null=True)
        leased_until = pw.BigIntegerField(null=True)
        give_way_at = pw.BigIntegerField(null=True)
        next_try_at = pw.BigIntegerField()
        paused_by_server = pw.BooleanField()
        failures = pw.IntegerField()
        down_since = pw.BigIntegerField(null=True)
        last_success_at = pw.BigIntegerField(null=True)
        last_tried_at = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("mailbox", "direction"), True), (("next_try_at",), False))

    class Trouble(Table):
        id = pw.AutoField()
        side = pw.ForeignKeyField(Side, on_delete="CASCADE")
        code = pw.TextField()
        kind = pw.TextField()
        sentence = pw.TextField()
        next_step = pw.TextField()
        first_seen_at = pw.BigIntegerField()
        last_seen_at = pw.BigIntegerField()
        count = pw.IntegerField()
        next_try_at = pw.BigIntegerField(null=True)
        cleared_at = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("side", "cleared_at"), False),)

    class Raw(Table):
        id = pw.IntegerField(primary_key=True)
        sha256 = pw.TextField()
        size = pw.IntegerField()

    class RawChunk(Table):
        id = pw.AutoField()
        raw_id = pw.IntegerField()
        position = pw.IntegerField()
        body = pw.BlobField()

        class Meta:
            indexes = ((("raw_id", "position"), True),)

    class Contact(Table):
        id = pw.AutoField()
        address = pw.TextField()
        address_key = pw.TextField(unique=True)
        name = pw.TextField()
        created_at = pw.BigIntegerField()

    class Question(Table):
        id = pw.IntegerField(primary_key=True)
        segment = pw.ForeignKeyField(Segment, index=False)
        mailbox = pw.ForeignKeyField(Mailbox)
        contact = pw.ForeignKeyField(Contact, null=True)
        subject = pw.TextField()
        status = pw.TextField()
        topic = pw.ForeignKeyField(Topic, null=True, index=False)
        assignee = pw.TextField(null=True)
        created_at = pw.BigIntegerField()
        updated_at = pw.BigIntegerField()
        acted = pw.BooleanField()
        merged_into = pw.ForeignKeyField("self", null=True)
        linked_to = pw.TextField()
        conversation = pw.TextField(null=True)

        class Meta:
            indexes = ((("segment", "status"), False),)

    class Message(Table):
        id = pw.IntegerField(primary_key=True)
        question = pw.ForeignKeyField(Question)
        mailbox = pw.ForeignKeyField(Mailbox, index=False)
        kind = pw.TextField()
        direction = pw.TextField()
        raw_id = pw.IntegerField(null=True)
        from_address = pw.TextField(null=True)
        from_name = pw.TextField()
        to = pw.TextField()
        cc = pw.TextField()
        reply_to = pw.TextField()
        subject = pw.TextField()
        date = pw.BigIntegerField(null=True)
        received_at = pw.BigIntegerField(null=True)
        internet_id = pw.TextField(null=True)
        in_reply_to = pw.TextField()
        references = pw.TextField()
        text = pw.TextField()
        reply_text = pw.TextField(null=True)
        html = pw.TextField(null=True)
        is_automatic = pw.BooleanField()
        is_bounce = pw.BooleanField()
        may_auto_reply = pw.BooleanField()
        is_stranger = pw.BooleanField()
        attachments = pw.TextField()
        problems = pw.TextField()
        author = pw.TextField(null=True)
        created_at = pw.BigIntegerField()

    class MessageKey(Table):
        id = pw.AutoField()
        key = pw.TextField()
        names = pw.BooleanField()
        message = pw.IntegerField(index=True)

        class Meta:
            indexes = ((("key", "names"), False),)

    class Receipt(Table):
        id = pw.IntegerField(primary_key=True)
        mailbox = pw.ForeignKeyField(Mailbox, index=False)
        ref = pw.TextField()
        ref_key = pw.TextField()
        outcome = pw.TextField()
        reason = pw.TextField(null=True)
        because = pw.TextField(null=True)
        listed_size = pw.IntegerField(null=True)
        received_at = pw.BigIntegerField(null=True)
        created_at = pw.BigIntegerField()
        sha256 = pw.TextField(null=True)
        fingerprint = pw.TextField(null=True)
        raw_id = pw.IntegerField(null=True)
        message = pw.IntegerField(null=True, index=True)
        settle = pw.BooleanField()
        settled_at = pw.BigIntegerField(null=True)
        gone_at = pw.BigIntegerField(null=True)
        tries = pw.IntegerField()
        next_try_at = pw.BigIntegerField(null=True)

    class Outbox(Table):
        id = pw.AutoField()
        mailbox = pw.ForeignKeyField(Mailbox, index=False)
        message = pw.ForeignKeyField(Message)
        raw_id = pw.IntegerField()
        internet_id = pw.TextField()
        sender = pw.TextField()
        state = pw.TextField()
        is_automatic = pw.BooleanField()
        recipient_key = pw.TextField()
        recipients = pw.TextField()
        handle = pw.TextField(null=True)
        attempts = pw.IntegerField()
        next_try_at = pw.BigIntegerField(null=True)
        generation = pw.IntegerField()
        created_at = pw.BigIntegerField()
        queued_at = pw.BigIntegerField()
        sending_since = pw.BigIntegerField(null=True)
        sent_at = pw.BigIntegerField(null=True)
        code = pw.TextField(null=True)
        sentence = pw.TextField(null=True)
        next_step = pw.TextField(null=True)

        class Meta:
            indexes = (
                (("mailbox", "state", "next_try_at"), False),
                (("recipient_key", "created_at"), False),
            )

    class Attempt(Table):
        id = pw.AutoField()
        outbox = pw.ForeignKeyField(Outbox, on_delete="CASCADE")
        generation = pw.IntegerField()
        at = pw.BigIntegerField()
        outcome = pw.TextField()
        detail = pw.TextField()
        accepted = pw.TextField()

    Receipt.add_index(
        Receipt.index(
            Receipt.mailbox,
            Receipt.ref_key,
            unique=True,
            where=Receipt.gone_at.is_null(),
            name="receipt_live_ref",
        )
    )
    Receipt.add_index(
        Receipt.index(
            Receipt.mailbox,
            Receipt.fingerprint,
            unique=True,
            where=Receipt.outcome == "stored",
            name="receipt_stored_fingerprint",
        )
    )
    Receipt.add_index(
        Receipt.index(Receipt.mailbox, where=Receipt.settle, name="receipt_to_settle")
    )
    Receipt.add_index(
        Receipt.index(
            Receipt.mailbox,
            Receipt.outcome,
            where=Receipt.outcome.in_(["quarantined", "refused"]),
            name="receipt_needs_person",
        )
    )
    db.create_tables(
        [
            Setting,
            Counter,
            Segment,
            Topic,
            Filter,
            Mailbox,
            Side,
            Trouble,
            Raw,
            RawChunk,
            Contact,
            Question,
            Message,
            MessageKey,
            Receipt,
            Outbox,
            Attempt,
        ]
    )
