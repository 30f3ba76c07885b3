"""``postroom db``: the database itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postroom.cli.output import json_option, print_json, say
from postroom.cli.session import open_store

if TYPE_CHECKING:
    from postroom.errors import PostroomError


@click.group()
def db() -> None:
    """Upgrade, check or back up the database."""


@db.command(epilog="Example: postroom db upgrade")
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the tables up to date. Safe to repeat."""
    from postroom.store import schema

    with open_store(check=False):
        done = schema.upgrade()
    if as_json:
        print_json({"applied": done})
        return
    for name in done:
        say(f"Applied {name}.")
    if not done:
        say("The database is up to date.")


@db.command(epilog="Example: postroom db check --json")
@json_option
def check(as_json: bool) -> None:
    """Check the tables, the stored data and the key; change nothing. Exit code 1: damage."""
    from postroom.admin import upkeep
    from postroom.errors import PostroomError

    done: list[str] = []
    trouble: PostroomError | None = None
    try:
        with open_store():
            for line in upkeep.check():
                done.append(line)
                if not as_json:
                    say(line)
    except PostroomError as error:
        trouble = error
    if as_json:
        print_json(_found(done, trouble))
        if trouble is not None:
            sys.exit(1)
    elif trouble is not None:
        raise trouble


def _found(done: list[str], trouble: PostroomError | None) -> dict[str, object]:
    return {
        "ok": trouble is None,
        "checked": done,
        "sentence": trouble.sentence if trouble else None,
        "next_step": trouble.next_step if trouble else None,
    }


@db.command(epilog="Example: postroom db backup /backup/postroom.db")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def backup(file: Path, as_json: bool) -> None:
    """Copy a SQLite database to a new FILE while postroom runs."""
    from postroom.admin import upkeep

    with open_store():
        size = upkeep.backup(file)
    if as_json:
        print_json({"file": str(file), "size": size})
        return
    say(f"Wrote {file} ({size} bytes). The key is not in it: keep a copy of that elsewhere.")
