"""``postroom deliver``: a mail server hands a message over and waits for the exit code."""

from __future__ import annotations

import logging
from typing import Any

import click

from postroom.cli.arguments import complete_mailboxes
from postroom.cli.failure import TRY_LATER, explain
from postroom.cli.session import open_store


class _Deliver(click.Command):
    """A command that never says that mail should be sent back for what can be put right here: a
    mail server takes any code but 75 for a last word."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the command line."""
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            error.exit_code = TRY_LATER  # type: ignore[misc]  # click says ClassVar, reads self's
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from postroom.admin.delivery import NotTakenError

        try:
            return super().invoke(ctx)
        except (NotTakenError, KeyboardInterrupt):
            raise
        except Exception as error:
            failure = explain(error)
            if isinstance(failure, click.ClickException):
                failure.exit_code = TRY_LATER  # type: ignore[misc]
                raise failure from error
            logging.getLogger(__name__).exception("An error in postroom itself")
            raise click.exceptions.Exit(TRY_LATER) from error


@click.command(
    cls=_Deliver, epilog="Example: postroom deliver --mailbox info@example.org < message.eml"
)
@click.option(
    "--mailbox",
    "address",
    metavar="ADDRESS",
    required=True,
    shell_complete=complete_mailboxes,
    help="The mailbox that the message is for.",
)
def deliver(address: str) -> None:
    """Take one message on standard input, from a mail server.

    Exit codes: 0 the message is stored; 75 try again, for everything that can be put right, also
    an unknown mailbox; 1 not taken, because it is empty or larger than max_message_bytes.
    """
    with open_store():
        from postroom import plugins
        from postroom.admin.delivery import deliver as take
        from postroom.mailboxes import mailboxes

        take(mailboxes.find(address), plugins.load())
