"""Where a sender is tried: opens sessions, sends, looks at what arrived."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from postroom.api import Capability, Outgoing, Sender, SendResult, Session
from postroom.mail import Address, parse
from postroom.testing.expectations import Outcome, attempt, expect
from postroom.testing.harness import Arrived, SenderHarness
from postroom.testing.letters import SENT_TEXT, message_id, to_send
from postroom.testing.workplace import Workplace, expect_well

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings

ANN, BOB, EVE = "ann@customer.example", "bob@customer.example", "eve@customer.example"


class SenderBench(Workplace[SenderHarness]):
    """What the sender's cases work with."""

    def model(self) -> type[TransportSettings]:
        """Return the settings' model."""
        model: type[TransportSettings] | None = self.transport.sender_settings()
        assert model is not None, "a sender needs settings"  # noqa: S101 - for the type
        return model

    def new_session(self, *, impatient: bool = False) -> Sender:
        """Return a new sender."""
        return self.open(impatient=impatient)

    def open(self, *, impatient: bool = False) -> Sender:
        """Return a new sender, closed in the end.

        :param impatient: with the harness's settings that give a silent server up soon
        """
        settings = self.model().model_validate(self.values(impatient=impatient))
        sender: Sender = self.closing(self.transport.open_sender(settings, self.context))
        return sender

    def work(self, session: Session) -> Outcome[Any]:
        """Send a message."""
        assert isinstance(session, Sender)  # noqa: S101 - it came from `new_session`
        return self.try_send(session, self.outgoing())

    def stock(self) -> list[str]:
        """There is always something to send."""
        return [SENT_TEXT]

    # -------------------------------------------------------------------------- sending

    def outgoing(
        self, *recipients: str, kind: str = "plain", sender: str | None = None
    ) -> Outgoing:
        """Return a new message for the recipients, by default for one."""
        to = recipients or (ANN,)
        ours = self.harness.ours
        raw = to_send(kind, sender=ours, to=to)
        return Outgoing(
            message_id=message_id(raw),
            sender=ours if sender is None else sender,
            recipients=to,
            raw=raw,
            from_address=ours,
        )

    def try_send(
        self, sender: Sender, outgoing: Outgoing, handle: str | None = None
    ) -> Outcome[SendResult]:
        """Prepare unless there is a handle, and send, as the core does."""
        return attempt(lambda: self._send(sender, outgoing, handle))

    @staticmethod
    def _send(sender: Sender, outgoing: Outgoing, handle: str | None) -> SendResult:
        if handle is None:
            handle = sender.prepare(outgoing)
        result = sender.send(outgoing, handle)
        check_result(result, outgoing)
        return result

    def send(self, outgoing: Outgoing, sender: Sender | None = None) -> SendResult:
        """Send through a healthy server, in a session of its own unless one is given."""
        session = sender or self.open()
        outcome = self.try_send(session, outgoing)
        if sender is None:
            session.close()
        expect_well("send", outcome.error)
        assert outcome.result is not None  # noqa: S101 - there was no error
        return outcome.result

    # -------------------------------------------------------------------------- what arrived

    def arrived(self, outgoing: Outgoing) -> list[Arrived]:
        """Return what the server took of a message, whatever its Message-ID is now."""
        subject = parse(outgoing.raw).subject
        return [one for one in self.harness.received() if parse(one.raw).subject == subject]

    def expect_arrived_once(self, outgoing: Outgoing, rule: str, *, because: str) -> None:
        """Fail unless a message has arrived, and not twice."""
        __tracebackhide__ = True
        arrived = len(self.arrived(outgoing))
        expect(arrived == 1, rule, because=because, arrived=arrived)

    def wait_for_arrival(self, outgoing: Outgoing) -> None:
        """Wait until the server has taken a message, but not for long."""
        patience = threading.Event()
        for _ in range(500):
            if self.arrived(outgoing):
                return
            patience.wait(0.01)

    def expect_same(self, outgoing: Outgoing, arrived: Arrived) -> None:
        """Fail unless what arrived is what was sent, byte by byte or as a mail program reads it."""
        if Capability.EXACT_BYTES in self.transport.capabilities:
            expect(
                arrived.raw == outgoing.raw,
                "with EXACT_BYTES the server gets the bytes of the message as they are.",
                because="what the agent sees as sent is what the customer reads, and signatures "
                "stay valid.",
                sent=outgoing.raw,
                arrived=arrived.raw,
            )
            return
        sent, came = as_read(outgoing.raw), as_read(arrived.raw)
        expect(
            sent == came,
            "without EXACT_BYTES the message is still the same to whoever reads it.",
            because="what the agent sees as sent is what the customer reads.",
            differs={name: (sent[name], came[name]) for name in sent if sent[name] != came[name]},
        )


def check_result(result: Any, outgoing: Outgoing) -> None:
    """Fail unless it is a `SendResult` that speaks of each recipient once."""
    expect(
        isinstance(result, SendResult),
        "send returns a SendResult.",
        because="the outbox row is written from it.",
        returned=result,
    )
    spoken_of = [
        *result.accepted,
        *(one.address for one in result.refused),
        *(one.address for one in result.deferred),
    ]
    expect(
        sorted(spoken_of) == sorted(outgoing.recipients),
        "a SendResult names each recipient once: accepted, refused or deferred.",
        because="a retry goes to the deferred ones, and a person is told of the refused ones.",
        recipients=outgoing.recipients,
        result=result,
    )
    problems = (*result.refused, *result.deferred)
    expect(
        all(one.reply.strip() and one.code for one in problems),
        "each refused or deferred recipient has a code and the server's words.",
        because="whoever answers the customer has to know why it did not arrive.",
        problems=problems,
    )


def as_read(raw: bytes) -> dict[str, Any]:
    """Return a message as a mail program shows it."""
    mail = parse(raw)
    return {
        "from": _people(mail.from_),
        "to": _people(*mail.to),
        "cc": _people(*mail.cc),
        "subject": mail.subject,
        "text": mail.text.rstrip() if mail.text else mail.text,
        "attachments": [(one.filename, one.sha256) for one in mail.attachments],
        "in_reply_to": mail.in_reply_to,
        "references": mail.references,
    }


def _people(*people: Address | None) -> list[tuple[str, str]]:
    """Return names and addresses; Exchange repeats an address as the name where there is none."""
    found = [one for one in people if one is not None]
    return [(one.name if one.name != one.address else "", one.address) for one in found]
