"""One mail transaction: MAIL, RCPT, DATA, the final dot (RFC 5321 section 3.3).

Before the final dot nothing can have been accepted, whatever breaks. From the moment its first
byte is written, only the server's answer tells; without one the outcome is unknown (RFC 1047).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from postroom.api import (
    AuthError,
    Code,
    OutcomeUnknown,
    Rejected,
    TransientError,
    TransportError,
    codes,
)

from postroom_smtp.addresses import Path
from postroom_smtp.connection import Connection
from postroom_smtp.errors import busy, unexpected
from postroom_smtp.letter import Letter
from postroom_smtp.outcome import Outcome, shown
from postroom_smtp.reply import Reply

FINAL_DOT: Final = b".\r\n"
AT_DATA: Final = "the message"
AT_DOT: Final = "the end of the message"


class Transaction:
    """Hands one letter over a connection that is between two messages."""

    def __init__(self, connection: Connection, letter: Letter, sender: Path) -> None:
        self._connection = connection
        self._where = connection.where
        self._letter = letter
        self._sender = sender
        self._outcome = Outcome()
        self._taken: list[Path] = []
        """Recipients that RCPT took; whether they get it is decided after the final dot."""
        self._too_many = ""
        """The server's words on too many recipients."""

    def run(self, recipients: Sequence[Path]) -> Outcome:
        """Hand the letter over for these recipients.

        :raises TransientError: surely not sent
        :raises Rejected: the server refused the sender or the message for good
        :raises OutcomeUnknown: no clear answer after the final dot
        :raises AuthError, SettingsError: the server wants us to log in, or better
        """
        self._mail_from(recipients)
        for path in recipients:
            self._recipient(path)
        if self._taken:
            self._data()
        self._settle_overflow()
        return self._outcome

    def _mail_from(self, recipients: Sequence[Path]) -> None:
        """MAIL with the parameters that the letter needs and the server offers."""
        line = f"MAIL FROM:<{self._sender.wire}>"
        offered = self._connection.offered
        if "SIZE" in offered:
            line += f" SIZE={self._letter.size}"
        if self._letter.is_eight_bit and "8BITMIME" in offered:
            line += " BODY=8BITMIME"
        if self._letter.has_eight_bit_header or any(
            p.needs_utf8 for p in (self._sender, *recipients)
        ):
            line += " SMTPUTF8"
        reply = self._connection.command(line, at="MAIL FROM")
        if reply.is_positive:
            return
        self._raise_if_about_us(reply, "MAIL FROM")
        if reply.is_transient:
            raise busy(self._where, "MAIL FROM", reply)
        if not reply.is_permanent:
            raise unexpected(self._where, "MAIL FROM", reply)
        code, what = codes.SENDER_REFUSED, f"the sender <{self._sender.address}>"
        if _means_too_large(reply):
            code, what = codes.MESSAGE_TOO_LARGE, "the message"
        sentence = f"{self._where} refused {what}: {reply.words}"
        raise self._rejected(code, sentence, recipients, reply)

    def _recipient(self, path: Path) -> None:
        """RCPT; one recipient's refusal does not harm the others."""
        reply = self._connection.command(f"RCPT TO:<{path.wire}>", at="RCPT TO")
        if reply.is_positive:
            self._taken.append(path)
            return
        self._raise_if_about_us(reply, "RCPT TO")
        if self._means_too_many(reply):
            self._outcome.overflow.append(path)
            self._too_many = reply.words
        elif reply.is_transient:
            self._outcome.defer(path.address, codes.SERVER_BUSY, reply.words)
        elif reply.is_permanent:
            self._outcome.refuse(path.address, codes.RECIPIENT_REFUSED, reply.words)
        else:
            raise unexpected(self._where, "RCPT TO", reply)

    def _means_too_many(self, reply: Reply) -> bool:
        """452 4.5.3, and 552 for the same, RFC 5321 section 4.5.3.1.10; with another enhanced
        code they are a full disk or a full mailbox."""
        if reply.code not in (452, 552):
            return False
        return reply.enhanced[1:] == ".5.3" or (not reply.enhanced and bool(self._taken))

    def _data(self) -> None:
        """DATA, the letter, the final dot."""
        reply = self._connection.command("DATA", at="DATA")
        if reply.code != 354:
            self._raise_if_about_us(reply, "DATA")
            if reply.is_positive or reply.is_intermediate:
                raise unexpected(self._where, "DATA", reply)
            self._refused_as_a_whole(reply)
            return
        try:
            self._content()
        except TransportError:
            self._connection.drop()  # whatever we said now would be taken for the letter
            raise
        self._after_the_dot()

    def _content(self) -> None:
        """Write the letter, all but the final dot.

        Heeds a server that answers before the end, and goes perhaps: it has taken nothing, and its
        answer must not be read as the one to the final dot.
        """
        wire = self._connection.wire
        broken: TransientError | None = None
        try:
            wire.write(self._letter.stuffed(), at=AT_DATA)
        except TransientError as error:
            broken = error
        try:
            reply = wire.read_reply(at=AT_DATA) if wire.has_spoken(at=AT_DATA) else None
        except TransientError as error:
            raise broken or error from (broken or error).__cause__
        if reply is None:
            if broken is not None:
                raise broken
            return
        if reply.is_positive or reply.is_intermediate:
            raise unexpected(self._where, AT_DATA, reply) from broken
        if reply.is_transient:
            raise busy(self._where, AT_DATA, reply) from broken
        sentence = f"{self._where} refused the message: {reply.words}"
        raise self._rejected(_code_of(reply), sentence, self._taken, reply) from broken

    def _after_the_dot(self) -> None:
        """Write the final dot and heed the answer; from here on nothing is tried again."""
        wire = self._connection.wire
        try:
            wire.write(FINAL_DOT, at=AT_DOT)
            reply = wire.read_reply(at=AT_DOT, timeout=self._connection.data_timeout)
        except TransientError as error:
            self._connection.drop()
            raise self._unknown(error.sentence) from error
        if reply.code == 421:
            self._connection.drop()
        if reply.is_positive:
            self._outcome.accepted += [path.address for path in self._taken]
            self._outcome.reply = reply.words
        elif reply.is_intermediate:
            self._connection.drop()
            raise self._unknown(unexpected(self._where, AT_DOT, reply).sentence)
        else:
            self._refused_as_a_whole(reply)

    def _refused_as_a_whole(self, reply: Reply) -> None:
        """The server took none of it: all recipients of this transaction share the answer."""
        for path in self._taken:
            if reply.is_transient:
                self._outcome.defer(path.address, codes.SERVER_BUSY, reply.words)
            else:
                self._outcome.refuse(path.address, _code_of(reply), reply.words)

    def _settle_overflow(self) -> None:
        """Where nobody was accepted another transaction would do no better."""
        if not self._outcome.accepted:
            for path in self._outcome.overflow:
                self._outcome.defer(path.address, codes.SERVER_BUSY, self._too_many)
            self._outcome.overflow = []

    def _raise_if_about_us(self, reply: Reply, at: str) -> None:
        """Tell answers about this session from answers about the message."""
        if reply.code in (530, 538):  # RFC 4954 section 6, RFC 3207 section 4
            sentence = f"{self._where} wants another log-in first, at {at}: {reply.words}"
            raise AuthError(
                codes.AUTH_UNSUPPORTED,
                sentence,
                next_step="Give user name and password, and an encrypted connection.",
            )
        if reply.code in (500, 502, 503):
            self._connection.drop()
            raise unexpected(self._where, at, reply)

    def _rejected(self, code: Code, sentence: str, paths: Sequence[Path], reply: Reply) -> Rejected:
        return Rejected(code, sentence, recipients={p.address: reply.words for p in paths})

    def _unknown(self, what: str) -> OutcomeUnknown:
        count = len(self._taken)
        whom = shown(self._taken[0].address) if count == 1 else f"{count} recipients"
        return OutcomeUnknown(f"{self._where} may have accepted the message for {whom}: {what}")


def _means_too_large(reply: Reply) -> bool:
    """RFC 1870 section 6, RFC 3463 section 3.4."""
    return reply.code == 552 or reply.enhanced == "5.3.4"


def _code_of(reply: Reply) -> Code:
    """The code of a refusal of the whole message."""
    return codes.MESSAGE_TOO_LARGE if _means_too_large(reply) else codes.MESSAGE_REFUSED
