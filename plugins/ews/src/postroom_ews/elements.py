"""Building requests and reading answers of EWS. Requests follow Microsoft's schemas to the letter;
of answers only what is needed has to be there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from exchangelib.util import MNS, TNS
from lxml.builder import ElementMaker

Element = Any
NAMES: Final = {"m": MNS, "t": TNS}
M: Final = ElementMaker(namespace=MNS, nsmap=NAMES)
T: Final = ElementMaker(namespace=TNS, nsmap=NAMES)


def item_ids(refs: Iterable[str]) -> Element:
    """Return ItemIds."""
    return M.ItemIds(*(T.ItemId(Id=ref) for ref in refs))


def fields(*names: str) -> Element:
    """Return AdditionalProperties for properties by name: ``item:Size``."""
    return T.AdditionalProperties(*(T.FieldURI(FieldURI=name) for name in names))


def text(element: Element, path: str) -> str:
    """Return the text under a path like ``t:DisplayName``, "" where there is none."""
    return (element.findtext(path, namespaces=NAMES) or "").strip()


def id_under(element: Element, path: str) -> str | None:
    """Return the Id attribute of what is under a path."""
    found = element.find(path, NAMES)
    return None if found is None else found.get("Id")


def instant(value: str) -> datetime | None:
    """Return a dateTime of XML Schema in UTC, None where it is none."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def is_true(value: str, *, default: bool = False) -> bool:
    """Read a boolean of XML Schema."""
    return value.lower() in ("true", "1") if value else default
