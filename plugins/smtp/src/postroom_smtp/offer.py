"""Compares what a letter needs with what the server's EHLO offers."""

from __future__ import annotations

from collections.abc import Sequence

from postroom.api import Code, Rejected, codes

from postroom_smtp.addresses import Path
from postroom_smtp.connection import Connection
from postroom_smtp.letter import Letter
from postroom_smtp.outcome import Outcome


def servable(
    connection: Connection,
    letter: Letter,
    sender: Path,
    recipients: Sequence[Path],
    outcome: Outcome,
) -> list[Path]:
    """Return the recipients that the server can be asked for; the others are noted as refused.

    Nothing is re-encoded here: signatures would break, and the core composes 7-bit.

    :param letter: fitted to what the server offers
    :raises Rejected: the server cannot take this letter for anyone
    """
    refusal = _refusal(connection, letter, sender)
    if refusal is not None:
        code, sentence = refusal
        raise Rejected(code, sentence, recipients={p.address: sentence for p in recipients})
    if "SMTPUTF8" in connection.offered:
        return list(recipients)
    takeable = [path for path in recipients if not path.needs_utf8]
    for path in recipients:
        if path.needs_utf8:
            sentence = f"{connection.where} does not take international addresses (no SMTPUTF8)"
            is_left_out = takeable and not path.local.isascii()  # see `Letter.fitted`
            sentence += (
                "; to the others this one is not shown in To and Cc." if is_left_out else "."
            )
            outcome.refuse_unasked(path.address, codes.RECIPIENT_UNSUPPORTED, sentence)
    return takeable


def _refusal(connection: Connection, letter: Letter, sender: Path) -> tuple[Code, str] | None:
    offered, where = connection.offered, connection.where
    limit = offered.get("SIZE", "")  # RFC 1870 section 3: none or 0 says nothing
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < letter.size:
        return (
            codes.MESSAGE_TOO_LARGE,
            f"The message has {letter.size} bytes, {where} takes {limit[:20]}.",
        )
    if letter.is_eight_bit and "8BITMIME" not in offered:
        return (
            codes.MESSAGE_REFUSED,
            f"The message holds 8-bit text, and {where} takes 7-bit only (no 8BITMIME).",
        )
    if "SMTPUTF8" in offered:
        return None
    if sender.needs_utf8:
        return (
            codes.SENDER_REFUSED,
            f"{where} does not take the sender's international address (no SMTPUTF8).",
        )
    if letter.has_eight_bit_header:
        return (
            codes.MESSAGE_REFUSED,
            f"The message has 8-bit headers, which {where} does not take (no SMTPUTF8).",
        )
    return None
