"""What happened, told to plugins after it was committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

EventName = Literal[
    "stored", "sent", "failed", "unknown", "mailbox-down", "mailbox-up", "credential-expiring"
]


@dataclass(frozen=True, slots=True)
class Event:
    """`details` depends on the name: `question`, `message` (ids), `code`, `sentence`, `direction`;
    for `credential-expiring`, where `mailbox` is empty: `credential`, `expires_at`, `mailboxes`.

    Never holds a secret or a message's content.
    """

    name: EventName
    at: datetime
    mailbox: str
    details: Mapping[str, Any] = field(default_factory=dict)
