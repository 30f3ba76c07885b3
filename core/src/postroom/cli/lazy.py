"""Groups of commands whose modules are imported only when one of them is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Lazy(NamedTuple):
    """A command that is not imported yet: ``module:attribute``, and a line for the list."""

    path: str
    summary: str


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def __init__(self, *args: Any, table: Mapping[str, Lazy] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = dict(table or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, as they stand in the table, then those added otherwise."""
        return [*self._table, *(n for n in super().list_commands(ctx) if n not in self._table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._table:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._table[cmd_name].path.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        rows = []
        for name in self.list_commands(ctx):
            if name in self._table:
                rows.append((name, self._table[name].summary))
            elif command := super().get_command(ctx, name):
                rows.append((name, command.get_short_help_str(formatter.width)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
