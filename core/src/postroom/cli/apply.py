"""``postroom apply``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from postroom import places
from postroom.admin import apply as configuration
from postroom.admin import installation
from postroom.cli.output import json_option, print_json, say, warn
from postroom.cli.session import open_store
from postroom.store.database import sqlite_path


@click.command(epilog="Example: postroom apply mailboxes.toml --dry-run")
@click.argument("file", type=click.Path(readable=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@json_option
def apply(file: str, dry_run: bool, as_json: bool) -> None:
    """Set segments, topics, filters and mailboxes up from a TOML FILE (or - for standard input).

    All of it or, when anything is wrong, nothing. What the file does not name is left alone. Makes
    the database if there is none yet.
    """
    name, folder = (file, Path(file).absolute().parent)
    if file == "-":
        name, folder = ("standard input", Path.cwd())
    with click.open_file(file, "rb") as opened:
        content = configuration.read(opened.read(), name=name, folder=folder)
    fresh = _is_fresh()
    if fresh:  # what is wrong is found before anything is made
        with _throw_away_store():
            applied = configuration.apply(content, dry_run=True)
    if not (fresh and dry_run):
        with open_store(check=False):
            made = installation.initialise() if not dry_run else []
            for line in made if not as_json else ():
                say(line)
            applied = configuration.apply(content, dry_run=dry_run)
    if as_json:
        print_json({"plan": applied.plan, "warnings": applied.warnings, "dry_run": dry_run})
    else:
        _report(applied, dry_run=dry_run)


def _report(applied: configuration.Applied, *, dry_run: bool) -> None:
    for warning in applied.warnings:
        warn(warning)
    for line in applied.plan:
        say(line)
    if not applied.plan:
        say("Unchanged.")
    elif dry_run:
        say("Nothing was changed: this was a dry run.")


def _is_fresh() -> bool:
    path = sqlite_path(places.database_url())
    if path is not None and not path.exists():
        return True
    with open_store(check=False):
        return installation.is_empty()


@contextmanager
def _throw_away_store() -> Iterator[None]:
    """Use an empty database that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="postroom-") as folder:
        url = f"sqlite:///{folder}/rehearsal.db"
        with open_store(url=url, check=False):
            installation.make_tables()
            yield
