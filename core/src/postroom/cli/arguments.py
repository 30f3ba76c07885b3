"""Arguments and options that several commands have."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def complete_mailboxes(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    """Offer the addresses that begin so."""
    from postroom.cli.session import open_store
    from postroom.store.models import Mailbox

    try:
        with open_store():
            found = Mailbox.select().where(Mailbox.address.startswith(word)).limit(50)
            return [CompletionItem(mailbox.address) for mailbox in found]
    except Exception:  # a completion that fails offers nothing
        return []


def address_argument(function: F) -> F:
    """Give a command the argument ADDRESS, of a mailbox."""
    argument = click.argument("address", shell_complete=complete_mailboxes)
    return argument(function)


def segment_option(function: F) -> F:
    """Give a command ``--segment``, by default the segment ``default``."""
    option = click.option(
        "--segment", "segment_name", default="default", show_default=True, help="Name of a segment."
    )
    return option(function)


def yes_option(function: F) -> F:
    """Give a command ``--yes``: no question is asked."""
    option = click.option("--yes", is_flag=True, help="Do it without asking.")
    return option(function)


def is_interactive() -> bool:
    """Say whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person before something that cannot be undone.

    :raises click.UsageError: nobody can be asked, and --yes is missing
    """
    if yes:
        return
    if not is_interactive():
        raise click.UsageError("Nobody can be asked here: give --yes.")
    click.confirm(question, abort=True, err=True)


def described(changed: list[str]) -> str:
    """Return what changed, for a person."""
    if changed == ["added"]:
        return "added"
    return f"{', '.join(changed)} changed" if changed else "unchanged"
