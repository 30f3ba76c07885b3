"""The self-test of an outgoing side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from postroom.api import CheckStep, Rejected, TransportError, codes

from postroom_smtp.addresses import path_of
from postroom_smtp.connection import Connection
from postroom_smtp.settings import SmtpSettings

Step = Callable[[], str]


def check_steps(
    connection: Connection, settings: SmtpSettings, mailbox: str
) -> Iterator[CheckStep]:
    """Yield one result for each step; after a failure the rest is skipped. Sends no mail."""
    steps: list[tuple[str, Step]] = [
        ("resolve", connection.resolve),
        ("connect", connection.connect),
        ("tls", connection.secure),
        ("log in", connection.log_in),
        ("send", lambda: _may_send(connection, mailbox)),
    ]
    failed = False
    for name, step in steps:
        if failed:
            yield CheckStep(name, "skip", "not tried")
            continue
        try:
            detail = step()
        except TransportError as error:
            connection.drop()
            failed = True
            yield CheckStep(name, "fail", error.sentence, error.next_step)
        else:
            yield _passed(name, detail, settings)


def _passed(name: str, detail: str, settings: SmtpSettings) -> CheckStep:
    outcome: Literal["ok", "skip", "warn"] = "ok"
    next_step = ""
    if name == "tls" and settings.security == "none":
        outcome, next_step = "warn", 'Set security to "tls" or "starttls" if the server has it.'
    elif name == "tls" and not settings.verify_tls:
        outcome, detail = "warn", f"{detail}; the certificate is not checked"
        next_step = "Set verify_tls to true; a private authority can be given as ca_file."
    elif name == "log in" and settings.username is None and settings.credential is None:
        outcome = "skip"
    return CheckStep(name, outcome, detail, next_step)


def _may_send(connection: Connection, mailbox: str) -> str:
    """Name the mailbox as the sender, and take it back: RFC 5321 section 4.1.1.5."""
    try:
        path = path_of(mailbox)
    except ValueError as error:
        sentence = f"The mailbox's address cannot be used: it {error}."
        raise Rejected(codes.SENDER_REFUSED, sentence) from error
    parameter = " SMTPUTF8" if path.needs_utf8 and "SMTPUTF8" in connection.offered else ""
    reply = connection.command(f"MAIL FROM:<{path.wire}>{parameter}", at="MAIL FROM")
    if not reply.is_positive:
        sentence = f"{connection.where} refused the sender <{mailbox}>: {reply.words}"
        raise Rejected(codes.SENDER_REFUSED, sentence)
    connection.reset()
    return f"may send as {mailbox}"
