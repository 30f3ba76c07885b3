"""The `mailbox` commands that talk to a server: poll, audit, test, preview."""

from __future__ import annotations

import sys
from typing import Any

import click

from postroom.cli.output import (
    json_option,
    print_one,
    print_rows,
    progress_bar,
    say,
    say_trouble,
    warn,
)
from postroom.cli.session import open_store
from postroom.clock import iso
from postroom.errors import in_one_line

_PREVIEW_COLUMNS = ("received_at", "from", "subject", "size", "outcome", "reason", "topic")


@click.command(epilog="Example: postroom mailbox poll info@example.org")
@click.argument("address", metavar="ADDRESS")
@json_option
def poll(address: str, as_json: bool) -> None:
    """Retrieve from a mailbox now, also from a disabled one."""
    with open_store():
        from postroom import plugins
        from postroom.mailboxes import mailboxes, sides
        from postroom.runner.visits import poll as retrieve

        side = sides.incoming(mailboxes.find(address))
        with progress_bar() as progress:
            tally = retrieve(side, plugins.load(), progress=progress)
        names = ("stored", "duplicate", "ignored", "quarantined", "refused", "settled", "unsettled")
        print_one({name: getattr(tally, name) for name in names}, as_json=as_json)


@click.command(epilog="Example: postroom mailbox audit info@example.org --json")
@click.argument("address", metavar="ADDRESS")
@click.option("--no-poll", is_flag=True, help="Compare only; do not retrieve before.")
@json_option
def audit(address: str, no_poll: bool, as_json: bool) -> None:
    """Hold what the server has against the ledger. Exit code 3: something is unaccounted for, or
    retrieving needs a person."""
    with open_store():
        from postroom import plugins
        from postroom.admin.audit import audit as run_audit
        from postroom.mailboxes import mailboxes

        mailbox = mailboxes.find(address)
        with progress_bar() as progress:
            result = run_audit(mailbox, plugins.load(), poll=not no_poll, progress=progress)
    print_one(result.shown(), as_json=as_json)
    if result.trouble is not None:
        warn(in_one_line(result.trouble.sentence, result.trouble.next_step))
    if result.unaccounted or result.trouble is not None:
        sys.exit(3)


@click.command(epilog="Example: postroom mailbox test info@example.org")
@click.argument("address", metavar="ADDRESS")
@json_option
def test(address: str, as_json: bool) -> None:
    """Try both sides of a mailbox step by step; changes nothing on the server.

    A side that was refused before and works now is tried again at once, not after its pause.
    """
    with open_store():
        from postroom import plugins
        from postroom.admin.doctor import check_mailbox
        from postroom.mailboxes import mailboxes

        steps = list(check_mailbox(mailboxes.find(address), plugins.load()))
    print_steps(steps, as_json=as_json)


def print_steps(steps: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the steps of a check; exit with 1 if one failed."""
    print_rows(
        steps, as_json=as_json, columns=["mailbox", "direction", "step", "outcome", "detail"]
    )
    if not as_json:
        for step in steps:
            if step["outcome"] not in ("fail", "warn"):
                continue
            place = f"{step['mailbox']} ({step['direction']})" if step["mailbox"] else step["step"]
            say_trouble(place, step["detail"], step["next_step"])
    if any(step["outcome"] == "fail" for step in steps):
        sys.exit(1)


@click.command(epilog="Example: postroom mailbox preview info@example.org --limit 5")
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--limit",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="How many messages to show.",
)
@json_option
def preview(address: str, limit: int, as_json: bool) -> None:
    """Show what the next retrieval would do with the newest messages it has not seen; stores
    nothing, changes nothing."""
    with open_store():
        from postroom import plugins
        from postroom.admin.preview import preview as look
        from postroom.mailboxes import mailboxes

        mailbox = mailboxes.find(address)
        rows = look(mailbox, plugins.load(), limit=limit)
    print_rows(rows, as_json=as_json, columns=_PREVIEW_COLUMNS)
    if not as_json and any(row["before_start"] for row in rows):
        say(
            f"What the server received before the start, {iso(mailbox.start_at)}, is left alone. "
            f"To take it too: postroom mailbox set {mailbox.address} --start all"
        )
