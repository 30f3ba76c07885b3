"""The result: what intake needs of a message, made without the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from postroom.mail.message import ParsedMessage
from postroom.store.packing import Packed, pack

if TYPE_CHECKING:
    from postroom.api.transport import Spool
    from postroom.api.verdict import MailboxView
    from postroom.classification import Classified
    from postroom.mail.large import Pages
    from postroom.mail.ondisk import OnDisk

Read = TypeVar("Read")
Made = TypeVar("Made")


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Understood:
    """A message understood. `parsed` may lack the attachments' contents, never their index; where
    it is classified already, it has only those headers that storing asks for."""

    parsed: ParsedMessage
    fingerprint: str
    packed: Packed
    classified: Classified | None = None


class NotUnderstoodError(Exception):
    """The worker could not understand a message; says what happened to it."""


Raws: TypeAlias = "Sequence[bytes | Spool]"
"""A batch of messages as they were served; large ones are files."""
Result = list[Understood | Exception]
"""What became of each of a batch."""


class Pending(Protocol):
    """The result of a batch, as soon as there is one."""

    def done(self) -> bool:
        """Say whether it is there."""

    def result(self) -> Result:
        """Return it, in the order of the batch; waits for it."""


class Understanding(Protocol):
    """How batches are understood."""

    def expect(self, messages: int) -> None:
        """Get ready for so many messages."""

    def understand(self, batch: Raws, view: MailboxView | None = None) -> Pending:
        """Begin to understand a batch; an exception stands for a message that could not be
        understood. With a view of its mailbox, a message may be classified as well, by what is
        built in."""


def understand_all(
    batch: Iterable[bytes | OnDisk],
    headers: Collection[str] | None = None,
    pack: Callable[[bytes | Pages], Packed] = pack,
) -> Result:
    """Understand messages in place; never raises.

    Step by step for all of them: message by message takes a quarter longer, because the code of
    one step drives that of the others out of the processor's cache.

    :param headers: those that are asked of small messages, as for `parse_all`
    """
    from postroom.mail import large, parsing  # a runner leaves reading to its workers

    read = [large.opened(raw) for raw in batch]
    packed = [_tried(pack, raw) for raw in read]
    small = iter(parsing.parse_all([raw for raw in read if isinstance(raw, bytes)], headers))
    parsed = [next(small) if isinstance(raw, bytes) else _tried(large.parse, raw) for raw in read]
    fingerprints = [_tried(large.fingerprint, raw) for raw in read]
    return [_understood(*made) for made in zip(parsed, fingerprints, packed, strict=True)]


def understand_one(raw: bytes | OnDisk) -> Understood | Exception:
    """Understand a message in place; never raises."""
    return understand_all([raw])[0]


class InPlace:
    """Understands a batch in this process, when its result is asked for."""

    def expect(self, messages: int) -> None:
        """Do nothing: there is nothing to get ready."""

    def understand(
        self,
        batch: Raws,
        view: MailboxView | None = None,  # noqa: ARG002 - classifying is left to who asks
    ) -> Pending:
        """See `Understanding`."""
        return _WhenAsked(batch)


@dataclass(frozen=True, slots=True)
class _WhenAsked:
    batch: Raws

    def done(self) -> bool:
        return False

    def result(self) -> Result:
        return understand_all(self.batch)


IN_PLACE = InPlace()


def _tried(step: Callable[[Read], Made], raw: Read) -> Made | Exception:
    try:
        return step(raw)
    except Exception as error:  # one bad message never stops a mailbox (invariant 5)
        return error


def _understood(
    parsed: ParsedMessage | Exception, fingerprint: str | Exception, packed: Packed | Exception
) -> Understood | Exception:
    for made in (parsed, fingerprint, packed):
        if isinstance(made, Exception):
            return made
    return Understood(parsed, fingerprint, packed)  # type: ignore[arg-type]  # checked above
