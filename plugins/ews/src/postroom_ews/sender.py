"""The sender: a draft first, whose id is kept; then SendItem, which is asked again only if refused.

After a lost answer the draft says what became of it: while it is a draft it was not sent.
"""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from typing import TYPE_CHECKING, Final, NamedTuple

from exchangelib import errors as ews
from postroom.api import (
    CANNOT_TELL,
    NOT_SENT,
    OutcomeUnknown,
    Outgoing,
    Rejected,
    Sender,
    SendResult,
    Sent,
    TransientError,
    TransportError,
    codes,
)
from postroom.api.transport import Lookup

from postroom_ews.elements import NAMES, Element, M, T, fields, id_under, instant, is_true, text
from postroom_ews.errors import GONE, UNCERTAIN, HttpRefused, code_of
from postroom_ews.exchange import MOST_WAITS, chain, failure, raise_failure
from postroom_ews.folders import Folder
from postroom_ews.leftovers import HEADER, Leftovers, mark_of
from postroom_ews.session import EwsSession

if TYPE_CHECKING:
    from postroom_ews.settings import EwsSenderSettings

TRANSIT: Final = timedelta(minutes=30)
"""An accepted draft may stay visible for a while; after so long it was not accepted."""
_FRESH: Final = timedelta(minutes=5)
_VISIBLE: Final = ("to", "cc")
_DRAFTS, _SENT = Folder("drafts"), Folder("sentitems")


class _Draft(NamedTuple):
    """What is kept of a draft."""

    id: str
    key: str
    made_at: float
    """Seconds since 1970."""

    def dumps(self) -> str:
        return json.dumps({"id": self.id, "key": self.key, "made_at": self.made_at})


def _loads(handle: str | None) -> _Draft | None:
    try:
        values = json.loads(handle or "")
        return _Draft(str(values["id"]), str(values["key"]), float(values["made_at"]))
    except (ValueError, KeyError, TypeError):
        return None


class EwsSender(EwsSession, Sender):
    """Sends for one mailbox."""

    _settings: EwsSenderSettings
    _leftovers: Leftovers | None = None

    def close(self) -> None:
        """Close the connection."""
        self._leftovers = None
        super().close()

    # ------------------------------------------------------------------ the draft

    def prepare(self, outgoing: Outgoing) -> str | None:
        """Save the message among the drafts; its id is the handle.

        What is refused for good gets no handle: `send` then tells why.
        """
        try:
            return self._save(outgoing).dumps()
        except Rejected:
            return None

    def _save(self, outgoing: Outgoing) -> _Draft:
        """Save the message; a draft that an earlier attempt did not hear of goes first."""
        leftovers = self._leftovers = self._leftovers or Leftovers(self.exchange(), self.folders())
        leftovers.remove(outgoing.message_id)
        try:
            return self._saved(outgoing)
        except TransientError:
            leftovers.forget()
            if self._has_asked() and not self._was_interrupted:
                with contextlib.suppress(TransportError):
                    leftovers.remove(outgoing.message_id)
            raise

    def _saved(self, outgoing: Outgoing) -> _Draft:
        exchange, doing = self.exchange(), "save a message"
        payload = M.CreateItem(
            M.SavedItemFolderId(self.folders().element(_DRAFTS)),
            M.Items(self._message(outgoing)),
            MessageDisposition="SaveOnly",
        )
        [message] = exchange.call("CreateItem", payload, doing, is_repeatable=False)
        if error := failure(message):
            raise exchange.explain(error, doing) from error
        found = message.find(".//t:ItemId", NAMES)
        if found is None:
            raise TransientError(codes.PROTOCOL, f"{exchange.explainer.where} saved no draft.")
        now = self._context.now().timestamp()
        return _Draft(found.get("Id"), found.get("ChangeKey", ""), now)

    def _message(self, outgoing: Outgoing) -> Element:
        parts = [T.MimeContent(b64encode(_with_hidden(outgoing)).decode(), CharacterSet="UTF-8")]
        if outgoing.from_address.lower() not in ("", self.exchange().mailbox.lower()):
            parts.append(T.From(T.Mailbox(T.EmailAddress(outgoing.from_address))))
        return T.Message(*parts)

    # ------------------------------------------------------------------ sending

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        """Send the draft."""
        exchange = self.exchange()
        draft = _loads(handle) or self._save(outgoing)
        age = self._context.now().timestamp() - draft.made_at
        if age > _FRESH.total_seconds():
            touched = self._touch(draft)
            if touched is None:
                return self._sent_before(outgoing)
            draft = touched
        try:
            self._submit_patiently(draft, keeps=outgoing.save_to_sent)
        except TransportError as error:
            if error.__cause__ is not None and code_of(error.__cause__) in GONE:
                return self._sent_before(outgoing)
            raise
        return SendResult(accepted=outgoing.recipients, reply=f"sent by {exchange.explainer.where}")

    def _submit_patiently(self, draft: _Draft, *, keeps: bool) -> None:
        """Have it sent; a server that is too busy has refused, so it is asked again after the short
        time that it names."""
        for _ in range(MOST_WAITS):
            try:
                self._submit(draft, keeps=keeps)
                return
            except TransportError:
                raise
            except Exception as error:
                judged, cause = self._judged(error), error
            if self._was_interrupted or not self.exchange().has_waited(judged):
                break
        raise judged from cause

    def _submit(self, draft: _Draft, *, keeps: bool) -> None:
        """Ask to send, once; a key that is outdated was refused, so then once more."""
        try:
            self._ask_to_send(draft, keeps=keeps)
            return
        except (ews.ErrorStaleObject, ews.ErrorIrresolvableConflict, ews.ErrorInvalidChangeKey,
                ews.ErrorChangeKeyRequired) as error:  # fmt: skip
            fresh, stale = self._look_at(draft.id), error
        if fresh is None:
            raise stale
        self._ask_to_send(draft._replace(key=fresh.key), keeps=keeps)

    def _ask_to_send(self, draft: _Draft, *, keeps: bool) -> None:
        ids = M.ItemIds(T.ItemId(Id=draft.id, ChangeKey=draft.key))
        target = [M.SavedItemFolderId(self.folders().element(_SENT))] if keeps else []
        payload = M.SendItem(ids, *target, SaveItemToFolder="true" if keeps else "false")
        [message] = self.exchange().call_once("SendItem", payload)
        raise_failure(message)

    def _judged(self, error: Exception) -> TransportError:
        """Return what an error of SendItem means: it may have been sent unless it was refused."""
        exchange = self.exchange() if not self._was_interrupted else None
        where = exchange.explainer.where if exchange else "the server"
        if isinstance(error, HttpRefused):
            is_refusal = error.status < 500 or error.status == 503
        elif any(code_of(one) in UNCERTAIN for one in chain(error)):
            is_refusal = not self._has_asked()
        else:
            is_refusal = isinstance(error, ews.ResponseMessageError) or not self._has_asked()
        if not is_refusal:
            return OutcomeUnknown(f"{where} did not say whether it sent the message.")
        if exchange is None:
            return TransientError(codes.CONNECTION_LOST, "The session was interrupted.")
        return exchange.explain(error, "send a message")

    def _has_asked(self) -> bool:
        return self._exchange is None or self._exchange.link.has_asked

    def _sent_before(self, outgoing: Outgoing) -> SendResult:
        """The draft is gone: somebody sent or deleted it."""
        where = self.exchange().explainer.where
        if self._find_copy(outgoing.message_id):
            return SendResult(accepted=outgoing.recipients, reply=f"found as sent on {where}")
        raise OutcomeUnknown(f"The draft is gone from {where}; somebody may have sent it.")

    # ------------------------------------------------------------------ evidence

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        """Look for the copy among what was sent, and whether the draft is still one."""
        if self._find_copy(message_id):
            return Sent(message_id)
        draft = _loads(handle)
        state = self._look_at(draft.id) if draft else None
        if state is None or not state.is_idle:
            return CANNOT_TELL
        age = self._context.now() - state.modified_at
        return NOT_SENT if age >= TRANSIT else CANNOT_TELL

    def _find_copy(self, message_id: str) -> bool:
        doing = "look for a message that was sent"
        payload = M.FindItem(
            M.ItemShape(T.BaseShape("IdOnly")),
            M.IndexedPageItemView(MaxEntriesReturned="1", Offset="0", BasePoint="Beginning"),
            M.Restriction(
                T.IsEqualTo(
                    T.FieldURI(FieldURI="message:InternetMessageId"),
                    T.FieldURIOrConstant(T.Constant(Value=f"<{message_id}>")),
                )
            ),
            M.ParentFolderIds(self.folders().element(_SENT)),
            Traversal="Shallow",
        )
        [message] = self.exchange().call("FindItem", payload, doing)
        if error := failure(message):
            raise self.exchange().explain(error, doing) from error
        return message.find(".//t:ItemId", NAMES) is not None

    def _look_at(self, ref: str) -> _State | None:
        """Return what the draft is now, None if it is gone."""
        names = ("item:ParentFolderId", "item:IsSubmitted", "item:IsDraft", "item:LastModifiedTime")
        shape = M.ItemShape(T.BaseShape("IdOnly"), fields(*names))
        payload, doing = M.GetItem(shape, M.ItemIds(T.ItemId(Id=ref))), "look at a draft"
        [message] = self.exchange().call("GetItem", payload, doing)
        error = failure(message)
        if error is not None:
            if code_of(error) in GONE:
                return None
            raise self.exchange().explain(error, doing) from error
        return self._state(message)

    def _state(self, message: Element) -> _State | None:
        found = message.find(".//t:ItemId", NAMES)
        modified_at = instant(text(message, ".//t:LastModifiedTime"))
        if found is None or modified_at is None:
            return None
        is_idle = (
            is_true(text(message, ".//t:IsDraft"), default=True)
            and not is_true(text(message, ".//t:IsSubmitted"))
            and id_under(message, ".//t:ParentFolderId") in (None, self.folders().id_of(_DRAFTS))
        )
        return _State(found.get("ChangeKey", ""), modified_at, is_idle)

    def _touch(self, draft: _Draft) -> _Draft | None:
        """Change an old draft, so that its time of change tells of this attempt; None if it is
        gone."""
        exchange, doing = self.exchange(), "mark a draft"
        update = T.SetItemField(T.FieldURI(FieldURI="message:IsRead"), T.Message(T.IsRead("true")))
        payload = M.UpdateItem(
            M.ItemChanges(T.ItemChange(T.ItemId(Id=draft.id), T.Updates(update))),
            MessageDisposition="SaveOnly",
            ConflictResolution="AlwaysOverwrite",
        )
        [message] = exchange.call("UpdateItem", payload, doing)
        error = failure(message)
        if error is not None:
            if code_of(error) in GONE:
                return None
            raise exchange.explain(error, doing) from error
        found = message.find(".//t:ItemId", NAMES)
        return draft._replace(key=draft.key if found is None else found.get("ChangeKey", ""))


class _State(NamedTuple):
    key: str
    modified_at: datetime
    is_idle: bool


def _with_hidden(outgoing: Outgoing) -> bytes:
    """Return the bytes with a mark, and a Bcc for recipients that stand in no header: there is no
    envelope.

    Exchange takes the Bcc out before it sends.
    """
    header = BytesHeaderParser().parsebytes(outgoing.raw)
    values = [_unicode(value) for name, value in header.raw_items() if name.lower() in _VISIBLE]
    visible = {address.lower() for _, address in getaddresses(values)}
    hidden = [one for one in outgoing.recipients if one.lower() not in visible]
    mark = f"{HEADER}: {mark_of(outgoing.message_id)}\r\n".encode()
    return mark + b"".join(_bcc(hidden)) + outgoing.raw


def _unicode(value: object) -> str:
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _bcc(addresses: Sequence[str]) -> Iterator[bytes]:
    if addresses:
        yield b"Bcc: " + ",\r\n\t".join(addresses).encode() + b"\r\n"
