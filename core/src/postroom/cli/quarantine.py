"""``postroom quarantine``."""

from __future__ import annotations

import click

from postroom import plugins
from postroom.admin import quarantine as held
from postroom.cli.arguments import complete_mailboxes
from postroom.cli.output import json_option, print_one, print_rows, say
from postroom.cli.session import open_store
from postroom.cli.writing import output_option, write_bytes
from postroom.mailboxes import mailboxes

_TYPE = click.IntRange(min=1, max=2**63 - 1)
_ID = click.argument("receipt_id", metavar="ID", type=_TYPE)
_IDS = click.argument("ids", metavar="ID...", type=_TYPE, nargs=-1, required=True)


@click.group()
def quarantine() -> None:
    """Mail that could not be read or converted, or was too large."""


@quarantine.command("list", epilog="Example: postroom quarantine list --json")
@click.option("--mailbox", shell_complete=complete_mailboxes, help="Only of this mailbox.")
@json_option
def list_(mailbox: str | None, as_json: bool) -> None:
    """List what needs a person, the oldest first."""
    columns = ("id", "mailbox", "outcome", "code", "cause", "size", "tries", "has_bytes")
    with open_store():
        of = mailboxes.find(mailbox) if mailbox else None
        print_rows(held.entries(of), as_json=as_json, columns=columns)


@quarantine.command(epilog="Example: postroom quarantine show 7")
@_ID
@json_option
def show(receipt_id: int, as_json: bool) -> None:
    """Show the quarantined message ID."""
    with open_store():
        print_one(held.shown(held.find(receipt_id)), as_json=as_json)


@quarantine.command(epilog="Example: postroom quarantine raw 7 --output odd.eml")
@_ID
@output_option
def raw(receipt_id: int, output: str) -> None:
    """Write the bytes of the quarantined message ID."""
    with open_store():
        write_bytes(held.raw(receipt_id), output)


@quarantine.command(epilog="Example: postroom quarantine retry 7")
@_IDS
def retry(ids: tuple[int, ...]) -> None:
    """Try again to read and convert messages."""
    with open_store():
        for receipt_id in ids:
            say(held.retry(receipt_id, plugins.load()))


@quarantine.command(epilog="Example: postroom quarantine release 7")
@_IDS
def release(ids: tuple[int, ...]) -> None:
    """Make questions of messages whatever is wrong with them; `delete` may then follow."""
    with open_store():
        for receipt_id in ids:
            say(held.release(receipt_id, plugins.load()))
