"""What commands have in common that take an agent's text, or hand out bytes."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from postroom.errors import InputError

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
    :raises InputError: it is not UTF-8
    """
    if text is not None and path is not None:
        raise click.UsageError("Give --text or --file, not both.")
    if text is not None:
        return _checked(text)
    if path is not None and path != "-":
        return read_file(Path(path))
    if sys.stdin.isatty():
        click.echo("Type the text; end it with Ctrl-D on a line of its own.", err=True)
    return _decoded(sys.stdin.buffer.read(), "standard input")


def read_file(path: Path) -> str:
    """Return the text in a file.

    :raises InputError: it is not UTF-8
    """
    return _decoded(path.read_bytes(), str(path))


def read_opened(file: BinaryIO) -> str:
    """Return the text in a file that `click.File` opened, perhaps standard input.

    :raises InputError: it is not UTF-8
    """
    name = "standard input" if file.name in ("-", "<stdin>") else str(file.name)
    return _decoded(file.read(), name)


def _decoded(raw: bytes, name: str) -> str:
    """Return the text without a byte order mark. No other charset is guessed: a wrong guess would
    be found by the customer who reads it."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(name, raw[: error.start]) from error
    if "\0" in text:  # no text has one; UTF-16 without its mark has many
        raise _refusal(name, raw[: raw.index(b"\0")])
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refusal(name: str, before: bytes) -> InputError:
    line = before.count(b"\n") + 1
    return InputError(
        f"{name}, line {line}: the text is not in UTF-8.",
        next_step="Save it in UTF-8, and give it again. Nothing was changed.",
    )


def _checked(text: str) -> str:
    """Refuse an argument with bytes that the terminal's charset does not have: Python makes lone
    surrogates of them (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "--text: the text is not in UTF-8.",
            next_step="Give it in a file in UTF-8, with --file. Nothing was changed.",
        ) from error
    return text


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
