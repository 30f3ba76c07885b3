"""One visit to one side of a mailbox, with what belongs around it: health, lease, events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import TypeVar

from postroom.api import codes
from postroom.api.errors import TransientError, TransportError
from postroom.api.events import Event
from postroom.errors import (
    ConflictError,
    DatabaseAwayError,
    KeyUnusableError,
    LeaseLostError,
    PostroomError,
    StoreError,
)
from postroom.intake.intake import Retrieval
from postroom.intake.tally import Progress, Tally, no_progress
from postroom.intake.understanding.understood import IN_PLACE, Understanding
from postroom.leases import health
from postroom.leases.command_lease import claim_for_command
from postroom.leases.leases import Keeper, Lease
from postroom.leases.owners import new_owner
from postroom.outbox.outbox import Dispatch
from postroom.plugins import Plugins
from postroom.runner.crew import HangsError, give_back
from postroom.runner.foreground import attend
from postroom.store.database import now, transaction
from postroom.store.errors import database_errors
from postroom.store.models import Mailbox, Side

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

CONFLICTS = 3
"""So often a visit is begun anew because others wanted the same rows."""


def visit_incoming(
    lease: Lease,
    plugins: Plugins,
    keeper: Keeper,
    *,
    stop: Flag | None = None,
    progress: Progress = no_progress,
    understanding: Understanding = IN_PLACE,
    tally: Tally | None = None,
    only_due: bool = False,
) -> Tally | BaseException:
    """Retrieve under the lease, note how it went, release the lease.

    :param tally, only_due: see `Retrieval`
    :returns: what was done, or the error that ended it, which was recorded; also a full disk or
        an unusable key
    :raises StoreError: the database is the trouble: nothing is recorded
    """

    def work() -> Tally:
        return Retrieval(
            lease,
            plugins,
            stop=stop,
            progress=progress,
            understanding=understanding,
            tally=tally,
            only_due=only_due,
        ).run()

    def next_visit(tally: Tally) -> datetime:
        mailbox = Mailbox.get_or_none(Mailbox.id == lease.mailbox_id)
        if mailbox is None or not tally.complete:  # None: it was deleted during the visit
            return now()
        return now() + timedelta(seconds=mailbox.poll_seconds)

    return _visit(lease, plugins, keeper, stop, work, next_visit)


def visit_outgoing(
    lease: Lease,
    plugins: Plugins,
    keeper: Keeper,
    *,
    stop: Flag | None = None,
    untried_since: datetime | None = None,
    on_sent: Callable[[], None] = lambda: None,
) -> int | BaseException:
    """Send under the lease, note how it went, release the lease; else as `visit_incoming`.

    :param untried_since, on_sent: see `Dispatch`
    """

    def work() -> int:
        dispatch = Dispatch(lease, plugins, stop=stop, untried_since=untried_since, on_sent=on_sent)
        return dispatch.run()

    return _visit(lease, plugins, keeper, stop, work, lambda _: now())


def _visit(
    lease: Lease,
    plugins: Plugins,
    keeper: Keeper,
    stop: Flag | None,
    work: Callable[[], Result],
    next_visit: Callable[[Result], datetime],
) -> Result | BaseException:
    """Work, under the care of the keeper; note how it went, and release the lease.

    :param next_visit: when the side is due again, after this result; asked in a transaction
    """
    notes = _Notes(lease, plugins)
    keeper.keep(lease)
    try:
        result = _worked(lease, work)
    except DatabaseAwayError:  # not this side's trouble, and gone with the next connection
        raise
    except (StoreError, KeyUnusableError) as error:
        notes.failed(error)  # raises if nothing can be written
        return error
    except LeaseLostError as error:
        logger.info("%s: %s", notes.side.transport, error.sentence)
        return error
    except BaseException as error:
        if _is_from_the_keyboard(error):
            raise
        if lease.lost or (stop is not None and stop.is_set()):
            return error  # we interrupted it ourselves
        error = lease.pulse.reason(error)
        notes.failed(error, lease.pulse.who)
        return error
    else:
        if not lease.lost:
            notes.worked(lambda: next_visit(result))
        return result
    finally:
        keeper.drop(lease)
        lease.on_lost = lambda: None
        if not lease.lost:
            _release(lease)


class _Notes:
    """Writes down how a visit went, which is for others to say once the lease is theirs."""

    def __init__(self, lease: Lease, plugins: Plugins) -> None:
        self.side = Side.get_by_id(lease.side_id)
        self._lease = lease
        self._plugins = plugins

    def worked(self, next_visit: Callable[[], datetime]) -> None:
        """Note that all is well, and when the side is due again."""
        self._note(lambda: health.note_success(self.side, next_visit()))

    def failed(self, error: BaseException, who: str = "") -> None:
        """Note what ended the visit.

        :param who: which plugin was at work, for an error that is its bug
        """
        is_told = self._lease.is_awaited
        self._note(lambda: health.note_failure(self.side, error, who, is_told=is_told))

    def _note(self, outcome: Callable[[], Event | None]) -> None:
        with suppress(LeaseLostError):
            with transaction():
                self._lease.hold()
                event = outcome()
            if event is not None:
                self._plugins.tell(event)


def _worked(lease: Lease, work: Callable[[], Result]) -> Result:
    """Do the work of a visit; what the database undid in favour of another transaction is begun
    anew, as any visit may be."""
    for _ in range(CONFLICTS):
        try:
            with database_errors():
                return work()
        except ConflictError:
            if lease.lost:
                raise
            logger.debug("A visit is begun anew", exc_info=True)
    with database_errors():
        return work()


def _is_from_the_keyboard(error: BaseException) -> bool:
    """Say whether a person ended it, and not a plugin that raises what it should not."""
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and is_main


def _release(lease: Lease) -> None:
    try:
        lease.release()
    except Exception:  # the database is gone; the lease ends by itself
        logger.debug("A lease could not be released", exc_info=True)


def poll(side: Side, plugins: Plugins, *, progress: Progress = no_progress) -> Tally:
    """Retrieve from a side for a command that waits, also from a mailbox that is disabled.

    :param progress: see `Progress`
    :raises TransportError, PostroomError: what ended it, which was recorded
    :raises BusyError: its holder did not give way in time
    """
    keeper, stop = Keeper(), Flag()
    try:
        lease = claim_for_command(new_owner(), side.id)
        lease.is_awaited = True
        try:
            result = attend(
                lease,
                lambda: visit_incoming(lease, plugins, keeper, stop=stop, progress=progress),
                stop=stop,
            )
        except HangsError as error:
            give_back(lease, error, plugins, keeper)
            raise
    finally:
        keeper.close()
    if isinstance(result, BaseException):
        raise _as_recorded(side, result)
    return result


def _as_recorded(side: Side, error: BaseException) -> BaseException:
    """Return what is told of an error; one that the contract does not know is the plugin's bug."""
    trouble = health.open_trouble(side)
    if isinstance(error, TransportError | PostroomError) or trouble is None:
        return error
    told = TransientError(codes.PLUGIN_BUG, trouble.sentence)
    told.__cause__ = error
    return told
