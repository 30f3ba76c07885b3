"""``postroom mailbox``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from postroom.admin import deletion, relocation
from postroom.cli.arguments import address_argument, confirm, described, yes_option
from postroom.cli.lazy import Lazy, LazyGroup
from postroom.cli.output import json_option, print_one, print_rows, say, say_trouble
from postroom.cli.session import open_store
from postroom.mailboxes import mailboxes

F = TypeVar("F", bound=Callable[..., Any])

_LATER = {
    "incoming": Lazy("postroom.cli.mailbox_sides:incoming", "Set up where mail comes from."),
    "outgoing": Lazy("postroom.cli.mailbox_sides:outgoing", "Set up how answers are sent."),
    "migrate": Lazy("postroom.cli.mailbox_migrate:migrate", "Move it to another transport."),
    "poll": Lazy("postroom.cli.mailbox_work:poll", "Retrieve one mailbox now."),
    "audit": Lazy("postroom.cli.mailbox_work:audit", "Compare the server with the ledger."),
    "test": Lazy("postroom.cli.mailbox_work:test", "Try both sides; change nothing."),
    "preview": Lazy("postroom.cli.mailbox_work:preview", "Show what a retrieval would do."),
}
_LIST_COLUMNS = (
    "address",
    "segment",
    "incoming",
    "incoming_state",
    "outgoing",
    "outgoing_state",
    "last_success_at",
    "quarantined",
    "queued",
    "unknown",
)
_ERROR_COLUMNS = ("code", "direction", "sentence", "count", "last_seen_at", "cleared_at")


@click.group(cls=LazyGroup, table=_LATER)
def mailbox() -> None:
    """Addresses that are watched and answered from."""


def _settings(function: F) -> F:
    """Give a command an option for each setting of a mailbox; what is not given is None or ()."""
    options = [
        click.option("--name", help="Display name of the sender of answers."),
        click.option("--topic", help="Topic of its questions; an empty one takes it off."),
        click.option(
            "--disposition",
            metavar="leave|seen|delete|move:FOLDER",
            help="What happens on the server with what is stored.  [default: leave]",
        ),
        click.option(
            "--start", metavar="now|all|DATE", help="From when on mail is new.  [default: now]"
        ),
        click.option(
            "--acknowledge/--no-acknowledge",
            default=None,
            help="Whether new questions are acknowledged.  [default: no-acknowledge]",
        ),
        click.option(
            "--alias", "aliases", multiple=True, help="Another address of it; repeatable."
        ),
        click.option("--poll-seconds", type=int, help="Time between retrievals.  [default: 60]"),
        click.option(
            "--max-message-bytes",
            type=int,
            help="What is larger stays on the server.  [default: 104857600]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, in the form of the TOML file."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if given.get("topic") == "":
        given["topic"] = None
    if "aliases" in given:
        given["aliases"] = [alias for alias in given["aliases"] if alias]
    action, _, folder = str(given.get("disposition", "")).partition(":")
    if action == "move":
        given["disposition"] = {"move": folder}
    return given


@mailbox.command(epilog="Example: postroom mailbox add info@example.org --start all")
@click.argument("address")
@click.option("--segment", help="Segment of its questions.  [default: default]")
@click.option("--disabled", is_flag=True, help="Do not retrieve it yet.")
@_settings
def add(address: str, disabled: bool, **options: Any) -> None:
    """Add the mailbox ADDRESS; set up its two sides afterwards."""
    with open_store():
        added = mailboxes.add(address, enabled=not disabled, **_given(options))
    say(f"{added.address}: added")
    say(f"Go on with: postroom mailbox incoming {added.address} TRANSPORT --help")


@mailbox.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the mailboxes, and how their sides fare."""
    with open_store():
        rows = list(mailboxes.listed())
        known = any(row["credential_expires_at"] for row in rows)
        more = ("credential_expires_at",) if known else ()
        print_rows(rows, as_json=as_json, columns=(*_LIST_COLUMNS, *more))


@mailbox.command()
@address_argument
@json_option
def show(address: str, as_json: bool) -> None:
    """Show everything about the mailbox ADDRESS but its secrets."""
    with open_store():
        print_one(mailboxes.shown(mailboxes.find(address)), as_json=as_json)


@mailbox.command(
    "set", epilog="Example: postroom mailbox set info@example.org --disposition move:Archive"
)
@address_argument
@_settings
def set_(address: str, **options: Any) -> None:
    """Change settings of the mailbox ADDRESS; what is not given stays."""
    given = _given(options)
    if not given:
        raise click.UsageError("Nothing to change was given; see --help.")
    with open_store():
        found = mailboxes.find(address)
        changed = mailboxes.change(found, **given)
    say(f"{found.address}: {described(changed)}")


@mailbox.command()
@address_argument
def enable(address: str) -> None:
    """Retrieve the mailbox ADDRESS from now on."""
    _switch(address, enabled=True)


@mailbox.command()
@address_argument
def disable(address: str) -> None:
    """Retrieve the mailbox ADDRESS no more; answers still go out."""
    _switch(address, enabled=False)


def _switch(address: str, *, enabled: bool) -> None:
    with open_store():
        found = mailboxes.find(address)
        changed = mailboxes.enable(found, enabled=enabled)
    word = "enabled" if enabled else "disabled"
    say(f"{found.address}: {word if changed else f'is {word} already'}")


@mailbox.command(epilog="Example: postroom mailbox move info@example.org sales --with-questions")
@address_argument
@click.argument("segment")
@click.option("--with-questions", is_flag=True, help="Move its present questions too.")
def move(address: str, segment: str, with_questions: bool) -> None:
    """Open new questions of the mailbox ADDRESS in another SEGMENT."""
    with open_store():
        found = mailboxes.find(address)
        count = relocation.move(found, segment, with_questions=with_questions)
    also = f", {count} questions with it" if with_questions else ""
    say(f"{found.address}: is in {segment} now{also}")


@mailbox.command(epilog="Example: postroom mailbox errors info@example.org --json")
@address_argument
@click.option("--open", "only_open", is_flag=True, help="Only those that are not cleared.")
@json_option
def errors(address: str, only_open: bool, as_json: bool) -> None:
    """List what went wrong with the mailbox ADDRESS, the latest first."""
    with open_store():
        found = mailboxes.errors(mailboxes.find(address))
        rows = [row for row in found if not (only_open and row["cleared_at"])]
        print_rows(rows, as_json=as_json, columns=_ERROR_COLUMNS)
    if not as_json:
        for row in rows:
            if row["cleared_at"] is None:
                place = f"{row['code']} ({row['direction']})"
                say_trouble(place, row["sentence"], row["next_step"])


@mailbox.command()
@address_argument
@click.option("--with-questions", is_flag=True, help="Delete its questions and messages too.")
@yes_option
def delete(address: str, with_questions: bool, yes: bool) -> None:
    """Delete the mailbox ADDRESS here; nothing happens on its server.

    Refused while it has questions, unless --with-questions --yes.
    """
    with open_store():
        found = mailboxes.find(address)
        if with_questions:
            confirm(f"Delete {found.address} with all its questions and messages?", yes=yes)
        count = deletion.delete(found, with_questions=with_questions)
    say(f"{found.address}: deleted" + (f" with {count} questions" if count else ""))
