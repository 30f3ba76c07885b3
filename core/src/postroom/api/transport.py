"""The contract of a transport: one protocol, as a plugin offers it.

The core opens a `Receiver`, runs ``fetch`` and commits what it yields, then ``settle``; it opens a
`Sender`, runs ``prepare``, ``send`` and, where the outcome is unknown, ``find_sent``. Sessions are
used by one thread at a time, only ``interrupt`` comes from another.
"""

from __future__ import annotations

import enum
import hashlib
import mmap
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar

from postroom.api.errors import TransportError

if TYPE_CHECKING:
    from postroom.api.context import Context
    from postroom.api.settings import TransportSettings

API_VERSION: Final = 1

S = TypeVar("S", bound="Session")
Item = TypeVar("Item")


class Capability(enum.Flag):
    """What a transport can do beyond the must."""

    NONE = 0
    FOLDERS = enum.auto()
    """Retrieves from several folders."""
    SEEN = enum.auto()
    MOVE = enum.auto()
    DELETE = enum.auto()
    """Dispositions it can apply (`leave` always works)."""
    PUSH = enum.auto()
    """`Receiver.wait` is woken by the server; others just sleep."""
    RECEIVED_DATES = enum.auto()
    """`Listed.received_at` is always there."""
    EXACT_BYTES = enum.auto()
    """The recipient gets the bytes of `Outgoing.raw` as they are (else: equal after parsing)."""
    ENVELOPE = enum.auto()
    """`Outgoing.sender` and `recipients` are honoured, an empty sender included."""
    FIND_SENT = enum.auto()
    """`Sender.find_sent` can prove something."""


@dataclass(frozen=True, slots=True)
class Disposition:
    """What happens on the server with a message that is safely stored."""

    action: Literal["leave", "seen", "move", "delete"]
    folder: str | None = None
    """Where `move` moves to; made if missing."""

    def __str__(self) -> str:
        return f"move to {self.folder}" if self.action == "move" else self.action


# ---------------------------------------------------------------------------- receiving


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for one ``fetch``: they keep memory flat."""

    batch_count: int = 200
    batch_bytes: int = 8 << 20
    """Messages asked for at once: at most that many, and that many bytes together."""
    spool_above: int = 1 << 18
    """A message larger than this, in bytes, is yielded as a `Spool`."""
    max_message_bytes: int = 100 << 20
    """A message larger than this is not downloaded: yield `Oversized`."""
    received_dates: bool = False
    """The core needs `Listed.received_at` of messages it does not know yet, also where that costs
    a request each. A transport for which it does asks `wanted` first without dates, and then
    again, with dates, about the refs that were wanted."""

    def batches(
        self, found: Iterable[Item], size_of: Callable[[Item], int], *, most: int | None = None
    ) -> Iterator[list[Item]]:
        """Yield what is to be downloaded in groups that may be asked for at once.

        :param size_of: returns how many bytes one takes, as far as that is known
        :param most: at most so many in a group, where that is less than `batch_count`
        """
        most = self.batch_count if most is None else min(most, self.batch_count)
        batch: list[Item] = []
        size = 0
        for one in found:
            weight = size_of(one)
            if batch and (len(batch) >= most or size + weight > self.batch_bytes):
                yield batch
                batch, size = [], 0
            batch.append(one)
            size += weight
        if batch:
            yield batch


@dataclass(frozen=True, slots=True)
class Listed:
    """A message the server has. `size` in bytes and `received_at` (UTC) as the server says,
    None where it does not; equal refs with another size or date are another message."""

    ref: str
    received_at: datetime | None = None
    size: int | None = None


class Heart(threading.local):
    """Whom to tell in this thread that a session is alive. The core's affair: it gives up a session
    that neither comes back nor gives a sign of life."""

    beat: Callable[[], None] = staticmethod(lambda: None)


heart: Final = Heart()


class SpoolError(Exception):
    """The temporary folder cannot take a large message, or give it back. A plugin lets it escape:
    the core stops retrieving before anything is settled, and goes on when there is space."""


class Spool:
    """A large message on its way: written in pieces to an unnamed temporary file.

    The file is gone when the spool is closed, or with the process. The core closes what is yielded
    to it; a receiver closes what it does not yield.
    """

    def __init__(self) -> None:
        """Make the file.

        :raises SpoolError: the temporary folder is full, or there is none; let it escape
        """
        try:  # without a buffer: a full disk is noticed by the write, not by whoever reads later
            self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115
                prefix="postroom-", buffering=0
            )
        except OSError as error:
            raise _no_space(error) from error
        self._size = 0
        self._sha256: str | None = None
        self._map: mmap.mmap | None = None

    def write(self, piece: bytes) -> None:
        """Append bytes.

        :raises SpoolError: the temporary folder is full; let it escape
        """
        heart.beat()
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _no_space(error) from error
        self._size += len(piece)
        self._sha256 = None

    def __len__(self) -> int:
        return self._size

    @property
    def sha256(self) -> str:
        """Hex digest of what was written; read back when it is first asked for, before `close`.

        :raises SpoolError: the temporary folder does not give it back; let it escape
        """
        if self._sha256 is None:
            self._sha256 = self._digested()
        return self._sha256

    def _digested(self) -> str:
        from postroom.mail.ondisk import FileBytes

        digest = hashlib.sha256()
        try:
            for piece in FileBytes(self).pieces(0, self._size):
                digest.update(piece)
        except OSError as error:
            told = f"The temporary folder does not give a large message back: {error.strerror}."
            raise SpoolError(told) from error
        return digest.hexdigest()

    def fileno(self) -> int:
        """Return the number of the open file."""
        return self._file.fileno()

    def pieces(self, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the bytes from the start, in pieces of `size` bytes."""
        self._file.seek(0)
        left = self._size  # the core may write something of its own behind it
        while piece := self._file.read(min(size, left)):
            left -= len(piece)
            yield piece

    def map(self) -> mmap.mmap:
        """Return the bytes as a read-only map, valid until `close`."""
        if self._map is None:
            self._map = mmap.mmap(self.fileno(), self._size, access=mmap.ACCESS_READ)
        return self._map

    def close(self) -> None:
        """Remove the file. Safe to call twice."""
        if self._map is not None:
            self._map.close()
            self._map = None
        self._file.close()


def _no_space(error: OSError) -> SpoolError:
    return SpoolError(f"The temporary folder cannot take a large message: {error.strerror}.")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message with its bytes exactly as the server served them."""

    ref: str
    raw: bytes | Spool = field(repr=False)
    received_at: datetime | None = None
    """When the server received it, UTC; None where it does not say."""
    conversation: str | None = None
    """The provider's conversation id, where it has one."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A message that is there and cannot be read; goes to quarantine, the others go on."""

    ref: str
    error: TransportError
    received_at: datetime | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Oversized:
    """A message above `Limits.max_message_bytes`; it stays on the server, visibly."""

    ref: str
    size: int
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Once all that was yielded before is committed, this cursor may be stored.

    It covers all folders; opaque to the core; at most 64 KiB.
    """

    cursor: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The server confirmed the disposition. `new_ref`: the message's ref from now on, if that is
    known and the message is still listed: in another watched folder, or, under the same ref, where
    it was (on an IMAP server that cannot expunge it alone, say)."""

    ref: str
    new_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The disposition could not be applied to this message; it is tried again later. The error is
    told as the mailbox's, once for all of its messages; where it has `retry_after`, the visit ends
    with it."""

    ref: str
    error: TransportError


Wanted = Callable[[Sequence[Listed]], Collection[str]]
Delivery = Fetched | Unavailable | Oversized | Checkpoint


@dataclass(frozen=True, slots=True)
class CheckStep:
    """One step of a session's self-test: resolve, connect, TLS, log in, folder, permission."""

    name: str
    outcome: Literal["ok", "fail", "skip", "warn"]
    detail: str = ""
    next_step: str = ""


class Session(ABC):
    """An open conversation with a server. Every blocking call in it has a timeout.

    Opening one (`Transport.open_receiver`) connects nothing: the first call that needs the server
    does, so that `check` can report every step.
    """

    @abstractmethod
    def check(self) -> Iterator[CheckStep]:
        """Try everything the session needs, step by step; change nothing on the server.

        Yields a failing step instead of raising; later steps are then skipped.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """Make a blocked call of another thread end at once with TransientError, or return.

        Called from any thread, at any time, more than once. It holds: a call that begins after it
        ends in the same way and has done nothing. The session is only closed after it.
        """

    @abstractmethod
    def close(self) -> None:
        """End the conversation. Never raises, takes a few seconds at most, may be called twice."""

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Receiver(Session):
    """Retrieves from one mailbox."""

    @abstractmethod
    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """List what is there, ask `wanted` in pages, download what it wants.

        :param cursor: of an earlier `Checkpoint`, or None. Only an optimisation: a listing from
            the start must be possible at any time, and an unusable cursor means just that
        :param wanted: answers from the ledger which refs to download; asked *before* any bytes are
            downloaded, in pages (some hundreds or thousands of `Listed`)
        :returns: lazily; the server's order, oldest first where it can. A message that vanishes in
            between is simply not yielded; one that cannot be read is yielded as `Unavailable`. The
            last item of a complete run is a `Checkpoint`
        :raises AuthError, SettingsError, TransientError:
        """

    @abstractmethod
    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Apply the disposition; runs with no ``fetch`` open.

        :returns: `Settled` only once the server has confirmed (POP: after +OK to QUIT). A ref that
            is gone counts as settled. A message copied in an earlier try is not copied again
        :raises AuthError, SettingsError, TransientError: those not yet yielded remain unsettled
        """

    @abstractmethod
    def list_refs(self) -> Iterator[Listed]:
        """Yield every message that the mailbox holds now; for the audit and after a reset.

        :raises TransientError: connection lost; the listing is then worthless, not partial
        """

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for news; True if there may be some.

        With 0 it only gets ready: what comes from then on is told by this call or a later one.
        Only a wake-up, never truth. Called only where the transport has `Capability.PUSH`.
        """
        raise NotImplementedError


# ---------------------------------------------------------------------------- sending


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. `raw` has CRLF line ends, lines of at most 998 bytes, and no Bcc."""

    message_id: str
    """Without brackets; the same through all attempts."""
    sender: str
    """The envelope sender; "" for automatic mail (null path, RFC 3834 section 3.3)."""
    recipients: tuple[str, ...]
    """Those this attempt is for: a retry names only the deferred ones."""
    raw: bytes = field(repr=False)
    from_address: str = ""
    """The address in From, for a sender without an envelope."""
    save_to_sent: bool = True


@dataclass(frozen=True, slots=True)
class RecipientProblem:
    """Why one recipient did not get it. `reply` holds the server's words, status codes included."""

    address: str
    code: str
    reply: str


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of each recipient that was given, by its address as it was given.

    One that is left out, or named twice, counts as unknown; the visit then ends as after a bug.
    """

    message_id: str | None = None
    """As the provider has it, where it rewrites ours."""
    accepted: tuple[str, ...] = ()
    refused: tuple[RecipientProblem, ...] = ()
    deferred: tuple[RecipientProblem, ...] = ()
    retry_after: float | None = None
    """Seconds, where the server named a time for the deferred ones."""
    reply: str = ""
    """The server's words on accepting, its queue id for instance."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Proof that a message was sent."""

    message_id: str | None = None
    sent_at: datetime | None = None


class _Verdict(enum.Enum):
    NOT_SENT = "not sent"
    CANNOT_TELL = "cannot tell"


NOT_SENT: Final = _Verdict.NOT_SENT
"""Proof that a message was not sent, and will not be by itself."""
CANNOT_TELL: Final = _Verdict.CANNOT_TELL
"""No proof either way: not finding a message proves nothing."""
Lookup = Sent | Literal[_Verdict.NOT_SENT, _Verdict.CANNOT_TELL]


class Sender(Session):
    """Sends for one mailbox; several messages in one session."""

    def prepare(self, outgoing: Outgoing) -> str | None:  # noqa: ARG002
        """Return a handle (a draft's id, say) that is stored before `send`, or None.

        Called before the first attempt only: later ones, for recipients that were deferred, say,
        get the same handle, perhaps in another session. Where it is gone by then, `send` prepares
        again. Sends nothing, so it never raises OutcomeUnknown; else it raises as `send` does.
        """
        return None

    @abstractmethod
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        """Send one message.

        :raises TransientError: surely not sent, may be tried again
        :raises Rejected: refused for good, for all recipients
        :raises OutcomeUnknown: it may have been sent: the connection broke after the last byte
        :raises AuthError, SettingsError: about us, not about the message, which stays queued
        """

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:  # noqa: ARG002
        """Look for evidence on a message whose outcome is unknown.

        :returns: `Sent` or NOT_SENT on proof only: not finding it proves nothing. `Sent` may be
            about an earlier attempt that reached some recipients; the core knows that
        :raises AuthError, SettingsError, TransientError: it could not look
        """
        return CANNOT_TELL


# ---------------------------------------------------------------------------- the description


class Transport(ABC):
    """One protocol. Cheap to make and to import: it loads its library only inside its methods."""

    name: ClassVar[str]
    """What an administrator writes: ``imap``. Lower case, letters, digits and hyphens."""
    title: ClassVar[str]
    """For people: ``IMAP``."""
    api: ClassVar[int] = API_VERSION
    settings_version: ClassVar[int] = 1
    capabilities: ClassVar[Capability] = Capability.NONE
    purpose: ClassVar[str] = ""
    """What it asks `Context.token` for, where that is not its name; a check asks for the same."""

    def receiver_settings(self) -> type[TransportSettings] | None:
        """Return the settings model of the incoming side, None if it cannot receive."""
        return None

    def sender_settings(self) -> type[TransportSettings] | None:
        """Return the settings model of the outgoing side, None if it cannot send."""
        return None

    def migrate_settings(self, old_version: int, values: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Bring settings stored by an older version up to date."""
        return values

    def open_receiver(self, settings: Any, context: Context) -> Receiver:
        """Return a receiver; connects nothing yet."""
        raise NotImplementedError(f"{self.name} cannot receive")

    def open_sender(self, settings: Any, context: Context) -> Sender:
        """Return a sender; connects nothing yet."""
        raise NotImplementedError(f"{self.name} cannot send")
