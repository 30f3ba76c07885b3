"""A mailbox as Exchange Online keeps it: folders, messages with two ids, delta tokens.

What is known of the real service has its source in the docstrings: the stand-in does nothing that
is not documented, or seen by others.
"""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import hashlib
import itertools
import secrets
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any, Final

from postroom_test_servers.exchange_mime import rebuild

FOLDERS: Final = {
    "inbox": "Inbox",
    "drafts": "Drafts",
    "outbox": "Outbox",
    "sentitems": "Sent Items",
    "deleteditems": "Deleted Items",
    "junkemail": "Junk Email",
}
"""Those that every mailbox has; `archive` is not among them until it is switched on."""


def zulu(instant: datetime) -> str:
    """Return an Edm.DateTimeOffset as Graph writes it."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(eq=False)
class StoredMessage:
    """A message: found under an id that stays, and under one that changes with each move."""

    immutable_id: str
    folder: str
    raw: bytes = field(repr=False)
    received_at: datetime
    mutable_id: str = ""
    is_read: bool = False
    is_draft: bool = False
    internet_id: str = ""
    subject: str = ""
    sender: dict[str, str] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    """A JSON draft's, as they were given."""
    files: list[dict[str, Any]] = field(default_factory=list)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    sent_at: datetime | None = None
    is_unreadable: bool = False
    served: bytes | None = field(default=None, repr=False)

    def mime(self) -> bytes:
        """Return what ``$value`` serves."""
        if self.served is None:
            self.served = rebuild(self.composed())
        return self.served

    def composed(self) -> bytes:
        """Return the MIME that was given, or that the properties make."""
        return self.raw if not self.properties else composed(self)

    def described(self, item_id: str, fields: set[str] | None = None) -> dict[str, Any]:
        """Return the JSON of the message."""
        person = {"emailAddress": self.sender} if self.sender else None
        conversation = hashlib.sha256(self.subject.encode()).digest()
        whole: dict[str, Any] = {
            "receivedDateTime": zulu(self.received_at),
            "sentDateTime": zulu(self.sent_at or self.received_at),
            "createdDateTime": zulu(self.created_at),
            "lastModifiedDateTime": zulu(self.modified_at),
            "conversationId": base64.b64encode(conversation).decode(),
            "internetMessageId": self.internet_id,
            "subject": self.subject,
            "isRead": self.is_read,
            "isDraft": self.is_draft,
            "hasAttachments": bool(self.files),
            "parentFolderId": self.folder,
            "importance": "normal",
        }
        if person:
            whole |= {"from": person, "sender": person}
        if fields is not None:
            whole = {name: value for name, value in whole.items() if name.lower() in fields}
        tag = base64.b64encode(hashlib.sha256(repr(self).encode()).digest()[:12]).decode()
        return {"@odata.etag": f'W/"{tag}"', **whole, "id": item_id}


@dataclass
class Folder:
    """A folder, and at which change each message came in or went."""

    id: str
    name: str
    parent: str | None = None
    present: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    generation: int = 0


@dataclass
class Round:
    """What a token stands for: where a listing goes on."""

    folder: str
    generation: int
    refs: list[str]
    position: int
    until: int
    query: dict[str, str]
    was_empty: bool = False


class GraphMailbox:
    """One mailbox. Its methods may be called from any thread."""

    def __init__(self, address: str, name: str = "") -> None:
        self.address, self.name = address, name or "Support"
        self.lock = threading.RLock()
        self.folders: dict[str, Folder] = {}
        self.well_known: dict[str, str] = {}
        self.messages: dict[str, StoredMessage] = {}
        self.permissions = {"read", "write", "send"}
        self.send_as = {address.lower()}
        self.is_enabled_for_rest = True
        self.is_full = False
        self.rewrites_message_ids = False
        self.takes_from_of_mime = False
        self.holds_sent = False
        """Accepted drafts stay drafts until `transport` is called."""
        self.held: list[str] = []
        self.most_request_bytes = 4 << 20
        self.delivered: list[tuple[str, tuple[str, ...], bytes]] = []
        """What went out: from whom, to whom, the MIME as Exchange makes it."""
        self.refused_recipients: set[str] = set()
        self.with_empty_pages = False
        self.with_replays = False
        self._changes = itertools.count(1)
        self._change = 0
        self._numbers = itertools.count(1)
        self._rounds: dict[str, Round] = {}
        for key, shown in FOLDERS.items():
            self.well_known[key] = self.add_folder(shown).id

    # ------------------------------------------------------------------ folders

    def add_folder(self, name: str, parent: str | None = None) -> Folder:
        """Make a folder; folder ids are constant."""
        with self.lock:
            digest = hashlib.sha256(f"{self.address}/{parent}/{name}/{len(self.folders)}".encode())
            made = Folder(f"AQMk{base64.urlsafe_b64encode(digest.digest()).decode()}", name, parent)
            self.folders[made.id] = made
            return made

    def folder(self, key: str) -> Folder | None:
        """Return a folder by id or well-known name."""
        return self.folders.get(self.well_known.get(key.lower(), key))

    def children(self, parent: str | None) -> list[Folder]:
        """Return the folders in a folder, those at the top for None."""
        return [one for one in self.folders.values() if one.parent == parent]

    # ------------------------------------------------------------------ messages

    def put(
        self, raw: bytes, *, folder: str = "inbox", received_at: datetime | None = None
    ) -> StoredMessage:
        """Deliver a message."""
        with self.lock:
            head = headers_of(raw)
            message = StoredMessage(
                immutable_id=f"AAkALg{secrets.token_urlsafe(60)}=",
                folder="",
                raw=raw,
                received_at=(received_at or datetime.now(UTC)).replace(microsecond=0),
                internet_id=str(head.get("Message-ID", "")).strip(),
                subject=str(head.get("Subject", "")),
                sender=_first_person(head, "From"),
            )
            self.messages[message.immutable_id] = message
            self._place(message, self.well_known.get(folder, folder))
            return message

    def find(self, item_id: str) -> StoredMessage | None:
        """Return a message by either id."""
        found = self.messages.get(item_id)
        return found or next((m for m in self.messages.values() if m.mutable_id == item_id), None)

    def move(self, message: StoredMessage, folder: str) -> None:
        """Move a message: the immutable id stays, the other is a new one."""
        with self.lock:
            self._leave(message)
            self._place(message, folder)

    def remove(self, message: StoredMessage) -> None:
        """Delete a message, to where it can be recovered from, but not listed."""
        with self.lock:
            self._leave(message)
            self.messages.pop(message.immutable_id, None)

    def touch(self, message: StoredMessage) -> None:
        """Note that a message was changed."""
        with self.lock:
            message.modified_at = datetime.now(UTC)
            self.folders[message.folder].present[message.immutable_id] = self._next_change()

    def renew_ids(self) -> None:
        """Give every message another immutable id, as an export and import does."""
        with self.lock:
            for message in list(self.messages.values()):
                self._leave(message)
                self.messages.pop(message.immutable_id)
                message.immutable_id = f"AAkALg{secrets.token_urlsafe(60)}="
                self.messages[message.immutable_id] = message
                self._place(message, message.folder)
            for folder in self.folders.values():
                folder.generation += 1

    def _place(self, message: StoredMessage, folder: str) -> None:
        message.folder = folder
        message.mutable_id = f"AAMkAG{next(self._numbers)}-{secrets.token_urlsafe(40)}/+="
        self.folders[folder].gone.pop(message.immutable_id, None)
        self.folders[folder].present[message.immutable_id] = self._next_change()

    def _leave(self, message: StoredMessage) -> None:
        folder = self.folders[message.folder]
        folder.present.pop(message.immutable_id, None)
        folder.gone[message.immutable_id] = self._next_change()

    def _next_change(self) -> int:
        self._change = next(self._changes)
        return self._change

    # ------------------------------------------------------------------ sending

    def accept(self, message: StoredMessage) -> None:
        """Take a draft for sending: Exchange answers first, and moves it to Sent Items later."""
        self.held.append(message.immutable_id)
        if not self.holds_sent:
            self.transport()

    def transport(self) -> None:
        """Send what was accepted."""
        with self.lock:
            held, self.held = self.held, []
            for ref in held:
                message = self.messages.get(ref)
                if message is not None:
                    self._deliver(message)

    def _deliver(self, message: StoredMessage) -> None:
        raw = outgoing_of(message)
        self.delivered.append((message.sender["address"], recipients_of(message), raw))
        message.raw, message.properties, message.served = raw, {}, raw
        message.is_draft, message.is_read = False, True
        message.sent_at = message.modified_at = datetime.now(UTC)
        self.move(message, self.well_known["sentitems"])

    # ------------------------------------------------------------------ delta

    def begin_round(self, folder: Folder, query: dict[str, str], since: int = 0) -> Round:
        """Begin a listing: what came or went since a change, oldest first."""
        with self.lock:
            changed = {**folder.present, **({} if not since else folder.gone)}
            refs = sorted((r for r, at in changed.items() if at > since), key=changed.__getitem__)
            return Round(folder.id, folder.generation, refs, 0, self._change, query)

    def page(self, listing: Round, size: int) -> tuple[list[str], str, bool]:
        """Return refs of the next page, a token for what follows, and whether it was the last."""
        with self.lock:
            if self.with_empty_pages and listing.position and not listing.was_empty:
                return [], self.keep(replace(listing, was_empty=True)), False
            refs = listing.refs[listing.position : listing.position + size]
            position = listing.position + size
            if self.with_replays and listing.position:
                refs = listing.refs[listing.position - 1 : listing.position] + refs
            is_last = position >= len(listing.refs)
            following = Round(
                listing.folder,
                listing.generation,
                [] if is_last else listing.refs,
                0 if is_last else position,
                listing.until,
                dict(listing.query),
            )
            return refs, self.keep(following), is_last

    def keep(self, listing: Round) -> str:
        """Return a token for a listing, with letters that a URL has to encode."""
        token = f"R0usmc{secrets.token_urlsafe(24)}+/|='{len(self._rounds)}'"
        self._rounds[token] = listing
        return token

    def round_of(self, token: str) -> Round | None:
        """Return what a token stands for; None if it has expired, or never was."""
        found = self._rounds.get(token)
        if found is None or self.folders[found.folder].generation != found.generation:
            return None
        return found

    def expire_tokens(self) -> None:
        """Let all tokens that were given die."""
        with self.lock:
            for folder in self.folders.values():
                folder.generation += 1


# ---------------------------------------------------------------------------- MIME


def headers_of(raw: bytes) -> EmailMessage:
    """Return the header of a message, as far as Python reads it."""
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    found = email.message_from_bytes(head, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def _first_person(head: EmailMessage, name: str) -> dict[str, str]:
    with contextlib.suppress(Exception):
        one = head[name].addresses[0]
        return {"name": one.display_name or one.addr_spec, "address": one.addr_spec}
    return {}


def recipients_of(message: StoredMessage) -> tuple[str, ...]:
    """Return whom a draft goes to: Graph knows no envelope."""
    if message.properties:
        groups = [message.properties.get(f"{kind}Recipients") or [] for kind in ("to", "cc", "bcc")]
        return tuple(one["emailAddress"]["address"] for group in groups for one in group)
    head = headers_of(message.raw)
    found = [getattr(head.get(name), "addresses", ()) for name in ("To", "Cc", "Bcc")]
    return tuple(one.addr_spec for group in found for one in group)


def outgoing_of(message: StoredMessage) -> bytes:
    """Return the MIME that leaves: without Bcc, from whom the draft says, with its Message-ID."""
    raw = message.composed()
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.replace(b"\r\n ", b"\0 ").replace(b"\r\n\t", b"\0\t").split(b"\r\n")
    kept = [
        line.replace(b"\0", b"\r\n")
        for line in lines
        if not line.lower().startswith((b"bcc:", b"from:", b"message-id:"))
    ]
    sender = EmailMessage(policy=email.policy.SMTP)
    name, address = message.sender.get("name", ""), message.sender["address"]
    sender["From"] = f'"{name}" <{address}>' if name else address
    from_line = sender.as_bytes().partition(b"\r\n\r\n")[0]
    ids = b"Message-ID: " + message.internet_id.encode()
    return rebuild(b"\r\n".join([from_line, ids, *kept]) + b"\r\n\r\n" + body)


def composed(message: StoredMessage) -> bytes:
    """Return the MIME that Exchange makes of properties."""
    made, given = EmailMessage(policy=email.policy.SMTP), message.properties
    made["Subject"] = given.get("subject", "")
    for header, key in (("To", "toRecipients"), ("Cc", "ccRecipients"), ("Reply-To", "replyTo")):
        if people := given.get(key):
            made[header] = ", ".join(_written(one["emailAddress"]) for one in people)
    for one in given.get("internetMessageHeaders") or ():
        made[one["name"]] = one["value"]
    for one in given.get("singleValueExtendedProperties") or ():
        name = {"String 0x1042": "In-Reply-To", "String 0x1039": "References"}.get(one["id"])
        made[name or one["id"].rpartition(" Name ")[2]] = one["value"]
    body = given.get("body") or {}
    subtype = "html" if body.get("contentType", "text").lower() == "html" else "plain"
    made.set_content(body.get("content", ""), subtype=subtype)
    for file in message.files:
        main, _, sub = (file.get("contentType") or "application/octet-stream").partition("/")
        content = base64.b64decode(file["contentBytes"])
        if main in ("text", "message", "multipart"):
            main, sub = "application", "octet-stream"
        shown: dict[str, Any] = {"cid": f"<{file.get('contentId')}>", "disposition": "inline"}
        inline = shown if file.get("isInline") else {}
        made.add_attachment(content, maintype=main, subtype=sub, filename=file["name"], **inline)
    return made.as_bytes()


def _written(address: dict[str, str]) -> str:
    name = address.get("name", "").replace('"', "")
    return f'"{name}" <{address["address"]}>' if name else address["address"]
