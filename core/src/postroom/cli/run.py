"""`postroom run`: the runner."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from types import FrameType
from typing import Any

import click

from postroom.cli.output import json_option, print_json, progress_bar, say
from postroom.cli.session import open_store

_LEVELS = ["debug", "info", "warning", "error"]
_MOST_FILES = 65_536


@click.command(epilog="Example, for cron: postroom run --once")
@click.option("--once", is_flag=True, help="Take every mailbox once, send what is due, and end.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Mailboxes worked on at the same time.",
)
@click.option(
    "--log-level",
    type=click.Choice(_LEVELS),
    default="info",
    show_default=True,
    envvar="POSTROOM_LOG_LEVEL",
    help="How much to log, on standard error.",
)
@json_option
def run(once: bool, workers: int, log_level: str, as_json: bool) -> None:
    """Watch all enabled mailboxes and send what is queued, until SIGTERM."""
    if as_json and not once:
        raise click.UsageError("--json goes with --once: without it, there is no end to report.")
    _log_to_stderr(log_level)
    _allow_open_files()
    with open_store():
        pool = _begin_to_understand()
        from postroom import plugins, secrets
        from postroom.runner.runner import Runner

        secrets.installation_secret()  # a wrong key is told before anything is fetched
        with progress_bar(shown=once) as progress:
            installed = plugins.load()
            _tell_what_is_broken(installed)
            runner = Runner(installed, workers=workers, progress=progress, pool=pool)
            _stop_on_signals(runner)
            if not once:
                _tell_that_it_begins()
                runner.run()
                return
            outcome = runner.run_once()
        document = _document(outcome) if as_json else None
    if as_json:
        print_json(document)
    else:
        for address, tally in sorted(outcome.tallies.items()):
            say(f"{address}: {tally.in_words()}")
        for line in [f"{outcome.sent} sent.", *outcome.remarks]:
            say(line)
    if outcome.exit_code:
        sys.exit(outcome.exit_code)


def _begin_to_understand() -> Any:
    """Return the workers that understand messages; where a mailbox was never retrieved they start
    now, on other cores, while this process loads the rest."""
    from postroom.intake.understanding.pool import Pool
    from postroom.mailboxes.ledger import awaits_first_retrieval

    pool = Pool()
    if awaits_first_retrieval():
        pool.expect()
    return pool


def _allow_open_files() -> None:
    """Have as many files open as the system lets us: connections, large messages on their way."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _document(outcome: Any) -> dict[str, Any]:
    from postroom.admin import status

    return {
        "mailboxes": {address: asdict(tally) for address, tally in outcome.tallies.items()},
        "sent": outcome.sent,
        "needs_person": outcome.needs_person,
        "try_later": outcome.try_later,
        "problems": status.problems(),
    }


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    # Libraries' own debug lines may hold what a server or a login said.
    for name in ("imapclient", "peewee", "httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _tell_what_is_broken(installed: Any) -> None:
    """Log it at the start: a plugin without a mailbox would be missed by nobody."""
    for sentence in installed.unknown_names:
        logging.getLogger(__name__).warning("%s", sentence)
    for plugin in installed.installed:
        if plugin.broken is not None:
            name = f"{plugin.name} ({plugin.distribution} {plugin.version})"
            extra = {"plugin": plugin.name}
            logging.getLogger(__name__).warning(
                "Plugin %s is broken: %s", name, plugin.broken, extra=extra
            )


def _tell_that_it_begins() -> None:
    from postroom.store.models import Mailbox

    count = Mailbox.select().where(Mailbox.enabled).count()
    mailboxes = "1 mailbox" if count == 1 else f"{count} mailboxes"
    logging.getLogger(__name__).info("Watching %s, until SIGTERM or Ctrl-C", mailboxes)


def _stop_on_signals(runner: Any) -> None:
    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        runner.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
