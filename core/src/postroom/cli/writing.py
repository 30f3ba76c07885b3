"""What commands have in common that take an agent's text, or hand out bytes."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def text_options(function: F) -> F:
    """Give a command ``--text`` and ``--file``; see `read_text`."""
    text = click.option("--text", help="The text itself.")
    file = click.option(
        "--file",
        "text_file",
        type=click.Path(dir_okay=False, allow_dash=True),
        help="A file with the text in UTF-8; - for standard input, which is the default.",
    )
    return text(file(function))


def author_option(function: F) -> F:
    """Give a command ``--as``, as the parameter `author`."""
    option = click.option(
        "--as", "author", metavar="NAME", default=login_name, help="Who does it.  [default: you]"
    )
    return option(function)


def output_option(function: F) -> F:
    """Give a command ``--output``; see `write_bytes`."""
    option = click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, allow_dash=True, writable=True),
        default="-",
        help="Where to write it; - for standard output, which is the default.",
    )
    return option(function)


def login_name() -> str:
    """Return the name this user is logged in as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "agent"


def read_text(text: str | None, path: str | None) -> str:
    """Return the text given, else the file's, else what standard input holds.

    :raises click.UsageError: both were given
    """
    if text is not None and path is not None:
        raise click.UsageError("Give --text or --file, not both.")
    if text is not None:
        return text
    if path is not None and path != "-":
        return Path(path).read_text(encoding="utf-8", errors="replace")
    if sys.stdin.isatty():
        click.echo("Type the text; end it with Ctrl-D on a line of its own.", err=True)
    return sys.stdin.buffer.read().decode("utf-8", "replace").replace("\r\n", "\n")


def write_bytes(raw: bytes, path: str) -> None:
    """Write bytes to a file or to standard output, but mail never straight to a terminal.

    :raises click.UsageError: standard output is a terminal
    """
    if path != "-":
        Path(path).write_bytes(raw)
        return
    if sys.stdout.isatty():
        raise click.UsageError("Mail may hold what a terminal obeys: give --output FILE.")
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()
