"""``postroom mailbox incoming`` and ``outgoing``: the options of each transport come from its
settings model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from postroom.api.settings import TransportSettings
from postroom.cli.arguments import complete_mailboxes, described
from postroom.cli.output import say, warn
from postroom.cli.session import open_store
from postroom.cli.setting_options import (
    given_secret,
    is_wanted,
    plain_value,
    prompt_secret,
    setting_options,
    tell_how_secrets_are_given,
)
from postroom.credentials.tls import doubt_about_ca_file
from postroom.errors import InputError
from postroom.mailboxes import mailboxes, sides
from postroom.plugin_settings import WORDS, goes, model_of, secret_fields, stored_values
from postroom.plugins import load as load_plugins
from postroom.store.models import Mailbox

_OWN = ("send_as", "reply_to", "save_to_sent")


class SideGroup(click.Group):
    """Has one command for each installed transport that goes this way."""

    def __init__(self, *args: Any, direction: str = "in", **options: Any) -> None:
        options["subcommand_metavar"] = "TRANSPORT [OPTIONS]"
        super().__init__(*args, **options)
        self.direction = direction

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the transports."""
        transports = load_plugins().transports
        return sorted(name for name, one in transports.items() if goes(one, self.direction))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of a transport.

        :raises SettingsError: it is not installed; says what to install
        """
        if cmd_name.startswith("-"):
            return None
        return _command(cmd_name, self.direction)


def _group(direction: str, help_text: str) -> SideGroup:
    word = WORDS[direction]
    return SideGroup(
        word,
        direction=direction,
        help=help_text,
        params=[click.Argument(["address"], shell_complete=complete_mailboxes)],
        callback=lambda address: None,  # noqa: ARG005 - the command of the transport reads it
        epilog=f"The options of a transport: postroom mailbox {word} ADDRESS TRANSPORT --help",
    )


incoming = _group("in", "Set up where the mail of the mailbox ADDRESS comes from.")
outgoing = _group("out", "Set up how answers of the mailbox ADDRESS are sent.")


def _command(name: str, direction: str) -> click.Command:
    transport = load_plugins().transport(name)
    model = model_of(transport, direction)
    params: list[click.Parameter] = []
    for field_name, field in model.model_fields.items():
        params += setting_options(field_name, field)
    if direction == "out":
        params += _own_options()
    params.append(
        click.Option(["--reset"], is_flag=True, help="Begin from the defaults, not from what is.")
    )
    summary = f"{transport.title}: {(model.__doc__ or '').strip().splitlines()[0]}"
    return click.Command(
        name,
        params=params,
        callback=_callback(name, direction),
        help=f"{summary}\n\nWhat is not given stays as it is.",
        short_help=transport.title,
    )


def _callback(name: str, direction: str) -> Callable[..., None]:
    @click.pass_context
    def run(ctx: click.Context, /, reset: bool, **options: Any) -> None:
        assert ctx.parent is not None  # noqa: S101 - a transport's command is in a group
        address = ctx.parent.params["address"]
        with open_store():
            mailbox = mailboxes.find(address)
            values, own = _present(mailbox, direction, name, reset=reset)
            take_options(options, direction, name, values, own)
            if doubt := doubt_about_ca_file(options):
                warn(doubt)
            try:
                changed = sides.put(mailbox, direction, name, values, own)[1]
            except InputError as error:
                tell_how_secrets_are_given(error, _model(name, direction), values)
                raise
        say(f"{mailbox.address}, {WORDS[direction]} {name}: {described(changed)}")

    return run


def _model(name: str, direction: str) -> type[TransportSettings]:
    return model_of(load_plugins().transport(name), direction)


def _present(
    mailbox: Mailbox, direction: str, name: str, *, reset: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings to start from: those that are, unless the transport is another."""
    side = sides.find(mailbox, direction)
    if side is None or reset:
        return {}, {}
    own = {key: getattr(side, key) for key in _OWN}
    if side.transport != name:
        return {}, own
    transport = load_plugins().transport(name)
    values = stored_values(side)
    if side.settings_version < transport.settings_version:
        values = transport.migrate_settings(side.settings_version, values)
    return values, own


# ---------------------------------------------------------------------------- options to values


def take_options(
    options: Mapping[str, Any],
    direction: str,
    name: str,
    values: dict[str, Any],
    own: dict[str, Any],
) -> None:
    """Write what was given over what is."""
    model = _model(name, direction)
    secret = secret_fields(model)
    for key, value in options.items():
        if value in (None, ()):
            continue
        if key in _OWN:
            own[key] = value or None if key != "save_to_sent" else value
        elif key.removesuffix("_env") not in secret and key.removesuffix("_file") not in secret:
            values[key] = plain_value(key, value)
    if options.get("credential"):  # what one logs in with takes the place of the other
        values.pop("password", None)
    for field in secret:
        given = given_secret(model, field, options)
        if given is not None:
            values[field] = given
            if field == "password" and not options.get("credential"):
                values.pop("credential", None)
        elif field not in values and not values.get("credential"):
            prompt_secret(field, values, is_wanted=is_wanted(field, model, values))


def _own_options() -> list[click.Parameter]:
    return [
        click.Option(["--send-as"], help="Address in From.  [default: the mailbox's]"),
        click.Option(["--reply-to"], help="Address in Reply-To.  [default: none]"),
        click.Option(
            ["--save-to-sent/--no-save-to-sent"],
            default=None,
            help="Keep a copy in the Sent folder, where the provider can.  [default: yes]",
        ),
    ]
