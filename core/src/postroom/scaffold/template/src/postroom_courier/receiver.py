"""The receiver. A ref is the service's id of a message; the cursor is the number of the last
message that was looked at, in one generation of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPResponse

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
    SettingsError,
    Settled,
    Spool,
    TransientError,
    TransportError,
    Unavailable,
    Unsettled,
    codes,
)
from postroom.api.transport import Delivery, Wanted

from postroom_courier.client import Client
from postroom_courier.settings import CourierSettings

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Page:
    """What the service lists at once: messages in the order of their numbers."""

    generation: str
    """Another one after the service gave all messages new numbers and ids."""
    last: int
    """The number of the last message of the page."""
    messages: list[Listed]


class CourierReceiver(Receiver):
    """Retrieves from one mailbox."""

    def __init__(self, settings: CourierSettings, context: Context) -> None:
        self._client = Client(settings, context)

    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        """Look at what has a number above the cursor's; without one that fits, at everything."""
        generation, number = _read(cursor)
        page = self._page(number)
        if page.generation != generation:
            generation = page.generation
            page = self._page(0)
        while page.messages:
            chosen = wanted(page.messages)
            for listed in page.messages:
                if listed.ref in chosen:
                    delivery = self._deliver(listed, limits)
                    if delivery is not None:
                        yield delivery
            yield Checkpoint(f"{generation};{page.last}")
            page = self._next(page)
        yield Checkpoint(f"{generation};{page.last}")

    def list_refs(self) -> Iterator[Listed]:
        """Yield everything."""
        page = self._page(0)
        while page.messages:
            yield from page.messages
            page = self._next(page)

    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        """Mark or delete message by message; one that is gone is settled."""
        for ref in refs:
            match disposition.action:
                case "leave":
                    status = 204
                case "seen":
                    status, _ = self._client.call("POST", f"/messages/{ref}/seen")
                case "delete":
                    status, _ = self._client.call("DELETE", f"/messages/{ref}")
                case _:
                    sentence = f"Courier cannot do this with messages: {disposition}."
                    raise SettingsError(codes.DISPOSITION_UNSUPPORTED, sentence)
            if status not in (204, 404):
                raise self._client.unexpected(status)
            yield Settled(ref)

    def check(self) -> Iterator[CheckStep]:
        """Connect, log in, list."""
        return self._client.check(lambda: self._page(0))

    def interrupt(self) -> None:
        """End what waits for the server."""
        self._client.interrupt()

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    # ------------------------------------------------------------------ the steps

    def _page(self, after: int) -> Page:
        status, answer = self._client.call("GET", f"/messages?after={after}")
        if status != 200:
            raise self._client.unexpected(status)
        messages = answer["messages"]
        last = messages[-1]["number"] if messages else after
        return Page(answer["generation"], last, [_listed(one) for one in messages])

    def _next(self, page: Page) -> Page:
        following = self._page(page.last)
        if following.generation != page.generation:  # what was listed so far has other ids now
            sentence = f"{self._client.where} gave new numbers while it was listed."
            raise TransientError(codes.SERVER_BUSY, sentence)
        return following

    def _deliver(self, listed: Listed, limits: Limits) -> Delivery | None:
        """Download a message; None where it is no longer there."""
        if listed.size is not None and listed.size > limits.max_message_bytes:
            return Oversized(listed.ref, listed.size, listed.received_at)
        with self._client.request("GET", f"/messages/{listed.ref}") as response:
            if response.status == 404:
                return None
            if response.status != 200:
                sentence = f"{self._client.where} would not hand out a message."
                error = TransportError(codes.MESSAGE_UNREADABLE, sentence)
                return Unavailable(listed.ref, error, listed.received_at, listed.size)
            raw = self._download(response, limits)
        return Fetched(listed.ref, raw, listed.received_at)

    def _download(self, response: HTTPResponse, limits: Limits) -> bytes | Spool:
        size = int(response.getheader("Content-Length") or 0)
        if size <= limits.spool_above:
            raw = response.read()
            self._expect(size, len(raw))
            return raw
        spool = Spool()
        try:
            while piece := response.read(_PIECE):
                spool.write(piece)
            self._expect(size, len(spool))
        except BaseException:
            spool.close()
            raise
        return spool

    def _expect(self, size: int, came: int) -> None:
        if came != size:
            sentence = f"{self._client.where} broke off in a message."
            raise TransientError(codes.CONNECTION_LOST, sentence)


def _listed(message: dict[str, str | int]) -> Listed:
    received_at = datetime.fromisoformat(str(message["received_at"]))
    return Listed(str(message["id"]), received_at, int(message["size"]))


def _read(cursor: str | None) -> tuple[str, int]:
    """Return generation and number; a cursor that does not fit means a listing from the start."""
    generation, _, number = (cursor or "").partition(";")
    return generation, int(number) if number.isascii() and number.isdigit() else 0
