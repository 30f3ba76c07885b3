"""``postroom plugin``: what is installed, whether it is in order, and a plugin of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from postroom.cli.output import clean, json_option, print_json, print_rows, say, warn
from postroom.plugin_loading import InstalledPlugin
from postroom.plugins import load

if TYPE_CHECKING:
    from postroom.plugins import Plugins

_COLUMNS = ("name", "distribution", "version", "api", "transports", "credentials", "state")


@click.group()
def plugin() -> None:
    """What is installed, and plugins of your own."""


@plugin.command("list", epilog="Example: postroom plugin list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the installed plugins, and why one does not work.

    POSTROOM_PLUGINS (names, separated by commas) allows only those; POSTROOM_DISABLE_PLUGINS
    switches some off.
    """
    plugins = load()
    installed = plugins.installed
    print_rows(_rows(installed), as_json=as_json, columns=_COLUMNS)
    for sentence in plugins.unknown_names:
        warn(sentence)
    for one in () if as_json else installed:
        for transport, can in one.capabilities.items():
            say(f"{transport} can: {', '.join(can).replace('_', ' ') or 'the least'}")
        if one.broken is not None:
            say(f"{one.name} is broken: {one.broken}")


@plugin.command(epilog="Example: postroom plugin check pop_imap")
@click.argument("names", nargs=-1, metavar="[NAME]...", help="Only these plugins.")
@json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Look into the installed plugins: settings, capabilities, what loading them costs.

    Opens no connection. Ends with 3 if something is broken.
    """
    from postroom.admin.plugin_check import check as look_into

    plugins = load()
    findings = [finding for one in _chosen(plugins, names) for finding in look_into(one, plugins)]
    for finding in findings:
        if as_json:
            print_json(asdict(finding))
        else:
            subject = f" ({finding.subject})" if finding.subject else ""
            say(f"{finding.outcome:4}  {finding.plugin}{subject}: {finding.detail}")
    for sentence in plugins.unknown_names:
        warn(sentence)
    if plugins.unknown_names or any(finding.outcome == "fail" for finding in findings):
        sys.exit(3)


@plugin.command(epilog="Example: postroom plugin new my-mail")
@click.argument("name", help="Name of the transport: lower case letters, digits and hyphens.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="The folder to make.  [default: postroom-NAME, here]",
)
def new(name: str, into: Path | None) -> None:
    """Write a plugin package that works, to be changed.

    It has a transport for an invented service, this service for tests, and the conformance test.
    """
    from postroom import scaffold

    names = scaffold.Names(name)
    scaffold.refuse_taken(names, load().installed)
    folder = into or Path(names.distribution)
    for path in scaffold.write(names, folder):
        say(f"{folder / path}")
    say(f"Go on with: cd {folder} && pip install -e '.[test]' && pytest")


def _chosen(plugins: Plugins, names: tuple[str, ...]) -> list[InstalledPlugin]:
    known = {one.name for one in plugins.installed}
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise click.ClickException(
                clean(f"No plugin {name} is installed (there are: {there}).")
            )
    return [one for one in plugins.installed if not names or one.name in names]


def _rows(plugins: tuple[InstalledPlugin, ...]) -> Iterator[dict[str, Any]]:
    for installed in plugins:
        yield {
            "name": installed.name,
            "distribution": installed.distribution,
            "version": installed.version,
            "module": installed.module,
            "api": installed.api,
            "transports": list(installed.transports),
            "capabilities": {name: list(can) for name, can in installed.capabilities.items()},
            "credentials": list(installed.credentials),
            "hooks": list(installed.hooks),
            "state": _state(installed),
            "reason": installed.broken,
        }


def _state(installed: InstalledPlugin) -> str:
    if not installed.enabled:
        return "disabled"
    return "broken" if installed.broken else "ok"
