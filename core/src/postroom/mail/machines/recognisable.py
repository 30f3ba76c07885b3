"""What `automatic` and `bounces` look at to recognise the mail of machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from postroom.mail.message import Address

Marks = Mapping[str, Sequence[str]]
"""The header lines that matter, by lower-case name; every List-* is "list-"."""


@dataclass(slots=True)
class Recognisable:
    """What has to be known of a message.

    `headers`: decoded, in order. `content_type`: of the whole message, lower case. `return_path`:
    `""` for `<>`, None where no server noted it. `report_parts`: content type (lower case) and
    decoded bytes (bounded) of the parts of type message/*, and text/rfc822-headers, in the
    multiparts of the message; never of a message inside it, else a forwarded bounce would look
    like one.
    """

    headers: tuple[tuple[str, str], ...]
    from_: Address | None
    subject: str
    text: str
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    content_type: str = "text/plain"
    content_type_parameters: dict[str, str] = field(default_factory=dict)
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    return_path: str | None = None
    report_parts: tuple[tuple[str, bytes], ...] = ()
