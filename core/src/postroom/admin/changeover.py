"""Moves the incoming side of a mailbox to another transport, or to another server, and back.

The new side is tried and read through before anything changes; then one transaction switches over
and writes the receipts of all that was recognised there. So the next retrieval takes only what is
new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from postroom.api.transport import CheckStep, Receiver
from postroom.errors import InputError
from postroom.intake import recognition
from postroom.intake.tally import Progress, no_progress
from postroom.intake.understanding.understood import IN_PLACE, Understanding
from postroom.leases.command_lease import claimed
from postroom.leases.leases import Lease
from postroom.mailboxes import sessions, sides
from postroom.plugin_settings import stored_values
from postroom.plugins import Plugins
from postroom.runner.foreground import attend
from postroom.store.database import now, transaction
from postroom.store.models import Mailbox, Side


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: a transport and its settings, secrets in clear."""

    transport: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What a migration found, and whether it switched.

    `on_server` = `recognised` + `before_start` + `not_read` + `new`; `by_header` are those of the
    recognised whose content the new side serves in another form. `not_read`: by their date or size
    retrieval leaves them alone, or they cannot be read.
    """

    mailbox: str
    source: str
    target: str
    on_server: int
    recognised: int
    by_header: int
    before_start: int
    not_read: int
    new: int
    switched: bool
    outgoing: str | None
    """By what answers go out, as before."""
    back: str | None
    """The command that goes back."""

    def shown(self) -> dict[str, Any]:
        """Return what `mailbox migrate --json` prints."""
        return asdict(self)


def former(mailbox: Mailbox) -> Target:
    """Return what the incoming side was before the last migration.

    :raises InputError: there was none
    """
    side = sides.find(mailbox, sides.FORMER)
    if side is None:
        raise InputError(
            f"{mailbox.address} was not migrated: there is nothing to go back to.",
            next_step="Name a transport with --to.",
        )
    return Target(side.transport, stored_values(side))


def migrate(
    mailbox: Mailbox,
    target: Target,
    plugins: Plugins,
    *,
    dry_run: bool = False,
    understanding: Understanding = IN_PLACE,
    progress: Progress = no_progress,
) -> Report:
    """Test the new side, recognise what is known there, and switch over in one transaction.

    :param dry_run: do all but the last
    :raises InputError: a setting is wrong, or a step of the test failed; nothing was changed
    :raises TransportError: the new side broke while it was read; nothing was changed
    :raises BusyError: another process works on the mailbox and does not give way
    """
    side = sides.incoming(mailbox)
    transport, settings, _ = sides.prepare("in", target.transport, target.values, {})
    sides.refuse_unfit_disposition(mailbox, transport, settings)
    if sides.is_same_account(side, transport, settings, plugins):
        raise InputError(
            f"The incoming side of {mailbox.address} leads there already.",
            next_step="`postroom mailbox incoming` changes settings of the same account.",
        )
    with claimed(side) as lease:
        found = attend(
            lease,
            lambda: _read_through(
                sessions.open_target(lease, mailbox, transport, settings, plugins),
                lease, mailbox, understanding, progress,
            ),
        )  # fmt: skip
        recognised = recognition.recognise(mailbox, found, since=None)
        if not dry_run:
            _switch(mailbox, lease, target, recognised)
    return _report(mailbox, side, target, found, recognised, switched=not dry_run)


def _read_through(
    receiver: Receiver,
    lease: Lease,
    mailbox: Mailbox,
    understanding: Understanding,
    progress: Progress,
) -> recognition.Survey:
    with receiver:
        lease.on_lost = receiver.interrupt
        _try_out(mailbox, receiver.check())
        found = recognition.survey(receiver, mailbox, understanding, progress=progress)
    assert found is not None  # noqa: S101 - nobody can ask it to stop
    return found


def _try_out(mailbox: Mailbox, steps: Iterable[CheckStep]) -> None:
    for step in steps:
        if step.outcome == "fail":
            raise InputError(
                f"The new side of {mailbox.address} does not work yet, nothing was changed. "
                f"{step.name}: {step.detail}",
                next_step=step.next_step,
            )


def _switch(
    mailbox: Mailbox, lease: Lease, target: Target, recognised: recognition.Recognised
) -> None:
    with transaction():
        lease.hold()
        sides.keep_former(mailbox)
        sides.put(mailbox, "in", target.transport, target.values, {})
        instant = now()
        Mailbox.update(account_since=instant, recognised_at=instant).where(
            Mailbox.id == mailbox.id
        ).execute()
        recognition.write(mailbox, recognised)


def _report(
    mailbox: Mailbox,
    side: Side,
    target: Target,
    found: recognition.Survey,
    recognised: recognition.Recognised,
    *,
    switched: bool,
) -> Report:
    outgoing = sides.find(mailbox, "out")
    return Report(
        mailbox=mailbox.address,
        source=side.transport,
        target=target.transport,
        on_server=found.on_server,
        recognised=recognised.by_content + recognised.by_header,
        by_header=recognised.by_header,
        before_start=recognised.before_start,
        not_read=found.not_read,
        new=recognised.new,
        switched=switched,
        outgoing=outgoing.transport if outgoing else None,
        back=f"postroom mailbox migrate {mailbox.address} --back" if switched else None,
    )
