"""Items and folders as elements: which properties a shape asks for, in the schema's order; and
restrictions, evaluated on the same properties."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from typing import Any, Final

from postroom_test_servers.exchange_soap import NAMES, Element, Refused, T
from postroom_test_servers.exchange_store import Folder, Item, Mailbox

Value = Any
Path = str


def instant(moment: datetime) -> str:
    """Return a time as Exchange writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(name: str) -> Callable[[Item], str | None]:
    def read(item: Item) -> str | None:
        value = item.header.get(name)
        return " ".join(str(value).split()) if value is not None else None

    return read


def _mailbox_element(name: str, address: str) -> Element:
    parts = [T.Name(name)] if name else []
    return T.Mailbox(*parts, T.EmailAddress(address))


def _people(name: str) -> Callable[[Item], list[Element] | None]:
    def read(item: Item) -> list[Element] | None:
        found = [_mailbox_element(*one) for one in item.addresses(name) if one[1]]
        return found or None

    return read


def _flag(value: bool) -> str:
    return "true" if value else "false"


# In the order of ItemType and MessageType
_ITEM: Final[dict[str, Callable[[Item], Any]]] = {
    "item:ItemClass": lambda _: "IPM.Note",
    "item:Subject": _text("subject"),
    "item:DateTimeReceived": lambda item: instant(item.received_at),
    "item:Size": lambda item: str(len(item.mime) + 1500),
    "item:Importance": lambda _: "Normal",
    "item:IsSubmitted": lambda _: "false",
    "item:IsDraft": lambda item: _flag(item.is_draft),
    "item:DateTimeSent": lambda item: instant(item.received_at),
    "item:DateTimeCreated": lambda item: instant(item.created_at),
    "item:HasAttachments": lambda item: _flag(b"filename=" in item.mime),
    "item:LastModifiedTime": lambda item: instant(item.modified_at),
    "item:ConversationId": lambda item: item.digest[:24],
    "message:Sender": _people("from"),
    "message:ToRecipients": _people("to"),
    "message:CcRecipients": _people("cc"),
    "message:BccRecipients": _people("bcc"),
    "message:From": _people("from"),
    "message:InternetMessageId": _text("message-id"),
    "message:IsRead": lambda item: _flag(item.is_read),
    "message:References": _text("references"),
}
_BEFORE_EXTENDED: Final = 9  # how many of them stand before ExtendedProperty in the schema
_INTEGERS: Final[dict[str, Callable[[Item], int]]] = {
    "0xe23": lambda item: item.number,
    "0xe08": lambda item: len(item.mime),
    "0xe07": lambda item: (1 if item.is_read else 0) | (8 if item.is_draft else 0),
}
_DEFAULT: Final = frozenset(_ITEM)


def extended_name(uri: Element) -> str:
    """Return a name for an ExtendedFieldURI."""
    if tag := uri.get("PropertyTag"):
        return hex(int(tag, 0))
    place = uri.get("DistinguishedPropertySetId") or uri.get("PropertySetId")
    return f"{place}/{uri.get('PropertyName') or uri.get('PropertyId')}"


def _extended_value(item: Item, name: str) -> str | None:
    if name in item.extended:
        return str(item.extended[name])
    if name.startswith("InternetHeaders/"):
        return _header(item, name.partition("/")[2])
    return str(_INTEGERS[name](item)) if name in _INTEGERS else None


def _header(item: Item, name: str) -> str | None:
    found = BytesHeaderParser().parsebytes(item.mime).get(name)
    return None if found is None else str(found)


def value_of(item: Item, uri: Element) -> str | None:
    """Return a property as text, for a FieldURI or an ExtendedFieldURI."""
    if uri.tag.endswith("}ExtendedFieldURI"):
        return _extended_value(item, extended_name(uri))
    name = uri.get("FieldURI")
    if name == "item:ParentFolderId":
        return item.folder.id
    if name not in _ITEM:
        raise Refused("ErrorInvalidPropertyRequest", f"{name} is not in this stand-in.")
    found = _ITEM[name](item)
    return found if isinstance(found, str) else None


class Shape:
    """What of an item was asked for."""

    def __init__(self, shape: Element) -> None:
        base = shape.findtext("t:BaseShape", namespaces=NAMES)
        self.wants_mime = shape.findtext("t:IncludeMimeContent", namespaces=NAMES) in ("true", "1")
        uris = shape.findall("t:AdditionalProperties/t:FieldURI", NAMES)
        self.fields = {uri.get("FieldURI") for uri in uris}
        self.extended = shape.findall("t:AdditionalProperties/t:ExtendedFieldURI", NAMES)
        self.is_full = base != "IdOnly"
        if "item:MimeContent" in self.fields:
            self.wants_mime = True
        if self.is_full:
            self.fields |= _DEFAULT

    def element(self, item: Item, *, with_mime: bool = True) -> Element:
        """Return an item as a Message element."""
        message = T.Message()
        if self.wants_mime and with_mime:
            encoded = base64.b64encode(item.mime).decode()
            message.append(T.MimeContent(encoded, CharacterSet="UTF-8"))
        message.append(T.ItemId(Id=item.id, ChangeKey=item.key))
        if self.is_full or "item:ParentFolderId" in self.fields:
            message.append(T.ParentFolderId(Id=item.folder.id, ChangeKey="AQAAAA=="))
        names = list(_ITEM)
        for position, name in enumerate(names):
            if position == names.index("item:HasAttachments") + 1:
                message.extend(self._extended(item))
            if name in self.fields:
                message.extend(_property(item, name))
        return message

    def _extended(self, item: Item) -> Iterable[Element]:
        for uri in self.extended:
            value = _extended_value(item, extended_name(uri))
            if value is not None:
                copy = T.ExtendedFieldURI(**dict(uri.attrib))
                yield T.ExtendedProperty(copy, T.Value(value))


def _property(item: Item, name: str) -> Iterable[Element]:
    value = _ITEM[name](item)
    local = name.partition(":")[2]
    if value is None:
        return
    if name == "item:ConversationId":
        yield T.ConversationId(Id=value, ChangeKey="AQAAAA==")
    elif isinstance(value, list):
        yield getattr(T, local)(*(value[:1] if local in ("Sender", "From") else value))
    else:
        yield getattr(T, local)("".join(c for c in value if c.isprintable()))


# ---------------------------------------------------------------------------- restrictions

_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "IsEqualTo": lambda a, b: a == b,
    "IsNotEqualTo": lambda a, b: a != b,
    "IsGreaterThan": lambda a, b: a > b,
    "IsGreaterThanOrEqualTo": lambda a, b: a >= b,
    "IsLessThan": lambda a, b: a < b,
    "IsLessThanOrEqualTo": lambda a, b: a <= b,
}


def matches(read: Callable[[Element], str | None], restriction: Element) -> bool:
    """Evaluate one expression of a restriction.

    :param read: returns the property that a FieldURI or an ExtendedFieldURI names
    """
    name = restriction.tag.rpartition("}")[2]
    if name == "And":
        return all(matches(read, one) for one in restriction)
    if name == "Or":
        return any(matches(read, one) for one in restriction)
    if name == "Not":
        return not matches(read, restriction[0])
    value = read(restriction[0])
    if name == "Exists":
        return value is not None
    if name == "Contains":
        wanted = restriction.find("t:Constant", NAMES).get("Value").lower()
        return value is not None and wanted in value.lower()
    constant = restriction.find("t:FieldURIOrConstant/t:Constant", NAMES)
    if constant is None or value is None:
        return False
    return _COMPARISONS[name](*_comparable(value, constant.get("Value")))


def folder_value(folder: Folder, uri: Element) -> str | None:
    """Return a property of a folder as text."""
    if uri.tag.endswith("}ExtendedFieldURI"):
        return None
    known = {"folder:DisplayName": folder.name, "folder:FolderClass": folder.kind}
    if uri.get("FieldURI") not in known:
        raise Refused("ErrorInvalidPropertyRequest", f"No {uri.get('FieldURI')} in this stand-in.")
    return known[uri.get("FieldURI")]


def _comparable(value: str, constant: str) -> tuple[Any, Any]:
    if value.lstrip("-").isdigit() and constant.lstrip("-").isdigit():
        return int(value), int(constant)
    return value, constant


# ---------------------------------------------------------------------------- folders


def folder_element(mailbox: Mailbox, folder: Folder, shape: Element) -> Element:
    """Return a folder as its shape asks."""
    base = shape.findtext("t:BaseShape", namespaces=NAMES)
    asked = {u.get("FieldURI") for u in shape.findall("t:AdditionalProperties/t:FieldURI", NAMES)}
    is_full = base != "IdOnly"
    kinds = {"IPF.Appointment": T.CalendarFolder, "IPF.Contact": T.ContactsFolder}
    element = kinds.get(folder.kind, T.Folder)()
    element.append(T.FolderId(Id=folder.id, ChangeKey="AQAAABYAAAA="))
    items, parent = list(mailbox.items_in(folder)), folder.parent
    values = {
        "ParentFolderId": parent and T.ParentFolderId(Id=parent.id, ChangeKey="AQAAAA=="),
        "FolderClass": T.FolderClass(folder.kind),
        "DisplayName": T.DisplayName(folder.name),
        "TotalCount": T.TotalCount(str(len(items))),
        "ChildFolderCount": T.ChildFolderCount(str(len(list(mailbox.children(folder))))),
    }  # fmt: skip
    for name, value in values.items():
        if value is not None and (is_full or f"folder:{name}" in asked):
            element.append(value)
    element.extend(_folder_properties(mailbox, folder, shape))
    if element.tag.endswith("}Folder") and (is_full or "folder:UnreadCount" in asked):
        element.append(T.UnreadCount(str(sum(not item.is_read for item in items))))
    return element


def _folder_properties(mailbox: Mailbox, folder: Folder, shape: Element) -> Iterable[Element]:
    items = list(mailbox.items_in(folder))
    known = {
        "0x3602": len(items),
        "0x3603": sum(not item.is_read for item in items),
        "0x6751": max((item.number for item in items), default=0) + 1,
        "0x670a": instant(max((item.modified_at for item in items), default=datetime.now(UTC))),
        "0x10f3": folder.name,
    }
    for uri in shape.findall("t:AdditionalProperties/t:ExtendedFieldURI", NAMES):
        name = extended_name(uri)
        if name in known:
            copy = T.ExtendedFieldURI(**dict(uri.attrib))
            yield T.ExtendedProperty(copy, T.Value(str(known[name])))
