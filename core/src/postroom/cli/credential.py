"""``postroom credential``: the options of each kind come from its settings model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from postroom.cli.arguments import described
from postroom.cli.output import json_option, print_one, print_rows, say, say_trouble
from postroom.cli.session import open_store
from postroom.credentials import credentials
from postroom.errors import InputError
from postroom.plugin_settings import is_file, secret_fields
from postroom.plugins import load as load_plugins

if TYPE_CHECKING:
    from postroom.api.credential import CredentialKind

_LIST_COLUMNS = ("name", "kind", "mailboxes", "state", "expires_at", "expires_in_days", "sentence")


@click.group()
def credential() -> None:
    """Named secrets, kept once and used by any number of mailboxes."""


def _complete_names(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    """Offer the names that begin so."""
    try:
        with open_store():
            names = [row["name"] for row in credentials.listed()]
        return [CompletionItem(name) for name in names if name.startswith(word)]
    except Exception:  # a completion that fails offers nothing
        return []


_name = click.argument("name", shell_complete=_complete_names)


# ---------------------------------------------------------------------------- add and replace


class _Kinds(click.Group):
    """Has one command for each installed kind of credential."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the kinds."""
        return sorted(load_plugins().credential_kinds)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of a kind.

        :raises SettingsError: it is not installed; says what to install
        """
        if cmd_name.startswith("-"):
            return None
        return _add_command(load_plugins().credential_kind(cmd_name))


credential.add_command(
    _Kinds(
        "add",
        help="Add the credential NAME.",
        params=[click.Argument(["name"])],
        callback=lambda name: None,  # noqa: ARG005 - the command of the kind reads it
        subcommand_metavar="KIND [OPTIONS]",
        epilog="The options of a kind: postroom credential add NAME KIND --help",
    )
)


def _add_command(kind: CredentialKind) -> click.Command:
    model = kind.settings()
    summary = f"{kind.title}: {(model.__doc__ or '').strip().splitlines()[0]}"
    return click.Command(
        kind.name,
        params=[*_options_of(kind), _end_option()],
        callback=_add_callback(kind),
        help=summary,
        short_help=kind.title,
    )


def _add_callback(kind: CredentialKind) -> Callable[..., None]:
    @click.pass_context
    def run(ctx: click.Context, /, expires_at: str | None, **options: Any) -> None:
        assert ctx.parent is not None  # noqa: S101 - a kind's command is in a group
        name = ctx.parent.params["name"]
        with open_store():
            if credentials.exists(name):
                step = f"Change it with `postroom credential replace {shlex.quote(name)}`."
                raise InputError(f'The credential "{name}" exists.', next_step=step)
            values: dict[str, Any] = {}
            _take(kind, options, values)
            _put(name, kind, values, expires_at)
            signs_in = kind.can_sign_in(credentials.load(credentials.find(name), kind))
        say(f"{name}: added")
        if signs_in:
            say(f"Sign in with: postroom credential sign-in {shlex.quote(name)}")
        else:
            say(f"Try it with: postroom credential check {shlex.quote(name)}")

    return run


def _put(name: str, kind: CredentialKind, values: Mapping[str, Any], end: object) -> list[str]:
    try:
        return credentials.put(name, kind.name, values, expires_at=end)
    except InputError as error:
        from postroom.cli.setting_options import tell_how_secrets_are_given

        tell_how_secrets_are_given(error, kind.settings(), values)
        raise


class ReplaceCommand(click.Command):
    """Has the options of all kinds: which one it is, is known when the database is open."""

    _known: tuple[object, list[click.Parameter]] | None = None

    @property
    def params(self) -> list[click.Parameter]:
        """Return the argument, and each option once."""
        plugins = load_plugins()
        if self._known is None or self._known[0] is not plugins:
            options = _options_of_all(plugins.credential_kinds.values())
            self._known = (plugins, [*self._own, *options, _end_option()])
        return self._known[1]

    @params.setter
    def params(self, own: list[click.Parameter]) -> None:
        self._own = own


@credential.command(
    cls=ReplaceCommand,
    epilog="Example: postroom credential replace contoso --client-secret-env NEW_SECRET",
)
@_name
def replace(name: str, expires_at: str | None, **options: Any) -> None:
    """Give the credential NAME new secrets or settings; what is not given stays.

    Mailboxes that use it go on with what is new, and those that were refused are tried at once.
    With a new secret the end of the old one is forgotten: give the new end too.
    """
    with open_store():
        found = credentials.find(name)
        kind = credentials.kind_of(found, load_plugins())
        values = credentials.present_values(found, kind)
        before = dict(values)
        _take(kind, _of_kind(kind, options), values)
        end: object = found.expires_at if expires_at is None else expires_at or None
        secrets = secret_fields(kind.settings())
        if expires_at is None and any(values.get(one) != before.get(one) for one in secrets):
            end = None
        changed = _put(found.name, kind, values, end)
    say(f"{found.name}: {described(changed)}")


def _of_kind(kind: CredentialKind, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are a kind's own.

    :raises click.UsageError: another was given
    """
    own = {option.name for option in _options_of(kind)}
    for key, value in options.items():
        if key not in own and value not in (None, ()):
            flag = f"--{key.replace('_', '-')}"
            raise click.UsageError(f"{flag} is no option of the kind {kind.name}.")
    return {key: value for key, value in options.items() if key in own}


def _options_of(kind: CredentialKind) -> list[click.Option]:
    from postroom.cli.setting_options import setting_options

    fields = kind.settings().model_fields
    return [option for name, field in fields.items() for option in setting_options(name, field)]


def _options_of_all(kinds: Iterable[CredentialKind]) -> Iterable[click.Option]:
    """Return each option once, without defaults: what is not given stays."""
    options: dict[str | None, click.Option] = {}
    for kind in kinds:
        for option in _options_of(kind):
            option.help = (option.help or "").partition("  [")[0]
            known = options.setdefault(option.name, option)
            if option.help != known.help:
                known.help = f"{known.help} {kind.title}: {option.help}"
    return options.values()


def _end_option() -> click.Option:
    return click.Option(
        ["--expires-at"], metavar="DATE", help="When the secret ends, to be warned before."
    )


def _take(kind: CredentialKind, options: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Write what was given over what is; ask for secrets only where nothing was given."""
    from postroom.cli.setting_options import given_secret, plain_value, prompt_secret

    model = kind.settings()
    secret = secret_fields(model)
    sources = {f"{field}_{way}" for field in secret for way in ("env", "file")}
    given = {key: value for key, value in options.items() if value not in (None, ())}
    for key, value in given.items():
        if key not in sources:
            values[key] = plain_value(key, value)
    for field in secret:
        found = given_secret(model, field, options)
        if found is not None:
            values[field] = found
    if not given or not any(values.get(field) for field in (*secret, "account")):
        for field in secret:
            if not is_file(model.model_fields[field]):
                prompt_secret(field, values)


# ---------------------------------------------------------------------------- looking


@credential.command("list", epilog="Example: postroom credential list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the credentials, how they fare and when their secrets end."""
    with open_store():
        print_rows(credentials.listed(), as_json=as_json, columns=_LIST_COLUMNS)


@credential.command()
@_name
@json_option
def show(name: str, as_json: bool) -> None:
    """Show everything about the credential NAME but its secrets, and who uses it."""
    with open_store():
        print_one(credentials.shown(credentials.find(name)), as_json=as_json)


@credential.command(epilog="Example: postroom credential check contoso --purpose graph")
@_name
@click.option(
    "--purpose",
    "purposes",
    multiple=True,
    metavar="imap|pop|smtp|ews|graph",
    help="What to get a token for; repeatable.  [default: what its mailboxes need]",
)
@click.option("--mailbox", metavar="ADDRESS", help="A mailbox to get it for, where that matters.")
@json_option
def check(name: str, purposes: Sequence[str], mailbox: str | None, as_json: bool) -> None:
    """Try the credential NAME step by step. Exit code 1: a step failed.

    If it works again, mailboxes that were refused are tried at once.
    """
    with open_store():
        from postroom.admin.credential_check import check as try_out

        found = credentials.find(name)
        steps = [
            {
                "credential": found.name,
                "step": step.name,
                "outcome": step.outcome,
                "detail": step.detail,
                "next_step": step.next_step,
            }
            for step in try_out(found, load_plugins(), purposes=purposes, mailbox=mailbox)
        ]
    print_rows(steps, as_json=as_json, columns=("step", "outcome", "detail"))
    wrong = [step for step in steps if step["outcome"] in ("fail", "warn") and step["next_step"]]
    if not as_json:
        for step in wrong:
            say_trouble(step["step"], step["detail"], step["next_step"])
    if any(step["outcome"] == "fail" for step in steps):
        sys.exit(1)


# ---------------------------------------------------------------------------- signing in, removing


@credential.command("sign-in", epilog="Example: postroom credential sign-in contoso")
@_name
def sign_in(name: str) -> None:
    """Sign in for the credential NAME, which acts on behalf of an account.

    Shows an address and a code, and waits until somebody has signed in there.
    """
    with open_store():
        from postroom.admin.credential_check import begin_sign_in, finish_sign_in

        found = credentials.find(name)
        begun = begin_sign_in(found, load_plugins())
        say(begun.message)
        finish_sign_in(found, begun, load_plugins())
    say(f"{found.name}: signed in")


@credential.command()
@_name
def remove(name: str) -> None:
    """Remove the credential NAME, which no mailbox may use."""
    with open_store():
        found = credentials.find(name)
        credentials.remove(found.name)
    say(f"{found.name}: removed")
