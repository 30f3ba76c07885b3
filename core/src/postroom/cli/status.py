"""`postroom status`: everything that needs a person, at a glance."""

from __future__ import annotations

import sys

import click

from postroom.cli.output import json_option, print_one
from postroom.cli.session import open_store


@click.command(epilog="Example: postroom status --json")
@json_option
def status(as_json: bool) -> None:
    """Show how the installation fares. Exit code 3: something needs a person."""
    with open_store():
        from postroom.admin.status import status as collect

        result = collect()
    print_one(result, as_json=as_json)
    if result["needs_person"]:
        sys.exit(3)
