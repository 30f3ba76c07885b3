"""The tables. Their history is in `migrations/`; a test compares the two.

Times are UTC instants (`InstantField`). docs/architecture.md has the vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peewee import (
    AutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    DatabaseProxy,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

from postroom.store.fields import InstantField, JsonField, SealedField

database = DatabaseProxy()
"""The one database of this process; `store.database.connect` sets it."""


class Table(Model):
    """Base of all tables."""

    class Meta:
        database = database
        legacy_table_names = False


class Setting(Table):
    """What belongs to the installation as a whole: the key's probe, the tags' secret."""

    name = TextField(primary_key=True)
    value = BlobField()


class Counter(Table):
    """The next id of tables whose rows are written in bulk: ids are never used twice."""

    name = TextField(primary_key=True)
    next_id = IntegerField()


class Segment(Table):
    """A department or brand."""

    id = AutoField()
    name = TextField()
    name_key = TextField(unique=True)
    acknowledgement = TextField(null=True)
    created_at = InstantField()


class Topic(Table):
    """A category of questions in a segment."""

    if TYPE_CHECKING:
        segment_id: int
    id = AutoField()
    segment = ForeignKeyField(Segment, backref="topics")
    name = TextField()
    name_key = TextField()

    class Meta:
        indexes = ((("segment", "name_key"), True),)


class Filter(Table):
    """A rule of a segment, applied in the order of `position`."""

    if TYPE_CHECKING:
        segment_id: int
    id = AutoField()
    segment = ForeignKeyField(Segment, backref="filters")
    name = TextField()
    name_key = TextField()
    position = IntegerField()
    field = TextField()
    pattern = TextField()
    topic = TextField(null=True)
    assignee = TextField(null=True)
    status = TextField(null=True)
    ignore = TextField(null=True)
    stop = BooleanField(default=False)

    class Meta:
        indexes = ((("segment", "name_key"), True),)


class Mailbox(Table):
    """An address that is watched and answered from."""

    if TYPE_CHECKING:
        segment_id: int
        topic_id: int | None
    id = AutoField()
    address = TextField()
    address_key = TextField(unique=True)
    name = TextField(default="")
    segment = ForeignKeyField(Segment, backref="mailboxes")
    topic = ForeignKeyField(Topic, null=True)
    enabled = BooleanField(default=True)
    disposition = TextField(default="leave")
    disposition_folder = TextField(null=True)
    start = TextField(default="now")
    """As the administrator wrote it: now, all, or a date."""
    start_at = InstantField(null=True)
    """What that meant when it was set; None: everything."""
    acknowledge = BooleanField(default=False)
    aliases = JsonField(default=list)
    poll_seconds = IntegerField(default=60)
    max_message_bytes = BigIntegerField(default=100 << 20)
    created_at = InstantField()
    cursor = TextField(null=True)
    baseline_at = InstantField(null=True)
    """When a first complete listing was done: undated messages seen before are old."""
    account_since = InstantField(null=True)
    """When the incoming side was pointed to another account, if it ever was."""
    recognised_at = InstantField(null=True)
    """When it was last looked through for mail that is known, under refs that are not."""

    @property
    def is_to_be_recognised(self) -> bool:
        """Say whether the account is another one since it was looked through."""
        since, recognised_at = self.account_since, self.recognised_at
        return since is not None and (recognised_at is None or recognised_at < since)

    @property
    def first_contact_at(self) -> Any:
        """Since when this account is watched: what it received before is never acknowledged.

        Servers give dates in whole seconds. A new mailbox gets the benefit of the doubt, another
        account does not.
        """
        return self.account_since or self.created_at.replace(microsecond=0)


class Side(Table):
    """The incoming or the outgoing side of a mailbox: settings, lease, and how it fares."""

    if TYPE_CHECKING:
        mailbox_id: int
    id = AutoField()
    mailbox = ForeignKeyField(Mailbox, backref="sides", on_delete="CASCADE")
    direction = TextField()
    """`in` or `out`. No sides: `import`, the lease of what an import does, and `former`, the
    incoming side as it was before a migration."""
    transport = TextField()
    settings_version = IntegerField(default=1)
    settings = JsonField(default=dict)
    """Without the secret ones."""
    secret_fields = JsonField(default=list)
    """Names of the secret settings, so that they stay masked where the plugin is missing."""
    sealed = SealedField(null=True)
    """The secret ones, as a sealed JSON object."""
    send_as = TextField(null=True)
    reply_to = TextField(null=True)
    save_to_sent = BooleanField(default=True)
    # Lease
    generation = IntegerField(default=0)
    lease_owner = TextField(null=True)
    leased_until = InstantField(null=True)
    give_way_at = InstantField(null=True)
    """Somebody asked the holder for the mailbox."""
    # How it fares
    next_try_at = InstantField(default=0)
    paused_by_server = BooleanField(default=False)
    """`next_try_at` is the server's wish, or the pause after a refused password."""
    failures = IntegerField(default=0)
    down_since = InstantField(null=True)
    last_success_at = InstantField(null=True)
    last_tried_at = InstantField(null=True)

    class Meta:
        indexes = ((("mailbox", "direction"), True), (("next_try_at",), False))


class Trouble(Table):
    """An error of a side: one row from the first time until it is cleared."""

    if TYPE_CHECKING:
        side_id: int
    id = AutoField()
    side = ForeignKeyField(Side, backref="troubles", on_delete="CASCADE")
    code = TextField()
    kind = TextField()
    """`settings`, `auth`, `transient`, `bug`, `core` or `settling`: what the core does next."""
    sentence = TextField()
    next_step = TextField()
    first_seen_at = InstantField()
    last_seen_at = InstantField()
    count = IntegerField(default=1)
    next_try_at = InstantField(null=True)
    cleared_at = InstantField(null=True)

    class Meta:
        indexes = ((("side", "cleared_at"), False),)


class Credential(Table):
    """A named secret, used by any number of mailboxes; the right to fetch a token with it."""

    id = AutoField()
    name = TextField()
    name_key = TextField(unique=True)
    kind = TextField()
    settings_version = IntegerField(default=1)
    settings = JsonField(default=dict)
    """Without the secret ones."""
    secret_fields = JsonField(default=list)
    set_secrets = JsonField(default=list)
    """Names of the secret ones that are set."""
    sealed = SealedField(null=True)
    """The secret ones, as a sealed JSON object."""
    state = SealedField(null=True)
    """What the kind keeps between fetches, sealed: a token cache, a refresh token."""
    created_at = InstantField()
    changed_at = InstantField()
    """When the settings were last changed."""
    expires_at = InstantField(null=True)
    """When the secret ends, as an administrator entered it."""
    found_expires_at = InstantField(null=True)
    """The same as the kind reads it, from a certificate."""
    warned_days = IntegerField(null=True)
    """The smallest warning before the end that was given."""
    # Lease
    generation = IntegerField(default=0)
    lease_owner = TextField(null=True)
    leased_until = InstantField(null=True)
    # How it fares
    last_success_at = InstantField(null=True)
    failed_at = InstantField(null=True)
    """When the issuer last refused or was not reached; None after a success."""
    next_try_at = InstantField(null=True)
    """Not before: the pause after a refusal, or the issuer's wish."""
    error_kind = TextField(null=True)
    """`settings`, `auth` or `transient`; with code, sentence and next step what everybody is told
    until then."""
    code = TextField(null=True)
    sentence = TextField(null=True)
    next_step = TextField(null=True)
    refused_keys = JsonField(default=dict)
    """The same for tokens that are refused while others are not: `CredentialToken.key` → at and
    until (microseconds), code, sentence, next step."""


class CredentialToken(Table):
    """An access token that runners share, sealed."""

    if TYPE_CHECKING:
        credential_id: int
    id = AutoField()
    credential = ForeignKeyField(Credential, backref="tokens", on_delete="CASCADE", index=False)
    key = TextField()
    """`CredentialKind.token_key`."""
    sealed = SealedField()
    fetched_at = InstantField()
    refresh_at = InstantField(null=True)
    """From when on a new one is fetched."""
    expires_at = InstantField(null=True)
    refused_until = InstantField(null=True)
    """Runs ahead of the time with each token that a server refused; see `token_turns`."""

    class Meta:
        indexes = ((("credential", "key"), True),)


class Raw(Table):
    """Bytes of a message as the server served them, or as they were sent."""

    id = IntegerField(primary_key=True)
    sha256 = TextField()
    size = IntegerField()


class RawChunk(Table):
    """A piece of at most 1 MiB, compressed as `packing` has it, so that large messages never stand
    in memory whole."""

    id = AutoField()
    raw_id = IntegerField()
    position = IntegerField()
    body = BlobField()

    class Meta:
        indexes = ((("raw_id", "position"), True),)


class Contact(Table):
    """A person, by e-mail address."""

    id = AutoField()
    address = TextField()
    address_key = TextField(unique=True)
    name = TextField(default="")
    created_at = InstantField()


class Question(Table):
    """A customer's inquiry. Its id is its number."""

    if TYPE_CHECKING:
        segment_id: int
        mailbox_id: int
        contact_id: int | None
        topic_id: int | None
        merged_into_id: int | None
    id = IntegerField(primary_key=True)
    segment = ForeignKeyField(Segment, backref="questions", index=False)
    mailbox = ForeignKeyField(Mailbox, backref="questions")
    contact = ForeignKeyField(Contact, null=True, backref="questions")
    subject = TextField()
    status = TextField(default="unassigned")
    topic = ForeignKeyField(Topic, null=True, index=False)
    assignee = TextField(null=True)
    created_at = InstantField()
    updated_at = InstantField()
    acted = BooleanField(default=False)
    """An agent has done something with it: it is linked rather than merged."""
    merged_into = ForeignKeyField("self", null=True, backref="aliases")
    linked_to = JsonField(default=list)
    """Numbers of questions that turned out to belong together after agents had acted on both."""
    conversation = TextField(null=True)
    """The provider's conversation id, where it has one."""

    class Meta:
        indexes = ((("segment", "status"), False),)


class Message(Table):
    """One entry of a question."""

    if TYPE_CHECKING:
        question_id: int
        mailbox_id: int
    id = IntegerField(primary_key=True)
    question = ForeignKeyField(Question, backref="messages")
    mailbox = ForeignKeyField(Mailbox, backref="messages", index=False)
    kind = TextField()
    direction = TextField()
    """`in`, `out`, or `none` for a note."""
    raw_id = IntegerField(null=True)
    from_address = TextField(null=True)
    from_name = TextField(default="")
    to = JsonField(default=list)
    """Lists of [address, name]."""
    cc = JsonField(default=list)
    reply_to = JsonField(default=list)
    subject = TextField(default="")
    date = InstantField(null=True)
    received_at = InstantField(null=True)
    internet_id = TextField(null=True)
    """Its Message-ID, without brackets."""
    in_reply_to = JsonField(default=list)
    references = JsonField(default=list)
    text = TextField(default="")
    reply_text = TextField(null=True)
    """None: the same as `text`."""
    html = TextField(null=True)
    """As it came; cleaned when shown."""
    is_automatic = BooleanField(default=False)
    is_bounce = BooleanField(default=False)
    may_auto_reply = BooleanField(default=False)
    is_stranger = BooleanField(default=False)
    """The sender was no part of the conversation it joined."""
    attachments = JsonField(default=list)
    """The index of parts, without content."""
    problems = JsonField(default=list)
    author = TextField(null=True)
    """The agent, for answers and notes."""
    created_at = InstantField()


class MessageKey(Table):
    """By what a message is found from others: its own ids, and those it names."""

    id = AutoField()
    key = TextField()
    """`mail.threading.id_key` of a Message-ID."""
    names = BooleanField()
    """False: the message's own id. True: it names another's."""
    message = IntegerField(index=True)

    class Meta:
        indexes = ((("key", "names"), False),)


class Receipt(Table):
    """What became of one ref of one mailbox: the ledger."""

    if TYPE_CHECKING:
        mailbox_id: int
    id = IntegerField(primary_key=True)
    mailbox = ForeignKeyField(Mailbox, backref="receipts", index=False)
    ref = TextField()
    ref_key = TextField()
    """The ref, or its digest where it is too long for an index."""
    outcome = TextField()
    """`stored`, `duplicate`, `ignored`, `quarantined` or `refused`."""
    reason = TextField(null=True)
    """Why it is ignored, quarantined or refused."""
    because = TextField(null=True)
    """Which filter or plugin said so; for a quarantined one the error's code."""
    listed_size = IntegerField(null=True)
    received_at = InstantField(null=True)
    created_at = InstantField()
    sha256 = TextField(null=True)
    fingerprint = TextField(null=True)
    raw_id = IntegerField(null=True)
    message = IntegerField(null=True, index=True)
    """The message it became, or its twin's."""
    settle = BooleanField(default=False)
    """The disposition is still to be applied on the server."""
    settled_at = InstantField(null=True)
    gone_at = InstantField(null=True)
    tries = IntegerField(default=0)
    next_try_at = InstantField(null=True)
    """When its bytes are asked for again; while it is to be settled, when that is tried again: the
    server refused it."""


class Outbox(Table):
    """Outgoing mail and how far it got."""

    if TYPE_CHECKING:
        mailbox_id: int
        message_id: int
    id = AutoField()
    mailbox = ForeignKeyField(Mailbox, backref="outbox", index=False)
    message = ForeignKeyField(Message, backref="outbox")
    raw_id = IntegerField()
    internet_id = TextField()
    """The Message-ID, the same through all attempts."""
    sender = TextField()
    state = TextField(default="queued")
    is_automatic = BooleanField(default=False)
    recipient_key = TextField()
    """The first recipient; automatic mail is counted by it."""
    recipients = JsonField(default=list)
    """Objects of address, state (queued, accepted, refused, deferred), reply, and perhaps code."""
    handle = TextField(null=True)
    attempts = IntegerField(default=0)
    next_try_at = InstantField(null=True)
    not_before = InstantField(null=True)
    """What its server asked for; the rest of the time until `next_try_at` is our own back-off."""
    generation = IntegerField(default=0)
    created_at = InstantField()
    queued_at = InstantField()
    """Since when it is tried: a person's retry begins anew."""
    sending_since = InstantField(null=True)
    sent_at = InstantField(null=True)
    code = TextField(null=True)
    sentence = TextField(null=True)
    next_step = TextField(null=True)

    class Meta:
        indexes = (
            (("mailbox", "state", "next_try_at"), False),
            (("recipient_key", "created_at"), False),
        )


class Attempt(Table):
    """Evidence of one try to send. Rows are only added; whoever holds the outbox row."""

    if TYPE_CHECKING:
        outbox_id: int
    id = AutoField()
    outbox = ForeignKeyField(Outbox, backref="tries", on_delete="CASCADE")
    generation = IntegerField()
    at = InstantField()
    outcome = TextField()
    """`begun`, `accepted`, `deferred`, `refused`, `unknown`, `not-sent` or `found`; what a person
    did: `retried`, `held`, `cancelled` or `marked-sent`."""
    detail = TextField(default="")
    accepted = JsonField(default=list)


# Indexes with a condition: the two unique ones are what decides, see invariant 4.
Question.add_index(
    Question.index(
        Question.conversation,
        where=Question.conversation.is_null(False),
        name="question_conversation",
    )
)
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
        where=(Receipt.outcome == "stored"),
        name="receipt_stored_fingerprint",
    )
)
Receipt.add_index(
    Receipt.index(
        Receipt.mailbox,
        where=Receipt.settle,
        name="receipt_to_settle",
    )
)
Receipt.add_index(
    Receipt.index(
        Receipt.mailbox,
        Receipt.outcome,
        where=Receipt.outcome.in_(["quarantined", "refused"]),
        name="receipt_needs_person",
    )
)
Receipt.add_index(
    Receipt.index(
        Receipt.next_try_at,
        where=Receipt.next_try_at.is_null(False),
        name="receipt_next_try",
    )
)
TABLES: tuple[type[Any], ...] = (
    Setting,
    Counter,
    Segment,
    Topic,
    Filter,
    Mailbox,
    Side,
    Trouble,
    Credential,
    CredentialToken,
    Raw,
    RawChunk,
    Contact,
    Question,
    Message,
    MessageKey,
    Receipt,
    Outbox,
    Attempt,
)
