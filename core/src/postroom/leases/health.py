"""How the sides of mailboxes fare: errors are recorded, and say when to try again.

One row for each error from the time it is first seen until it is cleared; logged once when a side
goes down, once when it is up again.
"""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from peewee import Expression

from postroom.api import codes
from postroom.api.codes import Code
from postroom.api.errors import AuthError, SettingsError, TransientError, TransportError
from postroom.api.events import Event
from postroom.errors import PostroomError, in_one_line
from postroom.store.database import is_among, now, transaction
from postroom.store.models import Mailbox, Side, Trouble

logger = logging.getLogger(__name__)

SETTINGS_PAUSE = timedelta(minutes=15)
AUTH_PAUSES = (timedelta(minutes=5), timedelta(hours=6))
TRANSIENT_PAUSES = (timedelta(seconds=15), timedelta(minutes=15))
CORE_PAUSES = (timedelta(seconds=15), timedelta(minutes=2))
"""Our own disk or key: once that is put right, mail is to come soon."""
SETTLING = "settling"
"""Kind of the trouble with what is to be done with messages on the server. It is apart from all
others of a side: mail is retrieved all the same."""
ATTENTION_AFTER = timedelta(minutes=15)
"""A passing trouble that lasts longer needs a person too."""


class Diagnosis(NamedTuple):
    """What an error means to an administrator."""

    kind: str
    code: Code
    sentence: str
    next_step: str


def note_failure(
    side: Side, error: BaseException, who: str = "", *, is_told: bool = False
) -> Event | None:
    """Record that work on a side failed; return the event to tell if it went down by that.

    Anything but a `TransportError` is a bug of the plugin: logged with its traceback.

    :param who: for people: the plugin
    :param is_told: somebody is told the error anyway, so that the log need not
    """
    who = who or f"The plugin of the transport {side.transport}"
    diagnosis = _diagnose(who, error)
    instant = now()
    with transaction():
        fresh = Side.get_or_none(Side.id == side.id)
        if fresh is None:  # its mailbox was deleted during the work
            return None
        failures = fresh.failures + 1
        due, paused = _next_try(diagnosis.kind, error, failures, instant)
        Side.update(
            failures=failures,
            down_since=fresh.down_since or instant,
            last_tried_at=instant,
            next_try_at=due,
            paused_by_server=paused,
        ).where(Side.id == side.id).execute()
        is_new = _record(side.id, diagnosis, instant, due)
    mailbox = Mailbox.get_by_id(side.mailbox_id)
    if is_new and not is_told:
        log_trouble(mailbox.address, side.direction, diagnosis)
    if fresh.down_since is not None:
        return None
    details = {
        "direction": side.direction,
        "code": diagnosis.code.name,
        "sentence": diagnosis.sentence,
    }
    return Event("mailbox-down", instant, mailbox.address, details)


def note_success(side: Side, next_try_at: datetime | None = None) -> Event | None:
    """Record that work on a side succeeded; return the event to tell if it is up again.

    A side that was made due during the work, by news of its server say, stays due.

    :param side: as it was when the work began
    """
    instant = now()
    with transaction():
        fresh = Side.get_or_none(Side.id == side.id)
        if fresh is None:
            return None
        if fresh.next_try_at != side.next_try_at:
            next_try_at = fresh.next_try_at
        Side.update(
            failures=0,
            down_since=None,
            last_success_at=instant,
            last_tried_at=instant,
            next_try_at=next_try_at or instant,
            paused_by_server=False,
        ).where(Side.id == side.id).execute()
        if fresh.down_since is None:
            return None
        _clear(_open(side.id, settling=False), instant)
    mailbox = Mailbox.get_by_id(side.mailbox_id)
    logger.warning("%s (%s) works again.", mailbox.address, side.direction)
    return Event("mailbox-up", instant, mailbox.address, {"direction": side.direction})


def record_refusal(side_id: int, error: TransportError) -> tuple[datetime, bool]:
    """Record, in the caller's transaction, that the server refuses what is to be done with
    messages.

    :returns: when to try again, and whether it is new, so that `log_trouble` is to follow
    """
    instant = now()
    same = Trouble.get_or_none(_open(side_id, settling=True) & (Trouble.code == error.code.name))
    due = instant + _doubling(TRANSIENT_PAUSES, 1 if same is None else same.count + 1) * _jitter()
    diagnosis = Diagnosis(SETTLING, error.code, error.sentence, error.next_step)
    return due, _record(side_id, diagnosis, instant, due)


def is_refused(side_id: int) -> bool:
    """Say whether the server was refusing what is to be done with messages."""
    return bool(Trouble.select().where(_open(side_id, settling=True)).exists())


def record_settled(side_id: int) -> None:
    """Record, in the caller's transaction, that the server refuses it no longer."""
    _clear(_open(side_id, settling=True), now())


def log_trouble(address: str, direction: str, diagnosis: Diagnosis | TransportError) -> None:
    """Tell of a new trouble, once."""
    words = in_one_line(diagnosis.sentence, diagnosis.next_step)
    logger.warning("%s (%s): %s [%s]", address, direction, words, diagnosis.code)


def end_pauses(side_ids: Collection[int]) -> int:
    """Make those of the sides due that wait because they were refused, or because of a setting;
    what a server asked for by itself is not shortened.

    :returns: how many there are
    """
    refused = Trouble.select(Trouble.side).where(
        Trouble.cleared_at.is_null() & Trouble.kind.in_(["auth", "settings"])
    )
    theirs = is_among(Side.id, side_ids) & Side.id.in_(refused)
    due = Side.update(failures=0, next_try_at=now(), paused_by_server=False)
    ended: int = due.where(theirs).execute()
    return ended


def needs_attention(kind: str, first_seen_at: datetime, instant: datetime) -> bool:
    """Say whether a trouble needs a person: all but a passing one that is young."""
    return kind in ("settings", "auth", "bug", "core") or instant - first_seen_at >= ATTENTION_AFTER


def lasts_since(trouble: Trouble, side: Side) -> datetime:
    """Return since when there is trouble: another one may have come before it."""
    down_since = None if trouble.kind == SETTLING else side.down_since
    since: datetime = down_since or trouble.first_seen_at
    return since


def state_of(side: Side | None, *, enabled: bool = True) -> str:
    """Return `ok`, `failing`, `attention`, `never` or `disabled`."""
    if side is None:
        return "never"
    if not enabled:
        return "disabled"
    instant = now()
    open_troubles = Trouble.select().where((Trouble.side == side.id) & Trouble.cleared_at.is_null())
    states = [needs_attention(t.kind, lasts_since(t, side), instant) for t in open_troubles]
    if states:
        return "attention" if any(states) else "failing"
    return "ok" if side.last_success_at else "never"


def open_trouble(side: Side) -> Trouble | None:
    """Return what is wrong with a side now."""
    trouble: Trouble | None = (
        Trouble.select()
        .where((Trouble.side == side.id) & Trouble.cleared_at.is_null())
        .order_by(Trouble.last_seen_at.desc())
        .first()
    )
    return trouble


def _diagnose(who: str, error: BaseException) -> Diagnosis:
    if isinstance(error, TransportError):
        return Diagnosis(_kind(error), error.code, error.sentence, error.next_step)
    if isinstance(error, PostroomError) and error.code is not None:
        return Diagnosis("core", error.code, error.sentence, error.next_step)
    logger.error("%s failed in a way it should not", who, exc_info=error)
    sentence = f"{who} failed: {type(error).__name__}{_place(error)}."
    return Diagnosis("bug", codes.PLUGIN_BUG, sentence, codes.PLUGIN_BUG.next_step)


def _kind(error: TransportError) -> str:
    if error.code in (codes.PLUGIN_HANGS, codes.PLUGIN_BUG):
        return "bug"
    if isinstance(error, SettingsError):
        return "settings"
    return "auth" if isinstance(error, AuthError) else "transient"


def _place(error: BaseException) -> str:
    """Return where it was raised; what it says may hold a secret, and is in the log only."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    path = Path(frames[-1].filename)
    return f" in {path.parent.name}/{path.name}, line {frames[-1].lineno}"


def _next_try(
    kind: str, error: BaseException, failures: int, instant: datetime
) -> tuple[datetime, bool]:
    """Return when to try again, and whether that is not for us to shorten."""
    if kind == "settings":
        return instant + SETTINGS_PAUSE, False
    if kind == "auth":
        return instant + _doubling(AUTH_PAUSES, failures), True
    if kind == "core":
        return instant + _doubling(CORE_PAUSES, failures), False
    if isinstance(error, TransientError) and error.retry_after is not None:
        return instant + timedelta(seconds=max(error.retry_after, 0)), True
    return instant + _doubling(TRANSIENT_PAUSES, failures) * _jitter(), False


def _jitter() -> float:
    return random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing


def _doubling(bounds: tuple[timedelta, timedelta], failures: int) -> timedelta:
    first, last = bounds
    return min(last, first * (1 << min(failures - 1, 16)))


def _open(side_id: int, *, settling: bool) -> Expression:
    """Return the condition of what is wrong with a side now: with settling, or with the rest."""
    kind = Trouble.kind == SETTLING if settling else Trouble.kind != SETTLING
    return (Trouble.side == side_id) & Trouble.cleared_at.is_null() & kind


def _clear(which: Expression, instant: datetime) -> None:
    Trouble.update(cleared_at=instant, next_try_at=None).where(which).execute()


def _record(side_id: int, diagnosis: Diagnosis, instant: datetime, due: datetime) -> bool:
    """Write it down; say whether it is not what the side suffered from already."""
    code = diagnosis.code.name
    open_ones = _open(side_id, settling=diagnosis.kind == SETTLING)
    same = Trouble.get_or_none(open_ones & (Trouble.code == code))
    # What the side suffers from now replaces what it suffered from before.
    _clear(open_ones & (Trouble.code != code), instant)
    values = {
        "kind": diagnosis.kind,
        "sentence": diagnosis.sentence,
        "next_step": diagnosis.next_step,
        "last_seen_at": instant,
        "next_try_at": due,
    }
    if same is None:
        Trouble.create(side=side_id, code=code, first_seen_at=instant, **values)
    else:
        Trouble.update(count=Trouble.count + 1, **values).where(Trouble.id == same.id).execute()
    return same is None
