"""``postroom mailbox migrate``: its options are those of the transport that it moves to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

from postroom.admin.changeover import Report, Target, former
from postroom.admin.changeover import migrate as change_over
from postroom.cli.arguments import address_argument
from postroom.cli.mailbox_sides import take_options
from postroom.cli.output import json_option, print_json, progress_bar, say
from postroom.cli.session import open_store
from postroom.cli.setting_options import setting_options, tell_how_secrets_are_given
from postroom.errors import InputError
from postroom.mailboxes import mailboxes
from postroom.plugin_settings import model_of
from postroom.plugins import load as load_plugins

_TO: Final = "postroom.migrate.to"


class MigrateCommand(click.Command):
    """Has the options of the transport that ``--to`` names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for the transport first."""
        self.find_transport(ctx, args)
        return super().parse_args(ctx, args)

    def find_transport(self, ctx: click.Context, args: Sequence[str]) -> None:
        """Note the transport that the words name."""
        ctx.meta[_TO] = _named_transport(args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return its own parameters and the transport's.

        :raises SettingsError: it is not installed; says what to install
        """
        params = super().get_params(ctx)
        name = ctx.meta.get(_TO)
        if name is None:
            return params
        fields = model_of(load_plugins().transport(name), "in").model_fields
        return [*params, *(one for key in fields for one in setting_options(key, fields[key]))]


def _named_transport(args: Sequence[str]) -> str | None:
    for word, following in zip(args, [*args[1:], None], strict=True):
        if word == "--to":
            return following
        if word.startswith("--to="):
            return word.removeprefix("--to=")
    return None


@click.command(
    cls=MigrateCommand,
    epilog="The options of a transport: postroom mailbox migrate ADDRESS --to TRANSPORT --help",
)
@address_argument
@click.option("--to", "to", metavar="TRANSPORT", help="Transport to move to.")
@click.option("--back", is_flag=True, help="Go back to what was before the last migration.")
@click.option("--dry-run", is_flag=True, help="Say what would be recognised; change nothing.")
@json_option
def migrate(
    address: str, to: str | None, back: bool, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Move the incoming side of the mailbox ADDRESS to another transport or server.

    Tests the new side and reads all that it has; mail that is known is recognised, also where the
    new server serves it in another form. Then it switches over: nothing is imported twice,
    conversations go on, and what the new side received before is not acknowledged. Answers go out
    as before.
    """
    if (to is None) != back:
        raise click.UsageError("Give --to TRANSPORT, or --back.")
    with open_store():
        mailbox = mailboxes.find(address)
        target = former(mailbox) if to is None else _target(to, options)
        with progress_bar() as progress, _told_how_secrets_are_given(target):
            report = change_over(
                mailbox, target, load_plugins(), dry_run=dry_run, progress=progress
            )
    if as_json:
        print_json(report.shown())
    else:
        _tell(report)


def _target(name: str, options: dict[str, Any]) -> Target:
    values: dict[str, Any] = {}
    take_options(options, "in", name, values, {})
    return Target(name, values)


@contextmanager
def _told_how_secrets_are_given(target: Target) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        model = model_of(load_plugins().transport(target.transport), "in")
        tell_how_secrets_are_given(error, model, target.values)
        raise


def _tell(report: Report) -> None:
    say(f"{report.on_server} messages on the new side ({report.target}):")
    say(f"  {report.recognised} are known, {report.by_header} of them by their header alone")
    left = report.before_start + report.not_read
    say(f"  {left} are left alone: too old, too large or unreadable")
    say(f"  {report.new} are new")
    if report.back is None:
        say("Nothing was changed: this was a dry run.")
        return
    say(f"{report.mailbox}: retrieves by {report.target} from now on")
    say(f"To go back: {report.back}")
    if report.outgoing == report.source:
        say(f"Answers still go out by {report.outgoing}: see `postroom mailbox outgoing --help`.")
