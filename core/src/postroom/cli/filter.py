"""``postroom filter``."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from postroom.cli.arguments import described, segment_option
from postroom.cli.output import json_option, print_one, print_rows, say
from postroom.cli.session import open_store
from postroom.errors import InputError
from postroom.mailboxes import filters, segments


@click.group("filter")
def filter_() -> None:
    """Rules that sort or ignore mail, applied in their order."""


@filter_.command(
    epilog='Example: postroom filter add invoices --field subject --pattern "(?i)invoice" '
    "--topic Billing --segment support"
)
@click.argument("name")
@segment_option
@click.option("--field", required=True, help="subject, body, from, to or header:NAME.")
@click.option("--pattern", required=True, help="Regular expression that has to be found in it.")
@click.option("--topic", help="Topic to set.")
@click.option("--assignee", help="Agent to assign to.")
@click.option("--status", type=click.Choice(filters.STATUSES), help="Status to set.")
@click.option("--ignore", metavar="REASON", help="Make no question of it, for this reason.")
@click.option("--stop", is_flag=True, help="Apply no filter after this one.")
def add(name: str, segment_name: str, **values: Any) -> None:
    """Add the filter NAME to a segment, after the others."""
    with open_store():
        if filters.exists(name, segment_name):
            raise InputError(f'The filter "{name}" exists.', next_step="Remove it first.")
        changed = filters.put(segment_name, name, values)
    say(f"{name}: {described(changed)}")


@filter_.command("list")
@click.option("--segment", "segment_name", help="Only those of this segment.")
@json_option
def list_(segment_name: str | None, as_json: bool) -> None:
    """List the filters in the order in which they are applied."""
    columns = ("segment", "name", "field", "pattern", "set", "ignore", "stop")
    with open_store():
        print_rows(filters.listed(segment_name), as_json=as_json, columns=columns)


@filter_.command()
@click.argument("name")
@segment_option
@json_option
def show(name: str, segment_name: str, as_json: bool) -> None:
    """Show the filter NAME."""
    with open_store():
        rule = filters.find(name, segment_name)
        print_one(filters.shown(rule, segments.find(segment_name)), as_json=as_json)


@filter_.command()
@click.argument("name")
@segment_option
def remove(name: str, segment_name: str) -> None:
    """Remove the filter NAME."""
    with open_store():
        filters.remove(name, segment_name)
    say(f"{name}: removed")


@filter_.command(epilog="Example: postroom filter test invoices message.eml --segment support")
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@segment_option
@json_option
def test(name: str, file: BinaryIO, segment_name: str, as_json: bool) -> None:
    """Try the filter NAME on a message in FILE (or - for standard input); nothing is stored."""
    with open_store():
        rule = filters.find(name, segment_name)
    print_one({"filter": rule.name, **filters.try_out(rule, file.read())}, as_json=as_json)
