"""A question as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from postroom.cli.output import clean

Document = dict[str, Any]


def print_conversation(question: Document, *, full: bool) -> None:
    """Print a question with its messages.

    :param full: with the quoted text
    """
    for line in (*_head(question), *_messages(question["messages"], full=full)):
        click.echo(clean(line))


def _head(question: Document) -> Iterator[str]:
    status = question["status"]
    if question["assignee"]:
        status += f" ({question['assignee']})"
    yield f"{question['reference']}  {_line(question['subject']) or '(no subject)'}"
    yield f"Status:   {status}"
    yield f"Contact:  {_who(question['contact'])}"
    yield f"Mailbox:  {question['mailbox']} ({question['segment']})"
    if question["topic"]:
        yield f"Topic:    {question['topic']}"
    if question["aliases"]:
        yield f"Merged:   {', '.join(map(str, question['aliases']))}"
    if question["linked"]:
        yield f"See also: {', '.join(map(str, question['linked']))}"


def _messages(messages: list[Document], *, full: bool) -> Iterator[str]:
    for message in messages:
        yield ""
        yield _title(message)
        if message["direction"] != "none":
            yield from _addresses(message)
        yield ""
        text = message["text"] if full else message["reply_text"]
        yield text.strip("\n")
        if not full and message["reply_text"] != message["text"]:
            yield "(quoted text is left out; --full shows it)"
        for number, attachment in enumerate(message["attachments"], 1):
            name, kind = _line(attachment["filename"]), attachment["content_type"]
            yield f"[{number}] {name} ({kind}, {attachment['size']} bytes)"
        for problem in message["problems"]:
            yield f"Note: {_line(problem)}"


def _title(message: Document) -> str:
    when = message["date"] or message["received_at"] or message["created_at"]
    marks = [
        mark
        for mark, holds in (
            (message["state"], message["direction"] == "out"),
            ("automatic", message["is_automatic"]),
            ("bounce", message["is_bounce"]),
            ("from somebody new to this conversation", message["is_stranger"]),
        )
        if holds
    ]
    about = f" [{', '.join(marks)}]" if marks else ""
    author = f" by {_line(message['author'])}" if message["author"] else ""
    return f"--- {message['kind']} {message['id']}{author}, {when[:16].replace('T', ' ')}{about}"


def _addresses(message: Document) -> Iterator[str]:
    yield f"From: {_who(message['from'])}"
    for name in ("to", "cc"):
        if message[name]:
            yield f"{name.capitalize()}: {', '.join(_who(one) for one in message[name])}"


def _who(person: Document) -> str:
    address = person["address"] or "(unknown)"
    return _line(f"{person['name']} <{address}>" if person["name"] else address)


def _line(text: str) -> str:
    return " ".join(text.split())
