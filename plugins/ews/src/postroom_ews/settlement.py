"""Applying the disposition: marked, moved or deleted, in batches, each message confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from exchangelib import errors as ews
from postroom.api import Disposition, Settled, TransientError, Unsettled

from postroom_ews.elements import Element, M, T, fields, id_under, item_ids
from postroom_ews.errors import GONE, code_of
from postroom_ews.exchange import Exchange, failure
from postroom_ews.folders import Folders

if TYPE_CHECKING:
    from postroom_ews.settings import EwsReceiverSettings

_AT_ONCE: Final = 50
Outcome = Settled | Unsettled


class Settlement:
    """Applies one disposition."""

    def __init__(
        self, exchange: Exchange, folders: Folders, settings: EwsReceiverSettings,
        disposition: Disposition,
    ) -> None:  # fmt: skip
        self._exchange, self._folders, self._settings = exchange, folders, settings
        self._disposition = disposition

    def run(self, refs: Sequence[str]) -> Iterator[Outcome]:
        """Yield what became of each ref; what the server does not confirm is not yielded."""
        work: dict[str, Callable[[Sequence[str]], Iterator[Outcome]]] = {
            "seen": self._mark, "move": self._move, "delete": self._delete,
        }  # fmt: skip
        for start in range(0, len(refs), _AT_ONCE):
            yield from work[self._disposition.action](refs[start : start + _AT_ONCE])

    # ------------------------------------------------------------------ marked

    def _mark(self, refs: Sequence[str]) -> Iterator[Outcome]:
        changes = (
            T.ItemChange(
                T.ItemId(Id=ref),
                T.Updates(
                    T.SetItemField(
                        T.FieldURI(FieldURI="message:IsRead"), T.Message(T.IsRead("true"))
                    )
                ),
            )
            for ref in refs
        )
        payload = M.UpdateItem(
            M.ItemChanges(*changes),
            MessageDisposition="SaveOnly",
            ConflictResolution="AlwaysOverwrite",
            **self._without_receipts(),
        )
        return self._ask("UpdateItem", payload, refs, "mark messages")

    def _without_receipts(self) -> dict[str, str]:
        """Marking and deleting would send the receipts that senders asked for."""
        return {"SuppressReadReceipts": "true"} if self._exchange.can_suppress_receipts else {}

    # ------------------------------------------------------------------ moved

    def _move(self, refs: Sequence[str]) -> Iterator[Outcome]:
        name = self._disposition.folder or ""
        target = self._folders.find_or_make(name)
        is_watched = self._is_watched(self._folders.id_of(target))
        already: set[str] = (
            self._in_folder(refs, self._folders.id_of(target)) if is_watched else set()
        )
        yield from (Settled(ref) for ref in refs if ref in already)
        left = [ref for ref in refs if ref not in already]
        if left:
            payload = M.MoveItem(M.ToFolderId(self._folders.element(target)), item_ids(left))
            doing = f"move messages to {name}"
            yield from self._ask("MoveItem", payload, left, doing, tells_new_ref=is_watched)

    def _is_watched(self, folder_id: str) -> bool:
        watched = (self._folders.find(name) for name in self._settings.folders)
        return folder_id in (self._folders.id_of(one) for one in watched)

    def _in_folder(self, refs: Sequence[str], folder_id: str) -> set[str]:
        """Return those that are where they shall go: moving them would make them new messages."""
        shape = M.ItemShape(T.BaseShape("IdOnly"), fields("item:ParentFolderId"))
        payload = M.GetItem(shape, item_ids(refs))
        messages = self._exchange.call("GetItem", payload, "look where messages are")
        pairs = zip(refs, messages, strict=False)
        return {ref for ref, one in pairs if id_under(one, ".//t:ParentFolderId") == folder_id}

    # ------------------------------------------------------------------ deleted

    def _delete(self, refs: Sequence[str]) -> Iterator[Outcome]:
        is_hard = self._settings.deletion == "hard"
        payload = M.DeleteItem(
            item_ids(refs),
            DeleteType="HardDelete" if is_hard else "MoveToDeletedItems",
            SendMeetingCancellations="SendToNone",
            AffectedTaskOccurrences="AllOccurrences",
            **self._without_receipts(),
        )
        return self._ask("DeleteItem", payload, refs, "delete messages")

    # ------------------------------------------------------------------ answers

    def _ask(
        self, operation: str, payload: Element, refs: Sequence[str], doing: str,
        *, tells_new_ref: bool = False,
    ) -> Iterator[Outcome]:  # fmt: skip
        messages = self._exchange.call(operation, payload, doing)
        for ref, message in zip(refs, messages, strict=False):
            error = failure(message)
            if error is None:
                new_ref = id_under(message, ".//t:ItemId") if tells_new_ref else None
                yield Settled(ref, new_ref)
            elif code_of(error) in GONE:
                yield Settled(ref)
            else:
                yield self._unsettled(ref, error, doing)

    def _unsettled(self, ref: str, error: Exception, doing: str) -> Unsettled:
        explained = self._exchange.explain(error, doing)
        if isinstance(error, ews.ErrorBatchProcessingStopped):
            raise explained
        if not isinstance(explained, TransientError):
            raise explained
        return Unsettled(ref, explained)
