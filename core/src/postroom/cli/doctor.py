"""`postroom doctor`: checks the installation and its mailboxes step by step."""

from __future__ import annotations

import click

from postroom.cli.mailbox_work import print_steps
from postroom.cli.output import json_option
from postroom.cli.session import open_store


@click.command(epilog="Example: postroom doctor info@example.org")
@click.argument("address", metavar="[ADDRESS]", required=False)
@json_option
def doctor(address: str | None, as_json: bool) -> None:
    """Check database, key, plugins and every mailbox, or one. Exit code 1: a step failed."""
    with open_store():
        from postroom import plugins
        from postroom.admin.doctor import check_all, check_mailbox
        from postroom.mailboxes import mailboxes

        loaded = plugins.load()
        if address is None:
            steps = list(check_all(loaded))
        else:
            steps = list(check_mailbox(mailboxes.find(address), loaded))
    print_steps(steps, as_json=as_json)
