# ruff: noqa: ARG002 - what is optional does nothing with its arguments
"""What a plugin's author writes: the server's side of the play.

A harness makes the server do things; it asserts nothing. It is made anew for each case, with an
empty mailbox behind it. Its own look at the server must not go through the transport under test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, NoReturn

import pytest

from postroom.api import SignIn, Token


@dataclass(frozen=True, slots=True)
class Held:
    """A message that the server holds."""

    raw: bytes = field(repr=False)
    """Its bytes as the server serves them."""
    seen: bool | None = None
    """Whether it is marked as seen; None where the server has no such mark."""
    folder: str = ""
    """"" for the folder that is watched, else the name of another one."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that the server took responsibility for."""

    sender: str | None
    """The envelope sender, "" for the null path; None where the server has no envelope."""
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)


def without(reason: str, *names: str) -> dict[str, str]:
    """Return an `unsupported` with one reason for several names."""
    return dict.fromkeys(names, reason)


NETWORK: Final = (
    *("refuse_password", "be_slow", "be_silent", "throttle", "expire_token", "connections"),
    *("cut_connection", "cut_other_way", "traffic", "traffic_other_way", "drop_connections"),
    *("cut_before_end", "cut_after_end", "be_silent_after_end"),
)
"""What cannot be played where there is no network: ``unsupported = without("…", *NETWORK)``."""


class Harness(ABC):
    """What both sides have in common. Methods without `abstractmethod` are optional."""

    unsupported: ClassVar[Mapping[str, str]] = {}
    """Names of optional methods that cannot be played here → why. A case that needs one is skipped
    with that reason. ``message:ID`` for a kind of message that the server does not take."""
    impatient: ClassVar[Mapping[str, Any]] = {"timeout_seconds": 1.0}
    """Settings with which a session gives a silent server up after about a second."""
    patience_seconds: ClassVar[float] = 1.0
    """How long a session with `impatient` settings may wait for one answer."""
    server_loggers: ClassVar[Collection[str]] = ()
    """Loggers of a server that runs in the test's own process: what stands in mail may be there."""
    tells_retry_after: ClassVar[bool] = True
    """Whether the server, when it throttles, can name the time to come back."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return the transport's settings as an administrator writes them, secrets in clear.

        They lead to the account that this harness plays, through whatever plays the faults.
        """

    def heal(self) -> None:  # noqa: B027 - where there are no faults there is nothing to end
        """End every fault; called between faults, before the kit looks whether all is well."""

    def refuse_password(self) -> None:
        """Let the server refuse the secret of `settings`, or every token, from now on; `heal` ends
        it."""
        self.lacks("refuse_password")

    def be_slow(self, seconds: float) -> None:
        """Let each answer of the server take so long, from now on."""
        self.lacks("be_slow")

    def be_silent(self) -> None:
        """Let the server take connections and never answer, from now on."""
        self.lacks("be_silent")

    def throttle(self, retry_after: float) -> None:
        """Let the server refuse to work and name the time, in seconds, when to come back."""
        self.lacks("throttle")

    def traffic(self) -> int:
        """Return how many bytes the server has said (a receiver's) or was told (a sender's) so far,
        in all connections together."""
        self.lacks("traffic")

    def cut_connection(self, after_bytes: int) -> None:
        """Break each connection from now on once the server has said (a receiver's) or was told (a
        sender's) so many bytes in it; 0: as soon as it is made."""
        self.lacks("cut_connection")

    def traffic_other_way(self) -> int:
        """Return how many bytes went the other way: what a receiver's server was told, what a
        sender's has said."""
        self.lacks("traffic_other_way")

    def cut_other_way(self, after_bytes: int) -> None:
        """Do as `cut_connection`, counting the bytes that go the other way."""
        self.lacks("cut_other_way")

    def token(self, purpose: str, rejected: Token | None) -> Token:
        """Return an access token, as `Context.token` does, for settings that name a credential: the
        same one each time, until it comes back as `rejected`; then a new one."""
        self.lacks("token")

    def expire_token(self) -> None:
        """Let the server refuse the tokens lent so far; what `token` gives after a rejection is
        taken. Needed where the settings name a credential."""
        self.lacks("expire_token")

    def lacks(self, name: str) -> NoReturn:
        """Skip the case where `unsupported` says why, else fail it."""
        if name in self.unsupported:
            pytest.skip(f"{type(self).__name__} cannot play {name}: {self.unsupported[name]}")
        pytest.fail(
            f"{type(self).__name__} has no {name}(), which this case needs. Give it, or say in "
            f'`unsupported = {{"{name}": "…"}}` why the server cannot be made to do that.',
            pytrace=False,
        )


class ReceiverHarness(Harness):
    """Plays the server that a receiver retrieves from."""

    oldest_first: ClassVar[bool] = True
    """Whether the server lists in the order of arrival."""
    other_folder: ClassVar[str] = "Done"
    """A folder that does not exist yet, to move to."""
    largest_page: ClassVar[int] = 100
    """How many messages the server lists at once, or takes in one request, at most. One case puts
    twice as many and one more: set it where pages are larger."""

    @abstractmethod
    def put(self, raw: bytes, received_at: datetime | None = None) -> None:
        """Deliver a message to the watched folder, unseen, after those that are there.

        :param received_at: when the server is to have received it, UTC; None: now
        """

    @abstractmethod
    def served(self, ref: str) -> bytes:
        """Return the bytes that the server serves for a ref of the transport's."""

    @abstractmethod
    def listing(self) -> list[Held]:
        """Return all that the account holds, in every folder."""

    @abstractmethod
    def remove(self, ref: str) -> None:
        """Remove a message as another client would."""

    def make_unreadable(self, ref: str) -> None:
        """Let the server list a message and not hand it out."""
        self.lacks("make_unreadable")

    def reset_ids(self) -> None:
        """Let the server give every message another name (a new UIDVALIDITY, a rebuilt store)."""
        self.lacks("reset_ids")


class SenderHarness(Harness):
    """Plays the server that a sender sends through."""

    ours: ClassVar[str] = "support@example.org"
    """The address to send from."""

    @abstractmethod
    def received(self) -> list[Arrived]:
        """Return the messages that the server took so far, for at least one recipient each."""

    def refuse_recipient(self, address: str) -> None:
        """Refuse a recipient for good, from now on."""
        self.lacks("refuse_recipient")

    def defer_recipient(self, address: str) -> None:
        """Put a recipient off, from now on; `heal` ends it."""
        self.lacks("defer_recipient")

    def refuse_message(self) -> None:
        """Refuse every message for good, from now on."""
        self.lacks("refuse_message")

    def limit_size(self, most: int) -> None:
        """Refuse messages of more than so many bytes, from now on."""
        self.lacks("limit_size")

    def cut_before_end(self) -> None:
        """Break the connection before the last byte of the next message can have left: a sender
        that has handed it to its network cannot know that it did not arrive."""
        self.lacks("cut_before_end")

    def cut_after_end(self, *, kept: bool) -> None:
        """Break the connection after the last byte of the next message, before any answer.

        :param kept: whether the server took the message nevertheless
        """
        self.lacks("cut_after_end")

    def be_silent_after_end(self, *, kept: bool) -> None:
        """Take the last byte of the next message and never answer; `kept` as in `cut_after_end`."""
        self.lacks("be_silent_after_end")

    def drop_connections(self) -> None:
        """Close what is open now, as a server does after an idle time."""
        self.lacks("drop_connections")

    def connections(self) -> int:
        """Return how many connections were made so far."""
        self.lacks("connections")

    def forget_sent(self, message_id: str) -> None:
        """Remove every trace of a message that was sent, as a person does who empties the folder
        for sent mail. Needed with `Capability.FIND_SENT`."""
        self.lacks("forget_sent")


class CredentialHarness(Harness):
    """Plays the issuer. `refuse_password` lets it refuse what stands in the settings."""

    purpose: ClassVar[str] = "imap"
    """What tokens are asked for; one of the kind's."""
    mailbox: ClassVar[str] = "support@example.org"
    """The mailbox they are asked for."""

    @abstractmethod
    def takes(self, token: str) -> bool:
        """Say whether a server takes an access token."""

    @abstractmethod
    def fetches(self) -> int:
        """Return how many requests for a token the issuer has had."""

    def issued(self) -> Collection[str]:
        """Return every access and refresh token that the issuer gave out."""
        return ()

    def sign_in(self, sign_in: SignIn) -> None:
        """Be the person who signs in. Needed where the settings want one."""
        self.lacks("sign_in")
