"""The receiver of ``postroom deliver``: one message on standard input, up to its end."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from postroom.api import (
    Checkpoint,
    CheckStep,
    Context,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Oversized,
    Receiver,
    Settled,
    Spool,
    Unsettled,
)
from postroom.api.transport import Delivery, Wanted

from postroom_local.errors import translated

_PIECE = 1 << 20


class PipeReceiver(Receiver):
    """Delivers what standard input holds. Each time it is another message to the ledger: whether
    it is the same mail again, its content tells."""

    def __init__(self, context: Context, stream: BinaryIO | None = None) -> None:
        self._context = context
        self._stream = stream or sys.stdin.buffer
        self._ref = f"pipe;{uuid.uuid4().hex}"

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:  # noqa: ARG002
        """Deliver the message; nothing where there is none."""
        received_at = self._context.now()
        wanted([Listed(self._ref, received_at)])
        with translated("Standard input"):
            raw = self._read(limits)
        if len(raw) > limits.max_message_bytes:
            size = len(raw) + self._count_rest()
            if isinstance(raw, Spool):
                raw.close()
            yield Oversized(self._ref, size, received_at)
        elif isinstance(raw, Spool) or raw.strip():
            yield Fetched(self._ref, raw, received_at)
        yield Checkpoint("")

    def _read(self, limits: Limits) -> bytes | Spool:
        """Return the message, or as much of it as tells that it is too large."""
        head = self._stream.read(limits.spool_above + 1)
        if len(head) <= limits.spool_above:
            return head
        spool = Spool()
        try:
            piece = head
            while piece:
                spool.write(piece)
                piece = self._stream.read(_PIECE) if len(spool) <= limits.max_message_bytes else b""
        except BaseException:
            spool.close()
            raise
        return spool

    def _count_rest(self) -> int:
        """Read to the end, so that the mail server is not left with a broken pipe."""
        return sum(iter(lambda: len(self._stream.read(_PIECE)), 0))

    def list_refs(self) -> Iterator[Listed]:
        """Yield nothing: what stands in a pipe is not known before it is read."""
        yield from ()

    def settle(
        self,
        refs: Sequence[str],
        disposition: Disposition,  # noqa: ARG002
    ) -> Iterator[Settled | Unsettled]:
        """Do nothing: the mail server removes the message once the command ended well."""
        yield from (Settled(ref) for ref in refs)

    def check(self) -> Iterator[CheckStep]:
        """Nothing can be tried before there is a message."""
        yield from ()

    def interrupt(self) -> None:
        """Nothing to be done: a command that waits for its input ends by a signal."""

    def close(self) -> None:
        """Standard input is not ours to close."""
