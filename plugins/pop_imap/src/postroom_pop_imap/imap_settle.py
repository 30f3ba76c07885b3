"""Applying a disposition to messages that are safely stored.

Never lost, never doubled, never another's message touched:

- A ref of another UIDVALIDITY than the folder's is gone; nothing is done for it.
- ``move`` is UID MOVE (RFC 6851). Without it: COPY, mark ``\\Deleted``, UID EXPUNGE (RFC 4315), and
  without UIDPLUS never EXPUNGE, which would remove what others marked. Such messages stay, marked.
- A connection cut between COPY and STORE leaves a copy behind. So before COPY each message is
  marked with the keyword ``$PostroomMoving``. Whoever finds it set looks into the target first,
  and copies only what is not there: same Message-ID (where it has one), size and date of arrival,
  all of which COPY preserves (RFC 9051 section 6.4.7). A server that keeps no keywords is asked for
  every message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from postroom.api import (
    Disposition,
    SettingsError,
    Settled,
    TransportError,
    Unsettled,
    codes,
)

from postroom_pop_imap.errors import Refused, explain_unsettled
from postroom_pop_imap.imap_folders import (
    Folder,
    open_folder,
    present,
)
from postroom_pop_imap.imap_move import Mover, remove
from postroom_pop_imap.imap_names import Place, make_ref, parse_ref, uid_set
from postroom_pop_imap.imap_wire import Wire

CHUNK: Final = 500
Outcome = Settled | Unsettled


class Settlement:
    """Applies one disposition.

    :param connect: returns a usable connection
    :param watched: the folders whose messages keep a ref
    """

    def __init__(
        self, connect: Callable[[], Wire], disposition: Disposition, watched: Sequence[str]
    ) -> None:
        self._connect, self._disposition, self._watched = connect, disposition, watched

    def run(self, refs: Sequence[str]) -> Iterator[Outcome]:
        """Yield the outcome of each ref once the server has confirmed it.

        :raises SettingsError: a folder may only be read; after the other folders were done
        """
        by_folder: dict[str, list[Place]] = {}
        for ref in refs:
            place = parse_ref(ref)
            if place is None:  # an earlier transport's: nothing here has that name
                yield Settled(ref)
            else:
                by_folder.setdefault(place.folder, []).append(place)
        trouble: SettingsError | None = None
        for name, places in by_folder.items():
            try:
                yield from self._settle_folder(name, places)
            except SettingsError as error:
                trouble = trouble or error
        if trouble:
            raise trouble

    def _settle_folder(self, name: str, places: list[Place]) -> Iterator[Outcome]:
        wire = self._connect()
        try:
            folder = open_folder(wire, name, writable=True)
        except SettingsError as error:
            if error.code is not codes.FOLDER_MISSING:
                raise
            yield from (Settled(make_ref(*place)) for place in places)
            return
        uids = []
        for place in places:
            if place.validity == folder.validity:
                uids.append(place.uid)
            else:
                yield Settled(make_ref(*place))
        if uids:
            work = self._work(wire, folder)
            uids.sort()
            for start in range(0, len(uids), CHUNK):
                yield from self._settle_chunk(wire, folder, work, uids[start : start + CHUNK])

    def _work(self, wire: Wire, folder: Folder) -> Callable[[Sequence[int]], dict[int, str]]:
        """Return what applies the disposition to some UIDs, and answers with the refs from now on
        of those that are still listed."""
        needed = "\\Seen" if self._disposition.action == "seen" else "\\Deleted"
        if folder.read_only or not folder.keeps(needed):
            where = f"{wire.line.where}: the folder {folder.name}"
            raise SettingsError(codes.FOLDER_READ_ONLY, f"{where} may only be read.")
        if self._disposition.action == "move":
            return Mover(wire, folder, self._disposition.folder or "", self._watched).move
        return lambda uids: _mark(wire, folder, self._disposition.action, uids)

    def _settle_chunk(
        self,
        wire: Wire,
        folder: Folder,
        work: Callable[[Sequence[int]], dict[int, str]],
        uids: Sequence[int],
    ) -> Iterator[Outcome]:
        """Settle with one command, and where that is refused message by message."""
        try:
            new_refs = work(uids)
        except Refused as refused:
            error = explain_unsettled(refused, wire.line.where, self._doing(folder))
            if len(uids) > 1 and error.code is codes.DISPOSITION_REFUSED:
                for uid in uids:
                    yield from self._settle_chunk(wire, folder, work, [uid])
            else:
                yield from self._after_refusal(wire, folder, uids, error)
            return
        for uid in uids:
            yield Settled(make_ref(folder.name, folder.validity, uid), new_refs.get(uid))

    def _doing(self, folder: Folder) -> str:
        verb = {"seen": "mark"}.get(self._disposition.action, self._disposition.action)
        target = f" to {self._disposition.folder}" if self._disposition.folder else ""
        return f"{verb} messages of the folder {folder.name}{target}"

    def _after_refusal(
        self, wire: Wire, folder: Folder, uids: Sequence[int], error: TransportError
    ) -> Iterator[Outcome]:
        there = present(wire, folder, uids)
        for uid in uids:
            ref = make_ref(folder.name, folder.validity, uid)
            yield Unsettled(ref, error) if uid in there else Settled(ref)


def _mark(wire: Wire, folder: Folder, action: str, uids: Sequence[int]) -> dict[int, str]:
    doing = f"mark messages of the folder {folder.name}"
    if action == "seen":
        wire.ask(b"UID STORE %s +FLAGS.SILENT (\\Seen)" % uid_set(uids), doing)
        return {}
    return remove(wire, folder, doing, uids)
