"""``postroom import``: a command for each transport that reads mail from a path."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from postroom.api.settings import TransportSettings
from postroom.api.transport import Transport
from postroom.cli.arguments import complete_mailboxes
from postroom.cli.failure import TRY_LATER
from postroom.cli.output import print_json, say, warn
from postroom.cli.session import open_store
from postroom.cli.setting_options import plain_value, setting_options
from postroom.intake.tally import STOPPED, Tally
from postroom.plugin_settings import goes, model_of
from postroom.plugins import load as load_plugins

_COUNTED = ("stored", "duplicate", "ignored", "quarantined", "refused")


class _ImportGroup(click.Group):
    """Has one command for each installed transport whose settings have a `path`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the transports."""
        transports = load_plugins().transports
        return sorted(name for name, one in transports.items() if goes(one, "in") and _model(one))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of a transport.

        :raises SettingsError: it is not installed; says what to install
        """
        if cmd_name.startswith("-"):
            return None
        transport = load_plugins().transport(cmd_name)
        if _model(transport) is None:
            raise click.UsageError(f"{transport.title} reads no files: nothing to import from.")
        return _command(transport)


@click.group(
    "import",
    cls=_ImportGroup,
    subcommand_metavar="TRANSPORT PATH [OPTIONS]",
    epilog="Example: postroom import mbox old.mbox --mailbox info@example.org",
)
def import_() -> None:
    """Bring old mail in from files; nobody gets an acknowledgement.

    It can be stopped and run again: what was brought in before is known. The files are not changed.
    """


def _model(transport: Transport) -> type[TransportSettings] | None:
    model = transport.receiver_settings()
    return model if model is not None and "path" in model.model_fields else None


def _command(transport: Transport) -> click.Command:
    model = model_of(transport, "in")
    params: list[click.Parameter] = [
        click.Argument(["path"], type=click.Path(exists=True)),
        click.Option(
            ["--mailbox", "address"],
            metavar="ADDRESS",
            required=True,
            shell_complete=complete_mailboxes,
            help="The mailbox to bring the mail into.",
        ),
    ]
    for name, field in model.model_fields.items():
        if name != "path":
            params += setting_options(name, field)
    params.append(
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, for programs.")
    )
    return click.Command(
        transport.name,
        params=params,
        callback=_callback(transport),
        help=f"Bring in the mail at PATH. {transport.title}: {(model.__doc__ or '').strip()}",
        short_help=transport.title,
        epilog=f"Example: postroom import {transport.name} PATH --mailbox info@example.org",
    )


def _callback(transport: Transport) -> Callable[..., None]:
    def run(path: str, address: str, as_json: bool, **options: Any) -> None:
        values = {k: plain_value(k, v) for k, v in options.items() if v not in (None, ())}
        with open_store():
            from postroom.admin import importing
            from postroom.mailboxes import mailboxes

            mailbox = mailboxes.find(address)
            plugins = load_plugins()
            source = importing.source(plugins, transport.name, path, values)
            with _stop_on_signals() as stop, _progress(lambda: source.count(mailbox)) as passed:
                tally = source.bring_in(mailbox, plugins, stop=stop, passed=passed)
        _report(mailbox.address, tally, as_json=as_json)

    return run


def _report(address: str, tally: Tally, *, as_json: bool) -> None:
    counts = {name: getattr(tally, name) for name in _COUNTED}
    if as_json:
        print_json({"mailbox": address, **counts, "complete": tally.complete})
    else:
        words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        say(f"{address}: {words or 'nothing new'}")
    if not tally.complete:
        warn(STOPPED)
        sys.exit(TRY_LATER)
    if tally.quarantined or tally.refused:
        sys.exit(3)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Finish the batch in flight on the first signal; a second one ends at once, as it may."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()
        for one in before:
            signal.signal(one, before[one])

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    for one in before:
        signal.signal(one, ask)
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _progress(count: Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; the messages are counted for it first."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    click.echo("Counting …\r", nl=False, err=True)
    with click.progressbar(length=count(), label="Importing", file=sys.stderr) as bar:
        yield bar.update
