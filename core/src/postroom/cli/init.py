"""``postroom init``."""

from __future__ import annotations

import click

from postroom.admin import installation
from postroom.cli.output import say
from postroom.cli.session import open_store


@click.command(epilog="Example: postroom init && postroom apply mailboxes.toml")
def init() -> None:
    """Make the key, the database and the first segment.

    Safe to repeat: what is there stays.
    """
    with open_store(check=False):
        done = installation.initialise()
    for line in done or ["Everything is there already."]:
        say(line)
    for line in installation.where():
        say(line)
