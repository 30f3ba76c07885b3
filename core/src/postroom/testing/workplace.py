"""Where a transport is tried: what the benches of receivers and senders share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest

from postroom.api import Capability, Session
from postroom.plugin_settings import secret_fields
from postroom.testing.context import KitContext
from postroom.testing.expectations import Outcome, expect
from postroom.testing.harness import Harness

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings

H = TypeVar("H", bound=Harness)
CUTS = 16
"""At so many points a session is cut."""


class Workplace(Generic[H]):
    """What both benches share."""

    def __init__(self, transport: Any, harness: H, folder: Path) -> None:
        self.transport, self.harness, self.folder = transport, harness, folder
        self.context = KitContext(transport.name, harness)
        self._stack = ExitStack()

    def close(self) -> None:
        """End the faults, and close every session."""
        self.harness.heal()
        self._stack.close()

    def closing(self, session: Any) -> Any:
        """Have a session closed in the end, whatever it makes of that."""

        def close() -> None:
            try:
                session.close()
            except Exception as error:
                expect(
                    False,
                    "close never raises.",
                    because="it is called while other errors are on their way.",
                    raised=error,
                )

        self._stack.callback(close)
        return session

    def require(self, capability: Capability) -> None:
        """Skip the case unless the transport declares the capability."""
        if capability not in self.transport.capabilities:
            pytest.skip(f"{self.transport.name} does not declare {capability.name}")

    def values(self, *, impatient: bool = False) -> dict[str, Any]:
        """Return the settings as an administrator writes them."""
        more = self.harness.impatient if impatient else {}
        return {**self.harness.settings(), **more}

    def model(self) -> type[TransportSettings]:
        """Return the settings' model."""
        raise NotImplementedError

    def new_session(self, *, impatient: bool = False) -> Session:
        """Return a new session, closed in the end."""
        raise NotImplementedError

    def secrets(self) -> list[str]:
        """Return the values of the settings that are secret, and of the tokens that were lent."""
        values = self.values()
        settings = [str(values[name]) for name in secret_fields(self.model()) if values.get(name)]
        return settings + [token.value for token in self.context.lent]

    def work(self, session: Session) -> Outcome[Any]:
        """Do with a session what it is for: retrieve all, or send a message; the result is empty
        if nothing came of it."""
        raise NotImplementedError

    def use(self, session: Session) -> None:
        """Do what makes a session open something, whether that works or not."""
        self.work(session)

    def stock(self) -> list[str]:
        """See that there is something to work with; return what stands in the bodies only."""
        raise NotImplementedError

    def spend(self, *, interrupts: bool = False) -> None:
        """Use a session up: open it, work, close it."""
        session = self.new_session(impatient=True)
        self.use(session)
        if interrupts:
            session.interrupt()
        session.close()

    def wait_until_asked(self) -> None:
        """Wait until a session has said something to a server that is silent, but not for long:
        in some protocols the server has to begin."""
        before = self.exchanged()
        patience = threading.Event()
        for _ in range(30):
            if self.exchanged() > before:
                return
            patience.wait(0.01)

    def exchanged(self) -> int:
        """Return how many bytes went either way; 0 where the harness cannot count them."""
        counts = {
            "traffic": self.harness.traffic,
            "traffic_other_way": self.harness.traffic_other_way,
        }
        return sum(
            count() for name, count in counts.items() if name not in self.harness.unsupported
        )

    def cut_points(self, session: Callable[[], object], *, other_way: bool = False) -> list[int]:
        """Measure a whole session; return after how many bytes of it to cut: first, last, and some
        in between."""
        count = self.harness.traffic_other_way if other_way else self.harness.traffic
        before = count()
        session()
        return points(count() - before)

    def cut(self, after_bytes: int, *, other_way: bool = False) -> None:
        """Have every connection cut there from now on."""
        cut = self.harness.cut_other_way if other_way else self.harness.cut_connection
        cut(after_bytes)


def points(total: int) -> list[int]:
    """Return numbers from 0 to below `total`, spread, the ends included."""
    last = max(total - 1, 0)
    return sorted({last * step // (CUTS - 1) for step in range(CUTS)})


def expect_well(what: str, error: BaseException | None) -> None:
    """Fail if a call on a healthy server ended with an error."""
    expect(
        error is None,
        f"{what} works where the server is in order.",
        because="otherwise there is no mail.",
        raised=error,
        cause=getattr(error, "__cause__", None),
    )
