"""The command line: nouns, then verbs. Commands parse and print; the work is done elsewhere.

``postroom --help`` imports click and nothing else: every noun is loaded when it is used.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from postroom.cli.lazy import Lazy, LazyGroup

_COMMANDS = {
    "init": Lazy("postroom.cli.init:init", "Make the key, the database and the first segment."),
    "apply": Lazy("postroom.cli.apply:apply", "Set mailboxes up from a TOML file."),
    "run": Lazy("postroom.cli.run:run", "Retrieve and send mail."),
    "status": Lazy("postroom.cli.status:status", "Show what is well and what needs a person."),
    "doctor": Lazy("postroom.cli.doctor:doctor", "Check everything, step by step."),
    "mailbox": Lazy("postroom.cli.mailbox:mailbox", "Addresses that are watched."),
    "credential": Lazy("postroom.cli.credential:credential", "Secrets that mailboxes share."),
    "segment": Lazy("postroom.cli.segment:segment", "Departments and brands."),
    "topic": Lazy("postroom.cli.topic:topic", "Categories of questions."),
    "filter": Lazy("postroom.cli.filter:filter_", "Rules that sort or ignore mail."),
    "question": Lazy("postroom.cli.question:question", "Inquiries of customers, and answers."),
    "quarantine": Lazy("postroom.cli.quarantine:quarantine", "Mail that could not be converted."),
    "outbox": Lazy("postroom.cli.outbox:outbox", "Outgoing mail and how far it got."),
    "import": Lazy("postroom.cli.import_:import_", "Bring in old mail from files."),
    "deliver": Lazy("postroom.cli.deliver:deliver", "Take a message from a mail server."),
    "plugin": Lazy("postroom.cli.plugin:plugin", "What is installed."),
    "key": Lazy("postroom.cli.key:key", "Change the key that seals secrets."),
    "db": Lazy("postroom.cli.db:db", "Upgrade, check or back up the database."),
}


class Postroom(LazyGroup):
    """The root: turns what a command raises into a sentence and an exit code."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the arguments, and print the help or the version where they are asked for."""
        _write_what_the_encoding_has()
        with _explained():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _explained():
            return super().invoke(ctx)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None
    except Exception as error:
        from postroom.cli.failure import explain  # not on the way to --help

        raise explain(error) from error


def _write_what_the_encoding_has() -> None:
    """Let no name of a customer, nor our own "…", be an error on a terminal of Latin-1: what its
    encoding lacks is written as Python does on standard error."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from postroom import __version__

        click.echo(f"postroom {__version__}")
        ctx.exit()


@click.group(
    cls=Postroom,
    table=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: postroom init",
)
@click.option(
    "--database",
    metavar="URL",
    help="sqlite:///PATH or postgresql://…; else POSTROOM_DATABASE, else a file of yours.",
)
@click.option(
    "--key-file",
    metavar="PATH",
    help="File with the key; else POSTROOM_KEY or POSTROOM_KEY_FILE, else a file of yours.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli(database: str | None, key_file: str | None) -> None:
    """Turn the mail of support mailboxes into questions, and send the answers.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but something needs a person,
    75 try again later.
    """
    if database:
        os.environ["POSTROOM_DATABASE"] = database  # one place to read, also for what we start
    if key_file:
        os.environ["POSTROOM_KEY_FILE"] = key_file
        os.environ.pop("POSTROOM_KEY", None)  # it would go before the file


def main() -> NoReturn:
    """Run the command line of this process."""
    _open_closed_streams()
    # pydantic would look through all that is installed for plugins of its own
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # a start and a batch make much that stays: look through it less often
    gc.set_threshold(200_000)
    try:
        cli(prog_name="postroom")
    except SystemExit as end:
        _leave_threads_behind(end)
        _write_out(end)
        gc.freeze()  # Python would look through all of it once more, only to end
        raise
    sys.exit(0)


def _open_closed_streams() -> None:
    """Put nothing in the place of standard streams that are closed (``<&-``): what is opened next
    would get their numbers, and what is printed would land there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - to the end


def _write_out(end: SystemExit) -> None:
    """Write what is left to write. A stream that takes nothing was told of, or cannot be; Python
    would tell it once more, with an exit code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            end.code = end.code or 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _leave_threads_behind(end: SystemExit) -> None:
    """End at once where threads of a plugin hang: it may have made some that Python would wait for.
    All that is ours is committed."""
    crew = sys.modules.get("postroom.runner.crew")
    if crew is not None and crew.threads_hang():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
