"""Files keep the contract too; what needs a network is not theirs to keep."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postroom.api import Transport
from postroom.testing import (
    NETWORK,
    Arrived,
    Held,
    ReceiverConformance,
    ReceiverHarness,
    SenderConformance,
    SenderHarness,
    without,
)
from postroom_local.plugin import EmlTransport, MaildirTransport, MboxTransport

HEAVY = ("mailbox", "email", "pydantic")
NO_NETWORK = without("files are read without a network", *NETWORK)
UNREADABLE = Path("/sys/bus/platform/drivers_probe")
"""A file that nobody can read, not even root: the kernel only writes it."""


class FolderHarness(ReceiverHarness):
    """Messages that are files of their own."""

    unsupported = NO_NETWORK
    impatient = {}  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir()

    def settings(self):
        return {"path": str(self.folder)}

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """Return the files of the watched folder."""

    @abstractmethod
    def new_file(self) -> Path:
        """Return the place of a new file."""

    @abstractmethod
    def ref_of(self, path: Path) -> str:
        """Return the ref of a file."""

    def put(self, raw, received_at=None):
        self.count += 1
        path = self.new_file()
        path.write_bytes(raw)
        instant = (received_at or datetime.now(UTC)).timestamp()
        instant_ns = int(instant * 1_000_000_000) + self.count * 1000
        os.utime(path, ns=(instant_ns, instant_ns))

    def path_of(self, ref: str) -> Path:
        """Return the file of a ref."""
        return next(path for path in self.files() if self.ref_of(path) == ref)

    def served(self, ref):
        return self.path_of(ref).read_bytes()

    def remove(self, ref):
        self.path_of(ref).unlink()

    def make_unreadable(self, ref):
        path = self.path_of(ref)
        path.unlink()
        path.symlink_to(UNREADABLE)

    def reset_ids(self):
        for path in list(self.files()):
            path.rename(path.with_name(f"again-{path.name}"))


class MaildirHarness(FolderHarness):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir()

    def files(self):
        return [path for name in ("new", "cur") for path in (self.folder / name).iterdir()]

    def new_file(self):
        return self.folder / "new" / f"{self.count:06}.kit"

    def ref_of(self, path):
        return path.name.partition(":2,")[0]

    def listing(self):
        here = [self._held(path, "") for path in self.files()]
        return here + [
            self._held(path, self.other_folder)
            for name in ("new", "cur")
            for path in (self.folder / f".{self.other_folder}").glob(f"{name}/*")
        ]

    @staticmethod
    def _held(path: Path, folder: str) -> Held:
        return Held(path.read_bytes(), "S" in path.name.partition(":2,")[2], folder)


class EmlHarness(FolderHarness):
    def files(self):
        return self.folder.glob("*.eml")

    def new_file(self):
        return self.folder / f"{self.count:06}.eml"

    def ref_of(self, path):
        return path.name

    def listing(self):
        return [
            Held(path.read_bytes(), None, folder)
            for folder, place in (("", self.folder), (self.other_folder, self.folder / "Done"))
            for path in sorted(place.glob("*.eml"))
        ]


class MboxHarness(ReceiverHarness):
    """One file that holds all messages."""

    unsupported = {  # noqa: RUF012
        **NO_NETWORK,
        **without("one file is readable or not", "make_unreadable"),
        **without("mbox ends each message with a line end", "message:no-line-end"),
        **without("mbox ends each message with a line end", "message:one-byte"),
        **without("a blank line separates messages", "message:ends-with-blank-lines"),
        **without("its CR would belong to the separator", "message:bare-carriage-returns"),
        **without("an mbox file has no empty messages", "message:empty"),
    }
    impatient = {}  # noqa: RUF012

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[tuple[bytes, bytes]] = []
        self.before = b""
        self._write()

    def settings(self):
        return {"path": str(self.path)}

    def put(self, raw, received_at=None):
        date = (received_at or datetime.now(UTC)).strftime("%a %b %d %H:%M:%S %Y")
        self.messages.append((f"From MAILER-DAEMON {date}\n".encode(), raw))
        self._write()

    def served(self, ref):
        return self._placed()[int(ref.partition(";")[0])]

    def listing(self):
        return [Held(raw) for _, raw in self.messages]

    def remove(self, ref):
        place = [*self._placed()].index(int(ref.partition(";")[0]))
        del self.messages[place]
        self._write()

    def reset_ids(self):
        self.before += b"\n"
        self._write()

    def _placed(self) -> dict[int, bytes]:
        placed, offset = {}, len(self.before)
        for line, raw in self.messages:
            placed[offset] = raw
            offset += len(line) + len(raw) + 1
        return placed

    def _write(self) -> None:
        self.path.write_bytes(self.before + b"".join(a + b + b"\n" for a, b in self.messages))


class MaildirSenderHarness(SenderHarness):
    unsupported = {  # noqa: RUF012
        **NO_NETWORK,
        **without("a folder takes everything", "refuse_recipient", "defer_recipient"),
        **without("a folder takes everything", "refuse_message", "limit_size"),
    }
    impatient = {}  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def settings(self):
        return {"path": str(self.folder)}

    def received(self):
        return [self._arrived(path) for path in (self.folder / "new").glob("*")]

    def _arrived(self, path: Path) -> Arrived:
        envelope = json.loads((self.folder / "envelope" / f"{path.name}.json").read_bytes())
        return Arrived(envelope["sender"], tuple(envelope["recipients"]), path.read_bytes())

    def forget_sent(self, message_id):
        for path in (self.folder / "new").glob("*"):
            path.unlink()


class Local:
    plugin = "postroom_local.plugin"
    heavy = HEAVY


class TestMaildir(Local, ReceiverConformance):
    transport: Transport = MaildirTransport()

    @pytest.fixture
    def harness(self, tmp_path: Path) -> MaildirHarness:
        return MaildirHarness(tmp_path / "Maildir")


class TestEml(Local, ReceiverConformance):
    transport: Transport = EmlTransport()

    @pytest.fixture
    def harness(self, tmp_path: Path) -> EmlHarness:
        return EmlHarness(tmp_path / "files")


class TestMbox(Local, ReceiverConformance):
    transport: Transport = MboxTransport()

    @pytest.fixture
    def harness(self, tmp_path: Path) -> MboxHarness:
        return MboxHarness(tmp_path / "mbox")

    @pytest.mark.xfail(
        reason="A ref is a message's place in the file. Whoever removes a message writes the file "
        "anew; the others are then recognised as the same mail by the core."
    )
    def test_refs_do_not_count(self, bench) -> None:
        super().test_refs_do_not_count(bench)

    @pytest.mark.xfail(
        reason="A message vanishes only with the file as it was. The run is tried again."
    )
    def test_message_that_vanishes_is_not_yielded(self, bench) -> None:
        super().test_message_that_vanishes_is_not_yielded(bench)


class TestMaildirSender(Local, SenderConformance):
    transport: Transport = MaildirTransport()

    @pytest.fixture
    def harness(self, tmp_path: Path) -> MaildirSenderHarness:
        return MaildirSenderHarness(tmp_path / "sent")
