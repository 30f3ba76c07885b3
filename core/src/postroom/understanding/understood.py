"""The result: what intake needs of a message, made without the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroom.mail.message import ParsedMessage
from postroom.store.packing import Packed, pack

if TYPE_CHECKING:
    from postroom.api.transport import Spool


@dataclass(frozen=True, slots=True)
class Understood:
    """A message understood. `parsed` may lack the attachments' contents, never their index."""

    parsed: ParsedMessage
    fingerprint: str
    packed: Packed


class NotUnderstoodError(Exception):
    """The worker could not understand a message; says what happened to it."""


Result = list[Understood | Exception]
Understand = Callable[[Sequence["bytes | Spool"]], Callable[[], Result]]
"""Takes a batch, and returns what gives its result, in the same order; an exception stands for a
message that could not be understood."""


def understand_one(raw: bytes | Spool) -> Understood | Exception:
    """Understand a message in place; never raises."""
    from postroom.mail.large import understand as read  # a runner leaves reading to its workers

    try:
        parsed, fingerprint = read(raw)
        return Understood(parsed, fingerprint, pack(raw))
    except Exception as error:  # one bad message never stops a mailbox (invariant 5)
        return error


def understand_here(batch: Sequence[bytes | Spool]) -> Callable[[], Result]:
    """Understand a batch in this process, when its result is asked for."""
    return lambda: [understand_one(raw) for raw in batch]
