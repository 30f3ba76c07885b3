"""A whole postroom around a transport under test: real database, real intake, real outbox.

Nothing of it runs by itself: a case visits a side when it wants to, and may have the runner die at
a point of the visit.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from postroom import plugins
from postroom.admin.audit import Audit, audit
from postroom.api import (
    Capability,
    Checkpoint,
    CheckStep,
    Context,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Outgoing,
    Receiver,
    Sender,
    SendResult,
    Session,
    Transport,
)
from postroom.api.transport import Delivery, Lookup, Settled, Unsettled, Wanted
from postroom.leases.command_lease import claim_for_command
from postroom.leases.leases import Keeper
from postroom.leases.owners import new_owner
from postroom.mailboxes import mailboxes, segments
from postroom.plugin_settings import stored_columns
from postroom.runner.visits import visit_incoming, visit_outgoing
from postroom.store import database, models, raws, schema
from postroom.store.models import Mailbox, Message, Outbox, Question, Receipt, Side
from postroom.testing.context import ADDRESS


class KilledError(BaseException):
    """The runner died here: nothing after it is done, as after ``kill -9``."""


# ---------------------------------------------------------------------------- what is in between


class _Mortal:
    """What both kinds of sessions have in common whose runner may die."""

    _inner: Session

    def __init__(self, inner: Any, plan: Plan) -> None:
        self._inner, self._plan = inner, plan

    def check(self) -> Iterator[CheckStep]:
        """Pass on."""
        yield from self._inner.check()

    def interrupt(self) -> None:
        """Pass on."""
        self._inner.interrupt()

    def close(self) -> None:
        """Pass on."""
        self._inner.close()


class MortalReceiver(_Mortal, Receiver):
    """A receiver whose runner may die; counts what is downloaded."""

    _inner: Receiver

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Pass on, up to the planned end."""
        for one in self._inner.fetch(cursor, limits=limits, wanted=wanted):
            if isinstance(one, Fetched):
                self._plan.downloaded += 1
            self._plan.reach("fetched" if not isinstance(one, Checkpoint) else "checkpoint")
            yield one

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Pass on, up to the planned end."""
        self._plan.reach("before settling")
        results = []
        for one in self._inner.settle(refs, disposition):
            self._plan.reach("while settling")
            results.append(one)
        self._plan.reach("after settling")
        yield from results

    def list_refs(self) -> Iterator[Listed]:
        """Pass on."""
        yield from self._inner.list_refs()


class MortalSender(_Mortal, Sender):
    """A sender whose runner may die."""

    _inner: Sender

    def prepare(self, outgoing: Outgoing) -> str | None:
        """Pass on."""
        return self._inner.prepare(outgoing)

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        """Pass on, up to the planned end."""
        self._plan.reach("before sending")
        result = self._inner.send(outgoing, handle)
        self._plan.reach("after sending")
        return result

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        """Pass on."""
        return self._inner.find_sent(message_id, handle)


class Plan:
    """Where the runner dies: at the `count`-th time that it reaches `place`."""

    def __init__(self) -> None:
        self.place, self.count = "", 0
        self.downloaded = 0

    def reach(self, place: str) -> None:
        """Die here if it is so planned."""
        if place == self.place:
            self.count -= 1
            if self.count == 0:
                raise KilledError(place)


class MortalTransport(Transport):
    """The transport under test, with the kit's context and plan."""

    def __init__(self, inner: Transport, context: Context, plan: Plan) -> None:
        self._inner, self._context, self._plan = inner, context, plan

    def __getattribute__(self, name: str) -> Any:
        if name in ("name", "title", "api", "settings_version", "capabilities"):
            return getattr(object.__getattribute__(self, "_inner"), name)
        return object.__getattribute__(self, name)

    def receiver_settings(self) -> Any:
        """Return the transport's."""
        return self._inner.receiver_settings()

    def sender_settings(self) -> Any:
        """Return the transport's."""
        return self._inner.sender_settings()

    def open_receiver(self, settings: Any, context: Context) -> Receiver:  # noqa: ARG002
        """Open the transport's, with the kit's context."""
        return MortalReceiver(self._inner.open_receiver(settings, self._context), self._plan)

    def open_sender(self, settings: Any, context: Context) -> Sender:  # noqa: ARG002
        """Open the transport's, with the kit's context."""
        return MortalSender(self._inner.open_sender(settings, self._context), self._plan)


class Letterbox(Transport):
    """An incoming side for cases of senders: holds what the case puts in."""

    name = "letterbox"
    title = "Letter box of the kit"

    def __init__(self) -> None:
        self.letters: list[bytes] = []

    def receiver_settings(self) -> Any:
        """Return settings without any field."""
        from postroom.api.settings import TransportSettings

        return TransportSettings

    def open_receiver(self, settings: Any, context: Context) -> Receiver:  # noqa: ARG002
        """Return a receiver of what is in it."""
        return _LetterboxReceiver(self.letters)


class _LetterboxReceiver(Receiver):
    def __init__(self, letters: list[bytes]) -> None:
        self._letters = {hashlib.sha256(raw).hexdigest(): raw for raw in letters}

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:  # noqa: ARG002
        for ref in wanted([Listed(ref) for ref in self._letters]):
            yield Fetched(ref, self._letters[ref])
        yield Checkpoint("")

    def settle(
        self,
        refs: Sequence[str],
        disposition: Disposition,  # noqa: ARG002
    ) -> Iterator[Settled | Unsettled]:
        yield from map(Settled, refs)

    def list_refs(self) -> Iterator[Listed]:
        yield from map(Listed, self._letters)

    def check(self) -> Iterator[CheckStep]:
        yield CheckStep("list", "ok")

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


class _KitPlugins(plugins.Plugins):
    """Only the kit's transports."""

    def __init__(self, transports: Iterable[Transport]) -> None:
        super().__init__()
        self._transports.update({one.name: one for one in transports})


# ---------------------------------------------------------------------------- the installation


class Installed:
    """A mailbox with the transport under test on one side.

    :param url: of the database, empty or with postroom's tables
    """

    def __init__(self, url: str, folder: Path, transport: Transport, context: Context) -> None:
        self._stack = ExitStack()
        self.plan = Plan()
        self.letterbox = Letterbox()
        mortal = MortalTransport(transport, context, self.plan)
        self.transport = transport
        self.plugins = _KitPlugins([mortal, self.letterbox])
        try:
            self._open(url, folder)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, url: str, folder: Path) -> None:
        environment = self._stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("POSTROOM_DATABASE", url)
        environment.setenv("POSTROOM_KEY_FILE", str(folder / "kit-key"))
        environment.delenv("POSTROOM_KEY", raising=False)
        _make_tables(url)
        database.connect(url)
        self._stack.callback(models.database.obj.close)
        self._stack.enter_context(database.connection())
        schema.upgrade()
        plugins.use(self.plugins)
        self._stack.callback(plugins.use, None)
        self._keeper = Keeper()
        self._stack.callback(self._keeper.close)
        segments.ensure_default()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_mailbox(self, **values: Any) -> Mailbox:
        """Add the mailbox, everything in it new."""
        return mailboxes.add(ADDRESS, **{"start": "all", **values})

    def add_side(
        self,
        mailbox: Mailbox,
        direction: str,
        values: Mapping[str, Any] | None,
        *,
        send_as: str | None = None,
    ) -> None:
        """Set a side up; with values None the kit's letter box."""
        transport: Transport = self.letterbox if values is None else self.transport
        incoming = direction == "in"
        model = transport.receiver_settings() if incoming else transport.sender_settings()
        assert model is not None  # noqa: S101 - for the type
        Side.create(
            mailbox=mailbox.id,
            direction=direction,
            send_as=send_as,
            transport=transport.name,
            settings_version=transport.settings_version,
            **stored_columns(model.model_validate(dict(values or {}))),
        )

    # -------------------------------------------------------------------------- visits

    def visit(self, direction: str = "in") -> BaseException | None:
        """Visit a side with everything due; return the error that ended it, if one did."""
        [side] = Side.select().where(Side.direction == direction)
        lease = claim_for_command(new_owner(), side.id, patience_seconds=5)
        result: Any
        if direction == "in":
            Receipt.update(next_try_at=database.now()).where(
                Receipt.next_try_at.is_null(False)
            ).execute()
            result = visit_incoming(lease, self.plugins, self._keeper)
        else:
            Outbox.update(next_try_at=None).where(Outbox.state == "queued").execute()
            result = visit_outgoing(lease, self.plugins, self._keeper)
        return result if isinstance(result, BaseException) else None

    def visit_and_die(self, place: str, count: int = 1, direction: str = "in") -> bool:
        """Visit a side, and have the runner die there; say whether it came that far."""
        self.plan.place, self.plan.count = place, count
        try:
            ended_by = self.visit(direction)
        except KilledError as error:
            ended_by = error
        finally:
            self.plan.place = ""
        return isinstance(ended_by, KilledError)

    # -------------------------------------------------------------------------- what is known

    def mailbox(self) -> Mailbox:
        """Return the mailbox as it is now."""
        found: Mailbox = Mailbox.get()
        return found

    def audit(self) -> Audit:
        """Hold the server against the ledger."""
        return audit(self.mailbox(), self.plugins, poll=False)

    def stored(self) -> Counter[bytes]:
        """Count the received messages that are in a question, by their bytes."""
        query = (
            Message.select(Message.raw_id)
            .join(Question, on=(Question.id == Message.question))
            .where((Message.direction == "in") & Question.merged_into.is_null())
        )
        return Counter(raws.load(row[0]) for row in database.rows(query))

    def quarantined(self) -> list[Receipt]:
        """Return the receipts of what is in quarantine."""
        return list(Receipt.select().where(Receipt.outcome == "quarantined"))

    def kept(self) -> Counter[bytes]:
        """Count what is stored or in quarantine, by its bytes."""
        ids = [one.raw_id for one in self.quarantined() if one.raw_id is not None]
        return self.stored() + Counter(raws.load(one) for one in ids)

    def outcomes(self) -> Counter[str]:
        """Count the live receipts by outcome."""
        query = Receipt.select(Receipt.outcome).where(Receipt.gone_at.is_null())
        return Counter(row[0] for row in database.rows(query))

    def unsettled(self) -> int:
        """Count what is still to be settled."""
        return int(Receipt.select().where(Receipt.settle & Receipt.gone_at.is_null()).count())

    def outbox(self) -> list[Outbox]:
        """Return the outbox, the oldest first."""
        return list(Outbox.select().order_by(Outbox.id))

    def questions(self) -> list[Question]:
        """Return the questions, the oldest first."""
        return list(Question.select().order_by(Question.id))


def strongest(able: Capability, folder: str) -> Disposition:
    """Return the disposition that would do most harm if it came too early."""
    for action, capability in (
        ("delete", Capability.DELETE),
        ("move", Capability.MOVE),
        ("seen", Capability.SEEN),
    ):
        if capability in able:
            return Disposition(action, folder if action == "move" else None)  # type: ignore[arg-type]  # one of them
    return Disposition("leave")


@functools.cache
def _sqlite_with_tables() -> bytes:
    with tempfile.TemporaryDirectory(prefix="postroom-kit-") as folder:
        path = Path(folder) / "postroom.db"
        database.connect(f"sqlite:///{path}")
        connected = models.database.obj
        with database.connection():
            schema.upgrade()
        connected.close()
        return path.read_bytes()


def _make_tables(url: str) -> None:
    """Copy a finished SQLite database where there is none: migrations take a tenth of a second."""
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and not Path(path).exists():
        Path(path).write_bytes(_sqlite_with_tables())
