"""Pure functions on mail: bytes in, values out. Nothing here knows the database or a protocol.

`parsing` tells how a message is read, with the folders below; `message` is what comes of it.
"""

from typing import TYPE_CHECKING, Any

from postroom.mail.message import Address, Attachment, ParsedMessage

if TYPE_CHECKING:
    from postroom.mail.parsing import parse

__all__ = ["Address", "Attachment", "ParsedMessage", "parse"]


def __getattr__(name: str) -> Any:
    """Load the reader when it is used: a process that has mail read beside never needs it."""
    if name != "parse":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from postroom.mail.parsing import parse

    globals()[name] = parse
    return parse
