"""``postroom question``."""

from __future__ import annotations

import itertools
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from postroom.api.verdict import Status
from postroom.cli.arguments import complete_mailboxes
from postroom.cli.conversation import print_conversation
from postroom.cli.output import json_option, print_json, print_rows, say, warn
from postroom.cli.session import open_store
from postroom.cli.writing import (
    author_option,
    output_option,
    read_file,
    read_text,
    text_options,
    write_bytes,
)

_SHOWN_TO_PEOPLE = 50
_ID = click.IntRange(min=1, max=2**63 - 1)
_NUMBER = click.argument("number", type=_ID)
_NUMBERS = click.argument("number", type=_ID, nargs=-1, required=True)
_MESSAGE = click.option(
    "--message",
    "message_id",
    type=_ID,
    metavar="ID",
    help="A message's id, as `show` tells it; else the one that opened the question.",
)


@click.group()
def question() -> None:
    """Inquiries of customers, and answers."""


# ---------------------------------------------------------------------- looked at


@question.command("list", epilog="Example: postroom question list --status unassigned --json")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only those of this status.")
@click.option("--segment", help="Only those of this segment.")
@click.option("--mailbox", shell_complete=complete_mailboxes, help="Only those of this mailbox.")
@click.option("--topic", help="Only those of this topic.")
@click.option("--assignee", help="Only those of this person.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=2**31 - 1),
    help=f"At most so many, the latest; without --json {_SHOWN_TO_PEOPLE} by default.",
)
@json_option
def list_(as_json: bool, limit: int | None, **filters: Any) -> None:
    """List questions, the latest number first."""
    columns = ("number", "status", "assignee", "contact", "subject", "mailbox", "updated_at")
    shown = limit or (None if as_json else _SHOWN_TO_PEOPLE)
    with open_store():
        from postroom.questions import questions, transcript

        found = questions.listing(**filters, limit=shown and shown + 1)
        documents = map(transcript.summary, itertools.islice(found, shown))
        if as_json:
            print_rows(documents, as_json=True, columns=columns)
            return
        print_rows(map(_for_people, documents), as_json=False, columns=columns)
        if limit is None and next(found, None) is not None:
            warn(f"There are more than {shown}; --limit shows more of them.")


def _for_people(document: dict[str, Any]) -> dict[str, Any]:
    return {
        **document,
        "contact": document["contact"]["address"],
        "updated_at": document["updated_at"][:16].replace("T", " "),
    }


@question.command(epilog="Example: postroom question show 12 --json")
@_NUMBER
@click.option("--full", is_flag=True, help="With the text that replies quote.")
@json_option
def show(number: int, full: bool, as_json: bool) -> None:
    """Show the question NUMBER with its messages."""
    with open_store():
        from postroom.questions import questions, transcript

        document = transcript.shown(questions.find(number))
    if as_json:
        print_json(document)
    else:
        print_conversation(document, full=full)


@question.command(epilog="Example: postroom question export > questions.jsonl")
@click.option("--json", is_flag=True, expose_value=False, help="What it prints anyway.")
def export() -> None:
    """Write every question as one line of JSON, as `show --json` does, to standard output."""
    with open_store():
        from postroom.questions import transcript

        for document in transcript.export():
            print_json(document)


# ---------------------------------------------------------------------- worked on


@question.command(epilog="Example: postroom question assign 12 eve")
@_NUMBER
@click.argument("assignee")
def assign(number: int, assignee: str) -> None:
    """Give the question NUMBER to ASSIGNEE."""
    with open_store():
        from postroom.questions import questions

        found = questions.assign(number, assignee)
    say(f"Question {found.id} is assigned to {found.assignee}.")


@question.command(epilog="Example: postroom question resolve 12 13")
@_NUMBERS
def resolve(number: tuple[int, ...]) -> None:
    """Say that questions are done; a reply of the customer opens them again."""
    from postroom.questions import questions

    _change(number, questions.resolve)


@question.command(epilog="Example: postroom question reopen 12")
@_NUMBERS
def reopen(number: tuple[int, ...]) -> None:
    """Open questions again that are resolved or spam."""
    from postroom.questions import questions

    _change(number, questions.reopen)


@question.command(epilog="Example: postroom question spam 12")
@_NUMBERS
def spam(number: tuple[int, ...]) -> None:
    """Put questions away as spam; replies to them stay away too."""
    from postroom.questions import questions

    _change(number, questions.mark_spam)


def _change(numbers: tuple[int, ...], change: Callable[[int], Any]) -> None:
    with open_store():
        for number in numbers:
            found = change(number)
            say(f"Question {found.id} is {found.status}.")


@question.command(epilog="Example: postroom question note 12 --text 'She called.'")
@_NUMBER
@text_options
@author_option
@json_option
def note(number: int, text: str | None, text_file: str | None, author: str, as_json: bool) -> None:
    """Add a note for colleagues to the question NUMBER."""
    written = read_text(text, text_file)
    with open_store():
        from postroom.questions import notes, questions, transcript

        stored = notes.add(questions.find(number), written, author=author)
        document = transcript.message_document(transcript.message(number, stored.id))
    if as_json:
        print_json(document)
    else:
        say(f"Noted in question {stored.question_id} (message {stored.id}).")


@question.command(epilog="Example: postroom question answer 12 --file answer.txt --reply-all")
@_NUMBER
@text_options
@click.option(
    "--html-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same text as HTML, in UTF-8.",
)
@click.option(
    "--attach",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A file to attach; may be given several times.",
)
@click.option("--reply-all", is_flag=True, help="Also to the others that had the message.")
@author_option
@json_option
def answer(
    number: int,
    text: str | None,
    text_file: str | None,
    html_file: Path | None,
    files: tuple[Path, ...],
    reply_all: bool,
    author: str,
    as_json: bool,
) -> None:
    """Answer the customer's last message in the question NUMBER; the runner sends it."""
    written = read_text(text, text_file)
    html = read_file(html_file) if html_file else None
    with open_store():
        from postroom.mail.compose.compose import OutgoingFile
        from postroom.outbox import answers
        from postroom.questions import questions, transcript

        stored = answers.answer(
            questions.find(number),
            written,
            author=author,
            html=html,
            attachments=[OutgoingFile(p.name, _type_of(p), p.read_bytes()) for p in files],
            reply_all=reply_all,
        )
        document = transcript.message_document(transcript.message(number, stored.id))
    if as_json:
        print_json(document)
        return
    people = ", ".join(one["address"] for one in [*document["to"], *document["cc"]])
    say(f"The answer to question {stored.question_id} is queued for {people}.")


def _type_of(path: Path) -> str:
    kind, encoding = mimetypes.guess_type(path.name)
    return kind if kind and not encoding else "application/octet-stream"


# ---------------------------------------------------------------------- bytes


@question.command(epilog="Example: postroom question raw 12 --output original.eml")
@_NUMBER
@_MESSAGE
@output_option
def raw(number: int, message_id: int | None, output: str) -> None:
    """Write a message of the question NUMBER as the server served it."""
    with open_store():
        from postroom.questions import transcript

        write_bytes(transcript.raw(transcript.message(number, message_id)), output)


@question.command(epilog="Example: postroom question attachment 12 1 --output invoice.pdf")
@_NUMBER
@click.argument("which", metavar="N", type=_ID)
@_MESSAGE
@output_option
def attachment(number: int, which: int, message_id: int | None, output: str) -> None:
    """Write attachment N (1 is the first) of a message of the question NUMBER."""
    with open_store():
        from postroom.questions import transcript

        found = transcript.attachment(transcript.message(number, message_id), which - 1)
        write_bytes(found.content, output)
