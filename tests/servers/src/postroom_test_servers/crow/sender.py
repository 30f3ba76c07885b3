"""The sender."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from postroom.api import (
    CANNOT_TELL,
    NOT_SENT,
    CheckStep,
    Context,
    OutcomeUnknown,
    Outgoing,
    RecipientProblem,
    Rejected,
    Sender,
    SendResult,
    Sent,
    TransientError,
    codes,
)
from postroom.api.transport import Lookup

from postroom_test_servers.crow.wire import Wire


class CrowSender(Sender):
    """Sends through drafts."""

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings, self.context = settings, context
        self.wire = Wire(settings)

    def prepare(self, outgoing: Outgoing) -> str | None:
        """Make a draft."""
        self.refresh()
        return self.wire.ask("DRAFT")[1]

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        """Hand the message over."""
        recipients = self.recipients(outgoing)
        self.refresh()
        size = len(outgoing.raw)
        self.wire.ask("SEND", handle or "-", size, f"<{outgoing.sender}>", *recipients)
        with self.wire.errors():
            self.wire.write(outgoing.raw[:-1])
        return self.result(outgoing, self.after_the_end(outgoing))

    def recipients(self, outgoing: Outgoing) -> tuple[str, ...]:
        """Return the recipients; the service knows ASCII only.

        :raises Rejected: an address has other letters
        """
        strange = {one: "not ASCII" for one in outgoing.recipients if not one.isascii()}
        if strange:
            raise Rejected(
                codes.RECIPIENT_REFUSED, "Crows read ASCII addresses only.", recipients=strange
            )
        return outgoing.recipients

    def refresh(self) -> None:
        """Replace a connection that was closed while it was idle."""
        if self.wire.is_open:
            try:
                self.wire.ask("NOOP")
            except TransientError:
                if self.wire.is_interrupted:
                    raise

    def after_the_end(self, outgoing: Outgoing) -> list[str]:
        """Send the last byte; from here on nobody knows."""
        try:
            with self.wire.errors():
                self.wire.write(outgoing.raw[-1:])
                return self.wire.answer()
        except TransientError as error:
            raise OutcomeUnknown(f"{self.wire.where} may have sent it.") from error

    def result(self, outgoing: Outgoing, words: list[str]) -> SendResult:
        """Return what became of each recipient.

        :raises Rejected: all are refused
        """
        refused = [word[1:] for word in words[1:] if word[0] == "-"]
        deferred = [word[1:] for word in words[1:] if word[0] == "?"]
        if len(refused) == len(outgoing.recipients):
            raise Rejected(
                codes.RECIPIENT_REFUSED,
                f"{self.wire.where} knows none of the recipients.",
                recipients=dict.fromkeys(refused, "unknown"),
            )
        return SendResult(
            accepted=tuple(to for to in outgoing.recipients if to not in refused + deferred),
            refused=tuple(RecipientProblem(to, "unknown", "no such crow") for to in refused),
            deferred=tuple(RecipientProblem(to, "later", "asleep") for to in deferred),
        )

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        """Ask; a draft that is still one was not sent."""
        [found] = self.wire.ask("FIND", handle or "-", message_id)
        if found == "SENT":
            return Sent()
        return NOT_SENT if found == "DRAFT" else CANNOT_TELL

    def check(self) -> Iterator[CheckStep]:
        """Log in."""
        yield from self.wire.check()

    def interrupt(self) -> None:
        """Break the connection."""
        self.wire.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self.wire.drop()
