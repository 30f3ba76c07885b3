"""Printing: JSON for programs, tables and lines for people. Nothing that came by mail reaches a
terminal with its control characters."""

from __future__ import annotations

import json
import re
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from postroom.clock import iso
from postroom.errors import in_one_line
from postroom.intake.tally import Progress, no_progress

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]

_CELL = 60
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
# C0, DEL, C1, line and paragraph separators, marks that change the direction, lone surrogates
_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"
_CONTROLS = re.compile(f"[{_UNSAFE}\ud800-\udfff]")
_JSON_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def json_option(function: F) -> F:
    """Give a command ``--json``, as the parameter `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    return option(function)


def clean(text: str) -> str:
    """Return text that is safe on a terminal; line breaks and tabs stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def say(line: str) -> None:
    """Tell what was done."""
    click.echo(clean(line))


def say_trouble(place: str, sentence: str, next_step: str) -> None:
    """Tell in full what is wrong, which a table shortens, and what to do about it."""
    say(f"{place}: {in_one_line(sentence, next_step) if sentence else next_step}")


def warn(line: str) -> None:
    """Tell what a person should know, on standard error."""
    click.echo(f"Warning: {clean(line)}", err=True)


@contextmanager
def progress_bar(*, shown: bool = True) -> Iterator[Progress]:
    """Lend what shows a bar on a terminal, once there is something to show."""
    if not (shown and sys.stderr.isatty()):
        yield no_progress
        return
    lock = threading.Lock()  # several mailboxes at once
    bar: ProgressBar[int] | None = None
    with ExitStack() as ended:

        def tell(done: int, more: int) -> None:
            nonlocal bar
            with lock:
                if bar is None and not more:
                    return
                if bar is None:
                    bar = ended.enter_context(_bar(more))
                else:
                    bar.length = (bar.length or 0) + more
                bar.finished = False  # as it was while this page was not listed yet
                bar.update(done)

        yield tell


def _bar(length: int) -> ProgressBar[int]:
    return click.progressbar(length=length, label="Messages", show_pos=True, file=sys.stderr)


def print_json(document: Any) -> None:
    """Print one JSON document on one line."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(document, ensure_ascii=ascii_only, default=_as_json)
    click.echo(_JSON_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def print_rows(rows: Iterable[Row], *, as_json: bool, columns: Sequence[str]) -> None:
    """Print a list: JSON Lines with everything, or an aligned table of `columns`."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        click.echo("None.", err=True)
        return
    heads = [column.replace("_", " ").upper() for column in columns]
    widths = [max(_width(line[i]) for line in [heads, *cells]) for i in range(len(columns))]
    for line in [heads, *cells]:
        padded = (cell + " " * (w - _width(cell)) for cell, w in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def print_one(row: Row, *, as_json: bool) -> None:
    """Print a single thing: one JSON object, or a line for each of its fields."""
    if as_json:
        print_json(row)
        return
    _print_fields(row, indent=0)


def _print_fields(row: Row, *, indent: int) -> None:
    margin = " " * indent
    width = max((len(name) for name in row), default=0) + 1
    for name, value in row.items():
        label = name.replace("_", " ") + ":"
        if isinstance(value, Mapping) and value:
            click.echo(f"{margin}{label}")
            _print_fields(value, indent=indent + 2)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            click.echo(f"{margin}{label}")
            for number, item in enumerate(value):
                if number:
                    click.echo()
                _print_fields(item, indent=indent + 2)
        else:
            text = clean(_text(value)).replace("\n", "\n" + margin + " " * (width + 1))
            click.echo(f"{margin}{label:<{width}} {text}")


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _text(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)


def _cell(value: Any) -> str:
    text = " ".join(clean(_text(value)).split())
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _width(text: str) -> int:
    """Return the columns that text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
