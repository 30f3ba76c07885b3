"""What became of the recipients, over one transaction or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from postroom.api import (
    Code,
    OutcomeUnknown,
    RecipientProblem,
    Rejected,
    SendResult,
    TransportError,
    codes,
)

from postroom_smtp.addresses import Path
from postroom_smtp.reply import printable, shortened


@dataclass(slots=True)
class Outcome:
    """The state of each recipient; `overflow` awaits another transaction at once."""

    accepted: list[str] = field(default_factory=list)
    refused: list[RecipientProblem] = field(default_factory=list)
    deferred: list[RecipientProblem] = field(default_factory=list)
    overflow: list[Path] = field(default_factory=list)
    reply: str = ""
    unasked: list[str] = field(default_factory=list)
    """Refused before the server was asked."""

    def add(self, later: Outcome) -> None:
        """Take in what a later transaction achieved."""
        self.accepted += later.accepted
        self.refused += later.refused
        self.deferred += later.deferred
        self.overflow = later.overflow
        self.reply = later.reply or self.reply
        self.unasked += later.unasked

    def refuse(self, address: str, code: Code, words: str) -> None:
        """Note that a recipient will never get it."""
        self.refused.append(RecipientProblem(address, str(code), words))

    def refuse_unasked(self, address: str, code: Code, sentence: str) -> None:
        """Note that the server need not be asked for a recipient, and why."""
        self.unasked.append(address)
        self.refuse(address, code, sentence)

    def defer(self, address: str, code: Code, words: str) -> None:
        """Note that a recipient may get it later."""
        self.deferred.append(RecipientProblem(address, str(code), words))

    def fold(self, error: TransportError, paths: Sequence[Path]) -> None:
        """Make an error of a later transaction the state of its recipients alone, for others have
        the message already.

        :raises OutcomeUnknown: for that there is no state of a single recipient
        """
        if isinstance(error, OutcomeUnknown):
            before = _some(self.accepted)
            raise OutcomeUnknown(f"{error.sentence} Accepted before for {before}.") from error
        for path in paths:
            if isinstance(error, Rejected):
                words = error.recipients.get(path.address, error.sentence)
                self.refuse(path.address, error.code, words)
            else:
                self.defer(path.address, error.code, error.sentence)

    def result(self, where: str) -> SendResult:
        """Return it as the core wants it.

        :raises Rejected: no recipient will ever get it
        """
        if not (self.accepted or self.deferred):
            raise self._rejection(where)
        return SendResult(
            accepted=tuple(self.accepted),
            refused=tuple(self.refused),
            deferred=tuple(self.deferred),
            reply=self.reply,
        )

    def _rejection(self, where: str) -> Rejected:
        """All were refused: either each for itself, or the message as such."""
        about_message = {c.name: c for c in (codes.MESSAGE_REFUSED, codes.MESSAGE_TOO_LARGE)}
        whole = next((p for p in self.refused if p.code in about_message), None)
        recipients = {problem.address: problem.reply for problem in self.refused}
        if whole is not None:
            sentence = f"{where} refused the message: {whole.reply}"
            return Rejected(about_message[whole.code], sentence, recipients=recipients)
        if not self.refused:
            return Rejected(codes.RECIPIENT_REFUSED, "The message names no recipient.")
        first = self.refused[0]
        more = f" (and {len(self.refused) - 1} more)" if len(self.refused) > 1 else ""
        refused = "Not sent to" if first.address in self.unasked else f"{where} cannot deliver to"
        sentence = f"{refused} {shown(first.address)}{more}: {first.reply}"
        unsupported = codes.RECIPIENT_UNSUPPORTED
        is_that = all(problem.code == unsupported.name for problem in self.refused)
        code = unsupported if is_that else codes.RECIPIENT_REFUSED
        return Rejected(code, sentence, recipients=recipients)


def shown(address: str) -> str:
    """Return an address fit for a sentence."""
    return shortened(printable(address))


def _some(addresses: Sequence[str]) -> str:
    names = ", ".join(shown(address) for address in addresses[:3])
    return names if len(addresses) <= 3 else f"{names} and {len(addresses) - 3} more"
