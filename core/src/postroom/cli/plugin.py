"""``postroom plugin``: what is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from postroom.cli.output import json_option, print_rows
from postroom.plugins import InstalledPlugin, load

_COLUMNS = ("name", "distribution", "version", "transports", "state", "reason")


@click.group()
def plugin() -> None:
    """What is installed."""


@plugin.command("list", epilog="Example: postroom plugin list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the installed plugins, and why one does not work."""
    print_rows(_rows(load().installed), as_json=as_json, columns=_COLUMNS)


def _rows(plugins: tuple[InstalledPlugin, ...]) -> Iterator[dict[str, Any]]:
    for installed in plugins:
        yield {
            "name": installed.name,
            "distribution": installed.distribution,
            "version": installed.version,
            "module": installed.module,
            "api": installed.api,
            "transports": list(installed.transports),
            "credentials": list(installed.credentials),
            "state": _state(installed),
            "reason": installed.broken,
        }


def _state(installed: InstalledPlugin) -> str:
    if not installed.enabled:
        return "disabled"
    return "broken" if installed.broken else "ok"
