"""Where a receiver is tried: opens sessions, puts mail, fetches, and cleans up."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from postroom.api import Capability, Disposition, Limits, Listed, Receiver, Session
from postroom.testing.expectations import Outcome, attempt
from postroom.testing.harness import Held, ReceiverHarness
from postroom.testing.haul import Choice, Haul, check_listed, everything
from postroom.testing.letters import confidential, letter
from postroom.testing.workplace import Workplace, expect_well

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings

LIMITS = Limits()


class ReceiverBench(Workplace[ReceiverHarness]):
    """What the receiver's cases work with."""

    def model(self) -> type[TransportSettings]:
        """Return the settings' model."""
        model: type[TransportSettings] | None = self.transport.receiver_settings()
        assert model is not None, "a receiver needs settings"  # noqa: S101 - for the type
        return model

    def new_session(self, *, impatient: bool = False) -> Receiver:
        """Return a new receiver."""
        return self.open(impatient=impatient)

    def open(self, *, impatient: bool = False) -> Receiver:
        """Return a new receiver, closed in the end.

        :param impatient: with the harness's settings that give a silent server up soon
        """
        settings = self.model().model_validate(self.values(impatient=impatient))
        receiver: Receiver = self.closing(self.transport.open_receiver(settings, self.context))
        return receiver

    def work(self, session: Session) -> Outcome[Any]:
        """Retrieve all."""
        assert isinstance(session, Receiver)  # noqa: S101 - it came from `new_session`
        return attempt(lambda: self._retrieve(session))

    @staticmethod
    def _retrieve(receiver: Receiver) -> list[str]:
        haul = Haul()
        haul.take(iter(receiver.fetch(None, limits=LIMITS, wanted=haul.ask)))
        return haul.refs

    def use(self, session: Session) -> None:
        """Retrieve all, and get ready to wait where the transport can."""
        self.work(session)
        if Capability.PUSH in self.transport.capabilities:
            assert isinstance(session, Receiver)  # noqa: S101 - it came from `new_session`
            attempt(lambda: session.wait(0))

    def stock(self) -> list[str]:
        """Put two letters."""
        words = [f"confidential-{uuid.uuid4().hex}" for _ in range(2)]
        for word in words:
            self.harness.put(confidential(word))
        return words

    def put(self, count: int = 1, *, size: int = 0) -> list[bytes]:
        """Put new letters; return them."""
        raws = [letter(size=size) for _ in range(count)]
        for raw in raws:
            self.harness.put(raw)
        return raws

    # -------------------------------------------------------------------------- using sessions

    def try_fetch(
        self,
        receiver: Receiver,
        cursor: str | None = None,
        *,
        wanted: Choice = everything,
        limits: Limits = LIMITS,
    ) -> Haul:
        """Fetch; the haul holds what came, and the error if one of the contract's ended it."""
        haul = Haul(wanted)
        outcome = attempt(
            lambda: haul.take(iter(receiver.fetch(cursor, limits=limits, wanted=haul.ask)))
        )
        haul.error = outcome.error
        return haul

    def fetch(
        self,
        cursor: str | None = None,
        *,
        wanted: Choice = everything,
        limits: Limits = LIMITS,
        receiver: Receiver | None = None,
    ) -> Haul:
        """Fetch from a healthy server, in a session of its own unless one is given."""
        session = receiver or self.open()
        haul = self.try_fetch(session, cursor, wanted=wanted, limits=limits)
        if receiver is None:
            session.close()
        expect_well("fetch", haul.error)
        return haul

    def listed(self, receiver: Receiver | None = None) -> list[Listed]:
        """List a healthy server with `list_refs`."""
        session = receiver or self.open()
        outcome = attempt(lambda: list(session.list_refs()))
        if receiver is None:
            session.close()
        expect_well("list_refs", outcome.error)
        found = outcome.result or []
        for item in found:
            check_listed(item)
        return found

    def refs(self) -> list[str]:
        """Return the refs that `list_refs` yields."""
        return [item.ref for item in self.listed()]

    def settle(
        self, refs: Sequence[str], disposition: Disposition, receiver: Receiver | None = None
    ) -> list[Any]:
        """Settle on a healthy server; return what was yielded."""
        session = receiver or self.open()
        outcome = attempt(lambda: list(session.settle(refs, disposition)))
        if receiver is None:
            session.close()
        expect_well("settle", outcome.error)
        return outcome.result or []

    def dispositions(self) -> list[Disposition]:
        """Return those that the transport declares, beside ``leave``."""
        able = self.transport.capabilities
        found = {
            Capability.SEEN: Disposition("seen"),
            Capability.MOVE: Disposition("move", self.harness.other_folder),
            Capability.DELETE: Disposition("delete"),
        }
        return [disposition for one, disposition in found.items() if one in able]

    def disposition(self, action: str) -> Disposition:
        """Return a disposition; skip the case where the transport does not declare it."""
        self.require({"seen": Capability.SEEN, "move": Capability.MOVE}.get(action, _DELETE))
        return next(one for one in self.dispositions() if one.action == action)

    def check(self) -> list[Any]:
        """Return the steps of a session's self-test."""
        session = self.open()
        steps = list(session.check())
        session.close()
        return steps

    # -------------------------------------------------------------------------- the server

    def empty(self) -> None:
        """Remove what is in the watched folder."""
        for ref in self.refs():
            self.harness.remove(ref)

    def watched(self) -> list[Held]:
        """Return what the server holds in the watched folder."""
        return [held for held in self.harness.listing() if held.folder == ""]

    def in_other_folder(self) -> list[Held]:
        """Return what the server holds where messages are moved to."""
        there = self.harness.other_folder
        return [held for held in self.harness.listing() if held.folder == there]

    def is_done(self, raw: bytes, disposition: Disposition) -> bool:
        """Say whether the server shows that a disposition was applied to a message."""
        here = [held for held in self.watched() if held.raw == raw]
        if disposition.action == "seen":
            return bool(here) and all(held.seen for held in here)
        if disposition.action == "delete":
            return not here
        return not here and sum(held.raw == raw for held in self.in_other_folder()) == 1


def choose(refs: Collection[str]) -> Choice:
    """Want these only."""
    return lambda page: [item.ref for item in page if item.ref in refs]


_DELETE = Capability.DELETE
