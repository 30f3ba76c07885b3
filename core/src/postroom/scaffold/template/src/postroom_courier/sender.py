"""The sender. A message is first stored as a draft, whose id is the handle; sending the draft is
the one request with consequences, so only what breaks after that one has an unknown outcome."""

from __future__ import annotations

from collections.abc import Iterator

from postroom.api import (
    AuthError,
    CheckStep,
    Context,
    OutcomeUnknown,
    Outgoing,
    RecipientProblem,
    Rejected,
    Sender,
    SendResult,
    TransientError,
    codes,
)

from postroom_courier.client import Client
from postroom_courier.settings import CourierSettings


class CourierSender(Sender):
    """Sends for one mailbox."""

    def __init__(self, settings: CourierSettings, context: Context) -> None:
        self._client = Client(settings, context)

    def prepare(self, outgoing: Outgoing) -> str:
        """Store the message as a draft; return its id."""
        with self._client.request("POST", "/drafts", outgoing.raw) as response:
            if response.status == 413:
                sentence = f"{self._client.where} takes no message of {len(outgoing.raw)} bytes."
                raise Rejected(codes.MESSAGE_TOO_LARGE, sentence)
            if response.status != 201:
                raise self._client.unexpected(response.status)
            return response.read().decode()

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        """Send the draft to the recipients of this attempt."""
        draft = handle or self.prepare(outgoing)
        envelope = {"sender": outgoing.sender, "recipients": outgoing.recipients}
        self._client.call("GET", "/account")  # the connection works, and the key is taken
        try:
            status, answer = self._client.call("POST", f"/drafts/{draft}/send", envelope)
        except AuthError:
            raise
        except TransientError as error:
            if error.code is codes.SERVER_BUSY:
                raise
            sentence = f"{self._client.where} was asked to send a message, and did not answer."
            raise OutcomeUnknown(sentence) from error
        if status == 404:
            raise TransientError(codes.PROTOCOL, f"{self._client.where} has lost a draft.")
        if status != 200:
            raise Rejected(codes.MESSAGE_REFUSED, f"{self._client.where} refused the message.")
        return _result(answer["accepted"], answer["refused"], answer["deferred"])

    def check(self) -> Iterator[CheckStep]:
        """Connect, log in."""
        return self._client.check(lambda: self._client.call("GET", "/account"))

    def interrupt(self) -> None:
        """End what waits for the server."""
        self._client.interrupt()

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def _result(accepted: list[str], refused: dict[str, str], deferred: dict[str, str]) -> SendResult:
    if refused and not (accepted or deferred):
        sentence = "The service refused every recipient."
        raise Rejected(codes.RECIPIENT_REFUSED, sentence, recipients=refused)
    return SendResult(
        accepted=tuple(accepted),
        refused=_problems(refused, codes.RECIPIENT_REFUSED.name),
        deferred=_problems(deferred, codes.SERVER_BUSY.name),
    )


def _problems(said: dict[str, str], code: str) -> tuple[RecipientProblem, ...]:
    return tuple(RecipientProblem(address, code, words) for address, words in said.items())
