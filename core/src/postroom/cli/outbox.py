"""``postroom outbox``."""

from __future__ import annotations

from collections.abc import Callable

import click

from postroom.admin import outbox_admin
from postroom.cli.arguments import complete_mailboxes, yes_option
from postroom.cli.output import json_option, print_one, print_rows, say
from postroom.cli.session import open_store
from postroom.cli.writing import author_option

_TYPE = click.IntRange(min=1, max=2**63 - 1)
_ID = click.argument("outbox_id", metavar="ID", type=_TYPE)
_IDS = click.argument("ids", metavar="ID...", type=_TYPE, nargs=-1, required=True)


@click.group()
def outbox() -> None:
    """Outgoing mail and how far it got."""


@outbox.command("list", epilog="Example: postroom outbox list --state failed --json")
@click.option("--state", type=click.Choice(outbox_admin.STATES), help="Only what is in this state.")
@click.option("--mailbox", shell_complete=complete_mailboxes, help="Only of this mailbox.")
@json_option
def list_(state: str | None, mailbox: str | None, as_json: bool) -> None:
    """List outgoing mail, the latest first."""
    columns = ("id", "state", "question", "kind", "to", "attempts", "next_try_at", "sentence")
    with open_store():
        found = outbox_admin.entries(state=state, mailbox=mailbox)
        print_rows(found, as_json=as_json, columns=columns)


@outbox.command(epilog="Example: postroom outbox show 7")
@_ID
@json_option
def show(outbox_id: int, as_json: bool) -> None:
    """Show the outgoing mail ID and everything that was tried."""
    with open_store():
        print_one(outbox_admin.shown(outbox_id), as_json=as_json)


@outbox.command(epilog="Example: postroom outbox retry 7")
@_IDS
@yes_option
@author_option
def retry(ids: tuple[int, ...], yes: bool, author: str) -> None:
    """Queue what failed or is held again, and let queued mail wait no longer; with --yes also what
    may have been sent already."""

    def again(outbox_id: int, *, author: str) -> None:
        outbox_admin.retry(outbox_id, author=author, accept_risk=yes)

    _act(ids, again, "is queued", author)


@outbox.command(epilog="Example: postroom outbox hold 7")
@_IDS
@author_option
def hold(ids: tuple[int, ...], author: str) -> None:
    """Keep queued mail from being sent until `retry`."""
    _act(ids, outbox_admin.hold, "is held", author)


@outbox.command(epilog="Example: postroom outbox cancel 7")
@_IDS
@author_option
def cancel(ids: tuple[int, ...], author: str) -> None:
    """Never send what is queued, held or failed."""
    _act(ids, outbox_admin.cancel, "is cancelled", author)


@outbox.command("mark-sent", epilog="Example: postroom outbox mark-sent 7")
@_IDS
@author_option
def mark_sent(ids: tuple[int, ...], author: str) -> None:
    """Record that mail whose outcome was unknown did arrive."""
    _act(ids, outbox_admin.mark_sent, "counts as sent", author)


def _act(ids: tuple[int, ...], act: Callable[..., None], done: str, author: str) -> None:
    with open_store():
        for outbox_id in ids:
            act(outbox_id, author=author)
            say(f"Mail {outbox_id} {done}.")
