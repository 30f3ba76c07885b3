"""What became of each recipient of an outgoing mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from postroom.api import codes
from postroom.api.codes import Code
from postroom.api.errors import TransientError
from postroom.api.transport import SendResult
from postroom.mail.text import storable

Recipient = dict[str, Any]
"""As an outbox row keeps it: `address`, `state`, and `reply`, the server's words; `code` where it
was refused or put off."""
PENDING: Final = ("queued", "deferred")
"""The states of those whom the next attempt is for."""


class State(NamedTuple):
    """What became of one recipient."""

    state: str
    reply: str
    code: str | None = None


class Told:
    """What a plugin's result says of the recipients it was given; believed only so far.

    One that it says nothing of, or two things, may have got the message or not.
    """

    def __init__(self, asked: Sequence[str], result: SendResult) -> None:
        said = [
            *((one, State("accepted", result.reply)) for one in result.accepted),
            *((one.address, State("refused", one.reply, one.code)) for one in result.refused),
            *((one.address, State("deferred", one.reply, one.code)) for one in result.deferred),
        ]
        kinds: dict[str, set[str]] = {}
        for address, state in said:
            kinds.setdefault(address, set()).add(state.state)
        self._unasked = [*(kinds.keys() - {*asked})]
        self._states = {
            address: state
            for address, state in said
            if address not in self._unasked and len(kinds[address]) == 1
        }
        self._unheard = [address for address in asked if address not in self._states]
        self.accepted = [one for one, told in self._states.items() if told.state == "accepted"]

    @property
    def unheard(self) -> str:
        """Whose outcome is unknown, for people; empty where there is nobody."""
        return _some(self._unheard)

    @property
    def unasked(self) -> str:
        """Whom the plugin was not given, for people; empty where there is nobody."""
        return _some(self._unasked)

    def applied(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        """Return the recipients with their new states; those not heard of stay as they are."""
        return with_states(recipients, self._states)

    def bug(self, who: str) -> TransientError:
        """Return the error of a plugin whose result is not about those whom it was given."""
        wrong = [f"does not say what became of {self.unheard}"] if self._unheard else []
        wrong += [f"tells of {self.unasked}, whom it was not given"] if self._unasked else []
        return TransientError(codes.PLUGIN_BUG, f"{who} sent a message and {', and '.join(wrong)}.")


def with_states(recipients: Sequence[Recipient], states: Mapping[str, State]) -> list[Recipient]:
    """Return the recipients with what is told of them by address."""
    return [_with_state(recipient, states) for recipient in recipients]


def _with_state(recipient: Recipient, states: Mapping[str, State]) -> Recipient:
    told = states.get(recipient["address"])
    if told is None:
        return recipient
    kept = {"address": recipient["address"], "state": told.state, "reply": storable(told.reply)}
    return {**kept, "code": told.code} if told.code else kept


def have_all_accepted(recipients: Sequence[Recipient]) -> bool:
    """Say whether there is nobody left who may not have got it."""
    return all(recipient["state"] == "accepted" for recipient in recipients)


def code_of(refused: Sequence[Recipient]) -> Code:
    """Return what is wrong with recipients that were refused, after others perhaps were not."""
    unsupported = codes.RECIPIENT_UNSUPPORTED
    is_that = all(one.get("code") == unsupported.name for one in refused)
    return unsupported if is_that else codes.RECIPIENT_REFUSED


def reasons(recipients: Sequence[Recipient]) -> str:
    """Return why they have not got it, for people."""
    said = [f"{recipient['address']}: {recipient['reply']}" for recipient in recipients]
    return f"Not accepted for {_some(said, between='; ')}"


def _some(words: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(words) - 5} more" if len(words) > 5 else ""
    return between.join(words[:5]) + more
