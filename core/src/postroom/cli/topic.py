"""``postroom topic``."""

from __future__ import annotations

import click

from postroom.cli.arguments import described, segment_option
from postroom.cli.output import json_option, print_rows, say
from postroom.cli.session import open_store
from postroom.mailboxes import topics


@click.group()
def topic() -> None:
    """Categories of questions."""


@topic.command(epilog="Example: postroom topic add Billing --segment support")
@click.argument("name")
@segment_option
def add(name: str, segment_name: str) -> None:
    """Add the topic NAME to a segment."""
    with open_store():
        say(f"{name}: {described(topics.put(segment_name, name))}")


@topic.command("list")
@click.option("--segment", "segment_name", help="Only those of this segment.")
@json_option
def list_(segment_name: str | None, as_json: bool) -> None:
    """List the topics."""
    columns = ("segment", "name", "questions")
    with open_store():
        print_rows(topics.listed(segment_name), as_json=as_json, columns=columns)


@topic.command()
@click.argument("name")
@click.argument("new_name")
@segment_option
def rename(name: str, new_name: str, segment_name: str) -> None:
    """Give the topic NAME another one; filters follow."""
    with open_store():
        topics.rename(segment_name, name, new_name)
    say(f"{name}: is {new_name} now")


@topic.command()
@click.argument("name")
@segment_option
def remove(name: str, segment_name: str) -> None:
    """Remove the topic NAME, which nothing may use."""
    with open_store():
        topics.remove(segment_name, name)
    say(f"{name}: removed")
