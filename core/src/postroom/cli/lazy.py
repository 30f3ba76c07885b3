"""Groups of commands whose modules are imported only when one of them is used."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        with _without_unused_driver():
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


@contextmanager
def _without_unused_driver() -> Iterator[None]:
    """Keep peewee from importing PostgreSQL's driver where neither command line nor environment
    name such a database: it takes longer than all else that a command needs on SQLite."""
    named = (*sys.argv, os.environ.get("POSTROOM_DATABASE", ""))
    if {"psycopg", "peewee"} & sys.modules.keys() or any("postgres" in word for word in named):
        yield
        return
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # so its import fails
    try:
        yield
    finally:
        del sys.modules["psycopg"]
