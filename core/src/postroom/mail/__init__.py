"""Pure functions on mail: bytes in, values out. Nothing here knows the database or a protocol."""

from postroom.mail.message import Address, Attachment, ParsedMessage
from postroom.mail.parsing import parse

__all__ = ["Address", "Attachment", "ParsedMessage", "parse"]
