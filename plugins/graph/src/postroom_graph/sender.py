"""The sender: a message becomes a draft, and the draft is sent. So there is an id to look up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from postroom.api import (
    CheckStep,
    Context,
    OutcomeUnknown,
    Outgoing,
    Problem,
    Rejected,
    Sender,
    SendResult,
    SettingsError,
    TransientError,
    TransportError,
    codes,
)
from postroom.api.transport import Lookup

from postroom_graph.client import Client, LostError
from postroom_graph.drafts import Drafts, means_too_large, path_of
from postroom_graph.errors import GraphError
from postroom_graph.evidence import FRESH, Evidence, Trace
from postroom_graph.settings import GraphSenderSettings

_MOST_BYTES: Final = 210_000_000
"""150 MB, what an upload session takes and Exchange Online sends, in base64."""
_LOOKS: Final = (0.0, 0.3, 1.0)
"""Seconds before each look, in the end, whether a copy can be removed by now."""
_CLOSE_SECONDS: Final = 3.0
_SEND_AS: Final = frozenset(("errorsendasdenied", "errorsendonbehalfofdenied"))
_RECIPIENTS: Final = frozenset(
    "errorinvalidrecipients errorinvalidsmtpaddress errorinvalidrecipientsubfilter "
    "errormissingrecipients".split()
)


class GraphSender(Sender):
    """Sends for one mailbox."""

    def __init__(self, settings: GraphSenderSettings, context: Context) -> None:
        self._client = Client(settings, context)
        self._drafts = Drafts(self._client, settings.mime_limit_bytes)
        self._evidence = Evidence(self._client, context)
        self._mine: dict[str, str | None] = {}
        """Drafts made in this session, which nobody has tried to send: id → Message-ID."""
        self._unsaved: list[str] = []
        """Sent, and not to be kept in Sent Items."""
        self._sent_items: str | None = None

    def prepare(self, outgoing: Outgoing) -> str:
        """Make a draft; its immutable id is the handle."""
        if len(outgoing.raw) > _MOST_BYTES:
            sentence = f"The message has {len(outgoing.raw):,} bytes; Exchange sends up to 150 MB."
            raise self._rejected(codes.MESSAGE_TOO_LARGE, sentence, outgoing)
        with self._refusals("write a draft", outgoing):
            self._drafts.remove_leftovers(outgoing.message_id)
            draft = self._drafts.make(outgoing)
        self._mine[draft.id] = draft.message_id
        return draft.id

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        """Send the draft; one of an earlier session is looked at first."""
        self._tidy()
        if handle is None:
            handle = self.prepare(outgoing)
        elif handle not in self._mine:
            with self._refusals("look at the draft", outgoing):
                trace = self._sent_before(outgoing, handle)
                if trace is not None and not trace.is_draft:
                    return self._accepted(outgoing, handle, trace)
            if trace is None:
                handle = self.prepare(outgoing)
        message_id = self._mine.pop(handle, None)
        self._send(outgoing, handle)
        return self._accepted(outgoing, handle, self._look_once(handle), message_id)

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        """Look at the draft, and for a sent message with the Message-ID."""
        with self._client.doing("look for a message that was sent"):
            return self._evidence.judge(message_id, handle)

    def check(self) -> Iterator[CheckStep]:
        """Get a token; look at the mailbox; try writing and sending. Sends no mail."""
        from postroom_graph.check import sender_steps

        yield from sender_steps(self._client)

    def interrupt(self) -> None:
        """Break the connections."""
        self._client.interrupt()

    def close(self) -> None:
        """Remove copies that are not to be kept, and end the connections."""
        if self._unsaved:
            timer = threading.Timer(_CLOSE_SECONDS, self._client.interrupt)
            timer.start()
            for pause in _LOOKS:
                if self._unsaved and not self._client.interrupted.wait(pause):
                    self._tidy()
            self._unsaved.clear()
            timer.cancel()
        self._client.close()

    # ------------------------------------------------------------------ sending

    def _sent_before(self, outgoing: Outgoing, handle: str) -> Trace | None:
        """Return what became of a draft of an earlier session; None: it is to be made anew.

        A draft that is sent only now is touched first, so that its age tells of this attempt.
        """
        trace = self._evidence.look(handle)
        if trace is None:
            return self._evidence.search(outgoing.message_id)
        if trace.is_draft and (trace.age is None or trace.age > FRESH):
            self._client.ask(self._client.patch(path_of(handle), {"isRead": True}))
        return trace

    def _send(self, outgoing: Outgoing, handle: str) -> None:
        request = self._client.post(f"{path_of(handle)}/send")
        try:
            self._client.ask(request, accept=(202,))
        except LostError as lost:
            if not lost.may_have_arrived:
                raise
            raise _unknown(lost.sentence) from lost
        except GraphError as error:
            explained = self._client.explained(error, "say whether it sent a message")
            is_trouble = error.status >= 500 and explained.code is codes.SERVER_BUSY
            if error.status < 300 or (is_trouble and not error.is_throttling):
                raise _unknown(explained.sentence) from error
            if error.is_missing:
                step = "Nothing, the draft is made anew."
                gone = TransientError(codes.PROTOCOL, explained.sentence, next_step=step)
                raise gone from error
            raise self._refusal(error, "send a message", outgoing) from error

    def _look_once(self, handle: str) -> Trace | None:
        with contextlib.suppress(TransportError, GraphError):
            return self._evidence.look(handle)
        return None

    def _accepted(
        self, outgoing: Outgoing, handle: str, trace: Trace | None, message_id: str | None = None
    ) -> SendResult:
        if trace is not None and trace.message_id:
            message_id = trace.message_id
        if not outgoing.save_to_sent:
            self._unsaved.append(handle)
            if trace is not None and not trace.is_draft:
                self._tidy()
        return SendResult(
            message_id=message_id,
            accepted=outgoing.recipients,
            reply="202 Accepted by Exchange Online",
        )

    # ------------------------------------------------------------------ Sent Items

    def _tidy(self) -> None:
        """Remove copies from Sent Items. A message that is elsewhere may be on its way yet: it
        stays until it is there."""
        for handle in list(self._unsaved):
            with contextlib.suppress(TransportError, GraphError):
                trace = self._evidence.look(handle)
                if trace is not None and (trace.is_draft or trace.folder_id != self._sent_id()):
                    continue
                if trace is not None:
                    self._drafts.remove(handle)
                self._unsaved.remove(handle)

    def _sent_id(self) -> str:
        if self._sent_items is None:
            found = self._client.get("/mailFolders/sentitems", select="id,displayName")
            self._sent_items = str(found.get("id"))
        return self._sent_items

    # ------------------------------------------------------------------ refusals

    @contextlib.contextmanager
    def _refusals(self, doing: str, outgoing: Outgoing) -> Iterator[None]:
        try:
            yield
        except GraphError as error:
            raise self._refusal(error, doing, outgoing) from error

    def _refusal(self, error: GraphError, doing: str, outgoing: Outgoing) -> TransportError:
        """Tell refusals of the message from those of us."""
        explained = self._client.explained(error, doing)
        if error.says(_SEND_AS):
            problem = Problem("send_as", "the account may not send from this address")
            return SettingsError(codes.SENDER_REFUSED, explained.sentence, problems=[problem])
        if means_too_large(error):
            return self._rejected(codes.MESSAGE_TOO_LARGE, explained.sentence, outgoing)
        if error.says(_RECIPIENTS):
            return self._rejected(codes.RECIPIENT_REFUSED, explained.sentence, outgoing)
        is_about_it = error.status in (400, 406, 409, 412, 415, 422)
        if is_about_it and explained.code is codes.PROTOCOL:
            return self._rejected(codes.MESSAGE_REFUSED, explained.sentence, outgoing)
        return explained

    def _rejected(self, code: codes.Code, sentence: str, outgoing: Outgoing) -> Rejected:
        return Rejected(code, sentence, recipients=dict.fromkeys(outgoing.recipients, sentence))


def _unknown(sentence: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"The message may have been sent: {sentence}")
