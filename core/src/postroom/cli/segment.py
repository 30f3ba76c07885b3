"""``postroom segment``."""

from __future__ import annotations

from typing import BinaryIO

import click

from postroom.cli.arguments import described
from postroom.cli.output import json_option, print_one, print_rows, say
from postroom.cli.session import open_store
from postroom.cli.writing import read_opened
from postroom.errors import InputError
from postroom.mailboxes import segments

_TEMPLATE = click.option(
    "--acknowledgement-file",
    "template",
    type=click.File("rb"),
    help="Template of acknowledgements, a text file in UTF-8; - for standard input.",
)


@click.group()
def segment() -> None:
    """Departments and brands: they group mailboxes, topics and filters."""


@segment.command(epilog="Example: postroom segment add support")
@click.argument("name")
@_TEMPLATE
def add(name: str, template: BinaryIO | None) -> None:
    """Add the segment NAME."""
    with open_store():
        if segments.exists(name):
            raise InputError(f'The segment "{name}" exists.')
        segments.put(name, read_opened(template) if template else None)
    say(f"{name}: added")


@segment.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the segments."""
    columns = ("name", "mailboxes", "topics", "filters", "questions")
    with open_store():
        print_rows(segments.listed(), as_json=as_json, columns=columns)


@segment.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the segment NAME with its template."""
    with open_store():
        print_one(segments.shown(segments.find(name)), as_json=as_json)


@segment.command("set", epilog="Example: postroom segment set support --acknowledgement-file a.txt")
@click.argument("name")
@_TEMPLATE
@click.option("--no-acknowledgement", is_flag=True, help="Use the built-in template again.")
def set_(name: str, template: BinaryIO | None, no_acknowledgement: bool) -> None:
    """Change the template of the segment NAME."""
    if (template is None) is not no_acknowledgement:
        raise click.UsageError("Give --acknowledgement-file or --no-acknowledgement.")
    with open_store():
        found = segments.find(name)
        changed = segments.put(found.name, read_opened(template) if template else None)
    say(f"{found.name}: {described(changed)}")


@segment.command()
@click.argument("name")
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Give the segment NAME another one."""
    with open_store():
        segments.rename(name, new_name)
    say(f"{name}: is {new_name} now")


@segment.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the segment NAME with its topics and filters; no mailbox or question may be in it."""
    with open_store():
        segments.remove(name)
    say(f"{name}: removed")
