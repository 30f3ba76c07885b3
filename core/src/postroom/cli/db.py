"""``postroom db``: the database itself."""

from __future__ import annotations

from pathlib import Path

import click

from postroom.cli.output import say
from postroom.cli.session import open_store


@click.group()
def db() -> None:
    """Upgrade, check or back up the database."""


@db.command(epilog="Example: postroom db upgrade")
def upgrade() -> None:
    """Bring the tables up to date. Safe to repeat."""
    from postroom.store import schema

    with open_store(check=False):
        done = schema.upgrade()
    for name in done:
        say(f"Applied {name}.")
    if not done:
        say("The database is up to date.")


@db.command(epilog="Example: postroom db check")
def check() -> None:
    """Check the tables, the stored data and the key; change nothing."""
    from postroom.store import upkeep

    with open_store():
        for line in upkeep.check():
            say(line)


@db.command(epilog="Example: postroom db backup /backup/postroom.db")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Copy a SQLite database to a new FILE while postroom runs."""
    from postroom.store import upkeep

    with open_store():
        size = upkeep.backup(file)
    say(f"Wrote {file} ({size} bytes). The key is not in it: keep a copy of that elsewhere.")
