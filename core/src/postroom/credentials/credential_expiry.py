"""When secrets end: entered by an administrator or read from a certificate, and warned of."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from postroom.api import codes
from postroom.api.events import Event
from postroom.credentials.credential_users import named_by, sides_with
from postroom.plugins import Plugins
from postroom.store.database import now
from postroom.store.models import Credential, Mailbox, Side

logger = logging.getLogger(__name__)

WARNED_DAYS: Final = (30, 14, 3, 0)
"""How many days before the end a warning is given."""
URGENT_DAYS: Final = 14
"""From then on the installation needs a person."""
_SOON: Final = timedelta(days=WARNED_DAYS[0])


def ends_at(credential: Credential) -> datetime | None:
    """Return when the secret ends, the earlier of what was entered and what was read."""
    known = [e for e in (credential.expires_at, credential.found_expires_at) if e is not None]
    return min(known) if known else None


def days_left(credential: Credential, instant: datetime) -> int | None:
    """Return the whole days until the end, negative after it; None if it is not known."""
    end = ends_at(credential)
    return None if end is None else (end - instant) // timedelta(days=1)


def is_ending(credential: Credential, instant: datetime) -> bool:
    """Say whether the end is near enough to warn of."""
    end = ends_at(credential)
    return end is not None and end - instant <= _SOON


def is_urgent(credential: Credential, instant: datetime) -> bool:
    """Say whether a person has to act now."""
    days = days_left(credential, instant)
    return days is not None and days < URGENT_DAYS


def described(credential: Credential, instant: datetime) -> dict[str, str]:
    """Return code, sentence and next step for one that is ending."""
    end = ends_at(credential)
    assert end is not None  # noqa: S101 - it is ending
    days = (end - instant) // timedelta(days=1)
    when = f"on {end:%Y-%m-%d}"
    if end <= instant:
        text = f"ended {when}"
    else:
        text = f"ends {when}, " + ("within a day" if days < 1 else f"in {days} days")
    step = codes.CREDENTIAL_EXPIRING.next_step.replace("NAME", shlex.quote(credential.name))
    return {
        "code": codes.CREDENTIAL_EXPIRING.name,
        "sentence": f'The secret of the credential "{credential.name}" {text}.',
        "next_step": step,
    }


def warn(plugins: Plugins) -> None:
    """Warn of secrets that end: in the log and by an event, once at each threshold, by whichever
    runner comes first."""
    instant = now()
    for credential in Credential.select():
        end = ends_at(credential)
        if end is None:
            continue
        passed = [days for days in WARNED_DAYS if end - instant <= timedelta(days=days)]
        before = credential.warned_days
        if not passed or (before is not None and before <= passed[-1]):
            continue
        mine = (
            Credential.warned_days.is_null() if before is None else Credential.warned_days == before
        )
        warned = Credential.update(warned_days=passed[-1]).where(
            (Credential.id == credential.id) & mine
        )
        if warned.execute():
            _tell(credential, end, instant, plugins)


def _tell(credential: Credential, end: datetime, instant: datetime, plugins: Plugins) -> None:
    told = described(credential, instant)
    logger.warning("%s %s", told["sentence"], told["next_step"])
    users = sorted({side.mailbox.address for side in sides_with(credential)})
    details: dict[str, Any] = {
        "credential": credential.name,
        "expires_at": end,
        "mailboxes": users,
        "code": told["code"],
        "sentence": told["sentence"],
    }
    plugins.tell(Event("credential-expiring", instant, "", details))


# ---------------------------------------------------------------------------- for mailboxes


class Ends:
    """The ends of all credentials, looked up once for many mailboxes."""

    def __init__(self) -> None:
        self._instant = now()
        self._known = {one.name_key: one for one in Credential.select()}

    def of(self, *sides: Side | None) -> datetime | None:
        """Return the first end among the credentials of sides."""
        known = [end for one in self._used(sides) if (end := ends_at(one)) is not None]
        return min(known) if known else None

    def _used(self, sides: tuple[Side | None, ...]) -> Iterator[Credential]:
        for side in sides:
            key = named_by(side)
            if key in self._known:
                yield self._known[key]

    def errors(self, mailbox: Mailbox) -> Iterator[dict[str, Any]]:
        """Yield what ends soon for a mailbox, in the form of its errors."""
        for side in Side.select().where(Side.mailbox == mailbox.id).order_by(Side.direction):
            for credential in self._used((side,)):
                if not is_ending(credential, self._instant):
                    continue
                end = ends_at(credential)
                assert end is not None  # noqa: S101 - it is ending
                told = described(credential, self._instant)
                yield {
                    "code": told["code"],
                    "direction": side.direction,
                    "sentence": told["sentence"],
                    "next_step": told["next_step"],
                    "first_seen_at": end - _SOON,
                    "last_seen_at": self._instant,
                    "count": 1,
                    "next_try_at": None,
                    "cleared_at": None,
                }
