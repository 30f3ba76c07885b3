"""The operations of EWS that mail needs; each takes its request and returns the response."""

from __future__ import annotations

import base64
import binascii
import email
import email.utils
import functools
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from postroom_test_servers.exchange_items import (
    Shape,
    extended_name,
    folder_element,
    folder_value,
    matches,
    value_of,
)
from postroom_test_servers.exchange_mime import rebuild
from postroom_test_servers.exchange_soap import (
    NAMES,
    Element,
    M,
    Refused,
    T,
    refusal,
    response,
    result,
)
from postroom_test_servers.exchange_store import Folder, Item, Mailbox

A = TypeVar("A")
_DISTINGUISHED: Final = (
    "{http://schemas.microsoft.com/exchange/services/2006/types}DistinguishedFolderId"
)


@dataclass(frozen=True)
class Submission:
    """A message that was sent."""

    mailbox: str
    sender: str
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    """As recipients get it, without Bcc."""


@dataclass
class Caller:
    """Who asks: the mailbox acted for, and which mailboxes may be opened."""

    mailbox: Mailbox
    mailboxes: dict[str, Mailbox]
    allowed: Callable[[str], bool]
    may_send_as: Callable[[str], bool]

    def by_address(self, address: str) -> Mailbox:
        """Return a mailbox that the caller may open."""
        found = self.mailboxes.get(address.lower())
        if found is None:
            raise Refused("ErrorNonExistentMailbox", f"No mailbox with the address {address}.")
        if not self.allowed(address.lower()):
            raise Refused("ErrorAccessDenied", "Access is denied. Check credentials and try again.")
        return found


class Operations:
    """Carries operations out on the mailboxes."""

    def __init__(self, mailboxes: dict[str, Mailbox], size_limit: int) -> None:
        self._mailboxes = mailboxes
        self.size_limit = size_limit
        self.sent: list[Submission] = []
        self.subscriptions: dict[str, tuple[Mailbox, list[Folder], int]] = {}
        self.streams: dict[str, object] = {}
        """Subscription → the connection that hears of it."""
        self.can_stream = True

    def run(self, caller: Caller, request: Element) -> Element:
        """Return the response to a request.

        :raises Refused: this operation is not there
        """
        name = request.tag.rpartition("}")[2]
        method: Any = getattr(self, re.sub(r"([A-Z])", r"_\1", name).lower(), None)
        if method is None:
            raise Refused("ErrorInvalidRequest", f"{name} is not in this stand-in.")
        with caller.mailbox.lock:
            return response(name, list(method(caller, request)))

    # ------------------------------------------------------------------ finding things

    def _folder(self, caller: Caller, element: Element) -> tuple[Mailbox, Folder]:
        if element.tag == _DISTINGUISHED:
            address = element.findtext("t:Mailbox/t:EmailAddress", namespaces=NAMES)
            mailbox = caller.by_address(address) if address else caller.mailbox
            return mailbox, mailbox.well_known(element.get("Id"))
        for mailbox in self._mailboxes.values():
            if element.get("Id") in mailbox.folders:
                return caller.by_address(mailbox.address), mailbox.folders[element.get("Id")]
        raise Refused(
            "ErrorFolderNotFound", "The specified folder could not be found in the store."
        )

    def _item(self, caller: Caller, element: Element) -> tuple[Mailbox, Item]:
        for mailbox in self._mailboxes.values():
            if element.get("Id") in mailbox.items:
                return caller.by_address(mailbox.address), mailbox.items[element.get("Id")]
        raise Refused("ErrorItemNotFound", "The specified object was not found in the store.")

    def _each(
        self, name: str, elements: Iterable[Element], work: Callable[[Element], Iterable[Element]]
    ) -> Iterator[Element]:
        for element in elements:
            try:
                yield result(name, *work(element))
            except Refused as error:
                yield refusal(name, error.code, error.text, *with_errors(name))

    # ------------------------------------------------------------------ folders

    def _get_folder(self, caller: Caller, request: Element) -> Iterator[Element]:
        shape = request.find("m:FolderShape", NAMES)

        def work(element: Element) -> Iterable[Element]:
            return [M.Folders(folder_element(*self._folder(caller, element), shape))]

        return self._each("GetFolder", request.find("m:FolderIds", NAMES), work)

    def _find_folder(self, caller: Caller, request: Element) -> Iterator[Element]:
        shape = request.find("m:FolderShape", NAMES)
        deep = request.get("Traversal") == "Deep"
        view = request.find("m:IndexedPageFolderView", NAMES)
        restriction = request.find("m:Restriction", NAMES)

        def work(element: Element) -> Iterable[Element]:
            mailbox, parent = self._folder(caller, element)
            found = list(mailbox.children(parent, deep=deep))
            if restriction is not None:
                found = [
                    one for one in found
                    if matches(functools.partial(folder_value, one), restriction[0])
                ]  # fmt: skip
            page, paging = _page(found, view)
            folders = [folder_element(mailbox, one, shape) for one in page]
            return [M.RootFolder(T.Folders(*folders), **paging)]

        return self._each("FindFolder", request.find("m:ParentFolderIds", NAMES), work)

    def _create_folder(self, caller: Caller, request: Element) -> Iterator[Element]:
        mailbox, parent = self._folder(caller, request.find("m:ParentFolderId", NAMES)[0])

        def work(element: Element) -> Iterable[Element]:
            kind = element.findtext("t:FolderClass", namespaces=NAMES) or "IPF.Note"
            name = element.findtext("t:DisplayName", namespaces=NAMES)
            made = mailbox.create_folder(parent, name, kind)
            return [M.Folders(T.Folder(T.FolderId(Id=made.id, ChangeKey="AQAAAA==")))]

        return self._each("CreateFolder", request.find("m:Folders", NAMES), work)

    def _delete_folder(self, caller: Caller, request: Element) -> Iterator[Element]:
        def work(element: Element) -> Iterable[Element]:
            mailbox, folder = self._folder(caller, element)
            mailbox.remove_folder(folder)
            return []

        return self._each("DeleteFolder", request.find("m:FolderIds", NAMES), work)

    # ------------------------------------------------------------------ listing and reading

    def _sync_folder_items(self, caller: Caller, request: Element) -> Iterator[Element]:
        shape = Shape(request.find("m:ItemShape", NAMES))
        state = request.findtext("m:SyncState", namespaces=NAMES) or ""
        most = int(request.findtext("m:MaxChangesReturned", namespaces=NAMES))
        try:
            mailbox, folder = self._folder(caller, request.find("m:SyncFolderId", NAMES)[0])
            changes, new_state, is_last = mailbox.sync(folder, state, most)
        except Refused as error:
            code = error.code.replace("ErrorFolderNotFound", "ErrorSyncFolderNotFound")
            yield refusal("SyncFolderItems", code, error.text, *with_errors("SyncFolderItems"))
            return
        elements = [_change(mailbox, kind, item_id, shape) for kind, item_id in changes]
        yield result(
            "SyncFolderItems",
            M.SyncState(new_state),
            M.IncludesLastItemInRange("true" if is_last else "false"),
            M.Changes(*elements),
        )

    def _get_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        shape = Shape(request.find("m:ItemShape", NAMES))

        def work(element: Element) -> Iterable[Element]:
            _, item = self._item(caller, element)
            if item.is_unreadable and shape.wants_mime:
                raise Refused("ErrorMimeContentConversionFailed", "MIME conversion failed.")
            return [M.Items(shape.element(item))]

        return self._each("GetItem", request.find("m:ItemIds", NAMES), work)

    def _find_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        shape = Shape(request.find("m:ItemShape", NAMES))
        restriction = request.find("m:Restriction", NAMES)
        order = request.find("m:SortOrder/t:FieldOrder", NAMES)
        view = request.find("m:IndexedPageItemView", NAMES)

        def work(element: Element) -> Iterable[Element]:
            mailbox, folder = self._folder(caller, element)
            found = list(mailbox.items_in(folder))
            if restriction is not None:
                found = [
                    one for one in found
                    if matches(functools.partial(value_of, one), restriction[0])
                ]  # fmt: skip
            if order is not None:
                found.sort(key=_sort_key(order[0]), reverse=order.get("Order") == "Descending")
            page, paging = _page(found, view)
            elements = [shape.element(one, with_mime=False) for one in page]
            return [M.RootFolder(T.Items(*elements), **paging)]

        return self._each("FindItem", request.find("m:ParentFolderIds", NAMES), work)

    def _convert_id(self, caller: Caller, request: Element) -> Iterator[Element]:
        for element in request.find("m:SourceIds", NAMES):
            new = T.AlternateId(
                Format=request.get("DestinationFormat"), Id=element.get("Id"),
                Mailbox=caller.mailbox.address,
            )  # fmt: skip
            new.tag = "{http://schemas.microsoft.com/exchange/services/2006/messages}AlternateId"
            new.set(
                "{http://www.w3.org/2001/XMLSchema-instance}type",
                "t:AlternateIdType",
            )
            yield result("ConvertId", new)

    # ------------------------------------------------------------------ changing

    def _update_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        def work(change: Element) -> Iterable[Element]:
            mailbox, item = self._item(caller, change.find("t:ItemId", NAMES))
            kind = "Update"
            for one in change.find("t:Updates", NAMES):
                kind = self._apply(item, one) or kind
            mailbox.touch(item, kind)
            new = T.Message(T.ItemId(Id=item.id, ChangeKey=item.key))
            return [M.Items(new), M.ConflictResults(T.Count("0"))]

        return self._each("UpdateItem", request.find("m:ItemChanges", NAMES), work)

    def _apply(self, item: Item, update: Element) -> str | None:
        uri = update[0]
        if uri.get("FieldURI") == "message:IsRead":
            item.is_read = update.findtext("t:Message/t:IsRead", namespaces=NAMES) == "true"
            return "ReadFlagChange"
        if uri.tag.endswith("}ExtendedFieldURI"):
            value = update.findtext("t:Message/t:ExtendedProperty/t:Value", namespaces=NAMES)
            item.extended.pop(extended_name(uri), None)
            if value is not None:
                item.extended[extended_name(uri)] = value
        return None

    def _move_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        target = self._folder(caller, request.find("m:ToFolderId", NAMES)[0])[1]

        def work(element: Element) -> Iterable[Element]:
            mailbox, item = self._item(caller, element)
            moved = mailbox.move(item, target)
            return [M.Items(T.Message(T.ItemId(Id=moved.id, ChangeKey=moved.key)))]

        return self._each("MoveItem", request.find("m:ItemIds", NAMES), work)

    def _copy_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        target = self._folder(caller, request.find("m:ToFolderId", NAMES)[0])[1]

        def work(element: Element) -> Iterable[Element]:
            mailbox, item = self._item(caller, element)
            made = mailbox.add(target, item.mime, item.received_at, is_read=item.is_read)
            return [M.Items(T.Message(T.ItemId(Id=made.id, ChangeKey=made.key)))]

        return self._each("CopyItem", request.find("m:ItemIds", NAMES), work)

    def _delete_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        def work(element: Element) -> Iterable[Element]:
            mailbox, item = self._item(caller, element)
            if request.get("DeleteType") == "MoveToDeletedItems":
                mailbox.move(item, mailbox.well_known("deleteditems"))
            else:
                mailbox.remove(item)
            return []

        return self._each("DeleteItem", request.find("m:ItemIds", NAMES), work)

    # ------------------------------------------------------------------ sending

    def _create_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        disposition = request.get("MessageDisposition")
        saved = request.find("m:SavedItemFolderId", NAMES)
        default = "sentitems" if disposition == "SendAndSaveCopy" else "drafts"
        mailbox, folder = (
            self._folder(caller, saved[0])
            if saved is not None
            else (caller.mailbox, caller.mailbox.well_known(default))
        )

        def work(element: Element) -> Iterable[Element]:
            raw = _mime_of(element)
            self._check(mailbox, raw)
            if disposition == "SaveOnly":
                return [M.Items(self._save(mailbox, folder, element, raw))]
            self._submit(caller, mailbox, raw)
            if disposition == "SendAndSaveCopy":
                mailbox.add(folder, rebuild(raw), datetime.now(UTC), is_read=True)
            return [M.Items()]

        return self._each("CreateItem", request.find("m:Items", NAMES), work)

    def _check(self, mailbox: Mailbox, raw: bytes) -> None:
        if len(raw) > self.size_limit:
            raise Refused("ErrorMessageSizeExceeded", "The message exceeds the maximum size.")
        if mailbox.is_full:
            raise Refused("ErrorQuotaExceeded", "Your mailbox is full.")

    def _save(self, mailbox: Mailbox, folder: Folder, element: Element, raw: bytes) -> Element:
        flags = _extended_of(element)
        is_draft = not int(flags.get("0xe07", "8")) & 1 or folder.distinguished == "drafts"
        read = element.findtext("t:IsRead", namespaces=NAMES)
        item = mailbox.add(
            folder, raw if is_draft else rebuild(raw), datetime.now(UTC),
            is_draft=is_draft, is_read=is_draft or read == "true" or flags.get("0xe07") == "1",
            extended={k: v for k, v in flags.items() if k != "0xe07"},
        )  # fmt: skip
        return T.Message(T.ItemId(Id=item.id, ChangeKey=item.key))

    def _send_item(self, caller: Caller, request: Element) -> Iterator[Element]:
        saved = request.find("m:SavedItemFolderId", NAMES)
        keeps = request.get("SaveItemToFolder") in ("true", "1")

        def work(element: Element) -> Iterable[Element]:
            mailbox, item = self._item(caller, element)
            if not element.get("ChangeKey"):
                raise Refused("ErrorChangeKeyRequired", "SendItem requires a change key.")
            if element.get("ChangeKey") != item.key:
                raise Refused("ErrorStaleObject", "The object was changed in between.")
            self._submit(caller, mailbox, item.mime)
            mailbox.remove(item)
            if keeps:
                target = mailbox.well_known("sentitems")
                if saved is not None:
                    mailbox, target = self._folder(caller, saved[0])
                mailbox.add(target, rebuild(item.mime), datetime.now(UTC), is_read=True)
            return []

        return self._each("SendItem", request.find("m:ItemIds", NAMES), work)

    def _submit(self, caller: Caller, mailbox: Mailbox, raw: bytes) -> None:
        message = email.message_from_bytes(raw)
        names = ("to", "cc", "bcc")
        values = [_unicode(value) for name, value in message.raw_items() if name.lower() in names]
        recipients = tuple(a for _, a in email.utils.getaddresses(values) if a)
        sender = email.utils.parseaddr(str(message.get("From", "")))[1] or mailbox.address
        if not caller.may_send_as(sender.lower()):
            raise Refused("ErrorSendAsDenied", "The user does not have the right to send as.")
        if not recipients:
            raise Refused("ErrorInvalidRecipients", "At least one recipient isn't valid.")
        del message["Bcc"]
        head, _, body = raw.partition(b"\r\n\r\n")
        visible = b"\r\n".join(_without_bcc(head)) + b"\r\n\r\n" + body
        self.sent.append(Submission(mailbox.address, sender, recipients, visible))

    # ------------------------------------------------------------------ notifications

    def _subscribe(self, caller: Caller, request: Element) -> Iterator[Element]:
        wanted = request.find("m:StreamingSubscriptionRequest", NAMES)
        if wanted is None or not self.can_stream:
            yield refusal("Subscribe", "ErrorInvalidSubscriptionRequest", "Not supported.")
            return
        folders = [self._folder(caller, one) for one in wanted.find("t:FolderIds", NAMES)]
        name = base64.b64encode(secrets.token_bytes(32)).decode()
        mailbox = folders[0][0]
        self.subscriptions[name] = (mailbox, [one for _, one in folders], len(mailbox.changes))
        yield result("Subscribe", M.SubscriptionId(name))

    def _unsubscribe(self, caller: Caller, request: Element) -> Iterator[Element]:
        name = request.findtext("m:SubscriptionId", namespaces=NAMES)
        if self.subscriptions.pop(name, None) is None:
            yield refusal("Unsubscribe", "ErrorSubscriptionNotFound", "It is not there.")
        else:
            yield result("Unsubscribe")

    def events(self, name: str) -> Element | None:
        """Return what a subscription has to tell since it was last asked, None for nothing."""
        mailbox, folders, seen = self.subscriptions[name]
        new = [
            change for change in mailbox.changes[seen:]
            if change.kind == "Create" and change.folder in folders
        ]  # fmt: skip
        self.subscriptions[name] = (mailbox, folders, len(mailbox.changes))
        if not new:
            return None
        events = [
            T.NewMailEvent(
                T.TimeStamp(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
                T.ItemId(Id=change.item_id, ChangeKey="AQAAAA=="),
                T.ParentFolderId(Id=change.folder.id, ChangeKey="AQAAAA=="),
            )
            for change in new
        ]
        return T.Notification(T.SubscriptionId(name), *events)


def with_errors(name: str) -> list[Element]:
    """Return what the schema wants in a response message even if it tells of an error."""
    if name == "SyncFolderItems":
        return [M.SyncState(), M.IncludesLastItemInRange("true")]
    with_items = ("GetItem", "CreateItem", "MoveItem", "CopyItem", "UpdateItem")
    return [M.Items()] if name in with_items else []


def _change(mailbox: Mailbox, kind: str, item_id: str, shape: Shape) -> Element:
    item = mailbox.items.get(item_id)
    if kind == "Delete" or item is None:
        return T.Delete(T.ItemId(Id=item_id, ChangeKey="AQAAAA=="))
    if kind == "ReadFlagChange":
        flag = T.IsRead("true" if item.is_read else "false")
        return T.ReadFlagChange(T.ItemId(Id=item.id, ChangeKey=item.key), flag)
    return getattr(T, kind)(shape.element(item, with_mime=False))


def _page(found: list[A], view: Element | None) -> tuple[list[A], dict[str, str]]:
    start = int(view.get("Offset")) if view is not None else 0
    most = int(view.get("MaxEntriesReturned") or 1000) if view is not None else 1000
    is_last = start + most >= len(found)
    paging = {
        "IndexedPagingOffset": str(min(start + most, len(found))),
        "TotalItemsInView": str(len(found)),
        "IncludesLastItemInRange": "true" if is_last else "false",
    }
    return found[start : start + most], paging


def _sort_key(uri: Element) -> Callable[[Item], tuple[int, int, str]]:
    def key(item: Item) -> tuple[int, int, str]:
        value = value_of(item, uri) or ""
        return (0, int(value), "") if value.isdigit() else (1, 0, value)

    return key


def _mime_of(element: Element) -> bytes:
    content = element.findtext("t:MimeContent", namespaces=NAMES)
    if content is None:
        raise Refused("ErrorInvalidRequest", "This stand-in makes items of MIME only.")
    try:
        return base64.b64decode(content)
    except (binascii.Error, ValueError) as error:
        raise Refused("ErrorMimeContentInvalidBase64String", str(error)) from error


def _extended_of(element: Element) -> dict[str, str]:
    return {
        extended_name(one.find("t:ExtendedFieldURI", NAMES)):
            one.findtext("t:Value", namespaces=NAMES) or ""
        for one in element.findall("t:ExtendedProperty", NAMES)
    }  # fmt: skip


def _unicode(value: object) -> str:
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _without_bcc(head: bytes) -> Iterator[bytes]:
    skipping = False
    for line in head.split(b"\r\n"):
        if not line.startswith((b" ", b"\t")):
            skipping = line.lower().startswith(b"bcc:")
        if not skipping:
            yield line
