"""The session that the core works with: sends message after message over one connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from postroom.api import (
    CheckStep,
    Context,
    Outgoing,
    Rejected,
    Sender,
    SendResult,
    TransientError,
    TransportError,
    codes,
)

from postroom_smtp.addresses import Path, path_of
from postroom_smtp.check import check_steps
from postroom_smtp.connection import Connection
from postroom_smtp.letter import Letter
from postroom_smtp.offer import servable
from postroom_smtp.outcome import Outcome
from postroom_smtp.transaction import Transaction

if TYPE_CHECKING:
    from postroom_smtp.settings import SmtpSettings


class SmtpSender(Sender):
    """Sends for one mailbox; connects at the first message and reconnects where it must."""

    def __init__(self, settings: SmtpSettings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._interrupted = threading.Event()
        self._connection = Connection(settings, context, self._interrupted)

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:  # noqa: ARG002
        """Send one message, in as many transactions as the server wants; see `Sender.send`.

        A server that takes only so many recipients at a time (RFC 5321 section 4.5.3.1.8) is given
        the rest at once. Should that break, the result holds what was achieved before.
        """
        letter = Letter.of(outgoing)
        total = Outcome()
        sender = _sender_path(outgoing)
        remaining = _usable(outgoing.recipients, total)
        while remaining:
            try:
                outcome = self._transact(letter, sender, remaining)
            except TransportError as error:
                if not total.accepted:
                    raise
                total.fold(error, remaining)
                break
            total.add(outcome)
            remaining = outcome.overflow
        return total.result(self._connection.where)

    def check(self) -> Iterator[CheckStep]:
        """Resolve, connect, TLS, log in, and ask whether the mailbox may send; send nothing."""
        self._connection.quit()
        yield from check_steps(self._connection, self._settings, self._context.mailbox)
        self._connection.quit()

    def interrupt(self) -> None:
        """End what another thread waits for: TransientError, or OutcomeUnknown after the dot."""
        self._interrupted.set()
        self._connection.wire.shut()

    def close(self) -> None:
        """Say good-bye, within seconds."""
        self._connection.quit()

    def _transact(self, letter: Letter, sender: Path, recipients: Sequence[Path]) -> Outcome:
        self._get_ready()
        outcome = Outcome()
        letter = letter.fitted(self._connection.offered)
        takeable = servable(self._connection, letter, sender, recipients, outcome)
        if takeable:
            try:
                outcome.add(Transaction(self._connection, letter, sender).run(takeable))
            except Rejected:
                raise  # about the message; the connection serves the next one
            except TransportError:
                self._connection.drop()
                raise
        return outcome

    def _get_ready(self) -> None:
        """Have an open connection between two messages. One that the server closed while it was
        idle is replaced, for nothing of this message was sent yet."""
        if self._connection.is_open:
            try:
                self._connection.reset()
            except TransientError as error:
                self._connection.drop()
                if self._interrupted.is_set():
                    raise
                self._context.logger.debug("connecting again: %s", error)
        if not self._connection.is_open:
            self._connection.open()


def _sender_path(outgoing: Outgoing) -> Path:
    try:
        return path_of(outgoing.sender)
    except ValueError as error:
        sentence = f"The sender's address cannot be used: it {error}."
        refused = dict.fromkeys(outgoing.recipients, sentence)
        raise Rejected(codes.SENDER_REFUSED, sentence, recipients=refused) from error


def _usable(addresses: Sequence[str], total: Outcome) -> list[Path]:
    """Return the paths of addresses that may go on the wire, each once; refuse the others."""
    paths = []
    for address in dict.fromkeys(addresses):
        try:
            path = path_of(address)
            if not address:
                raise ValueError("is empty")
        except ValueError as error:
            total.refuse_unasked(address, codes.RECIPIENT_REFUSED, f"The address {error}.")
        else:
            paths.append(path)
    return paths
