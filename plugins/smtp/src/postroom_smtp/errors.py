"""The translation of what goes wrong on the wire, used by `Wire` alone: as all plugins have it, and
at what the conversation broke.

What a server *answers* is judged where it was asked: `connection`, `login`, `transaction`.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from postroom.api import Code, TransientError, TransportError, codes
from postroom.api.network import explain_network_error

from postroom_smtp.reply import MalformedReply, Reply, printable, shortened

SMTP_CLIENT_REFUSED = Code(
    "SMTP-CLIENT-REFUSED",
    "The outgoing server does not talk to this machine, or not in this way.",
    "Read the server's words; check host, port, helo_name, and the server's list of clients.",
)


@contextmanager
def translated(where: str, at: str, interrupted: threading.Event) -> Iterator[None]:
    """Turn errors of sockets, TLS and malformed answers into the contract's.

    :param where: ``host:port``
    :param at: what was being done, for the sentence: ``EHLO``
    """
    try:
        yield
    except (OSError, MalformedReply) as error:
        if interrupted.is_set():
            raise interruption(where) from error
        raise _translate(error, where, at) from error


@contextmanager
def translated_handshake(where: str, interrupted: threading.Event) -> Iterator[None]:
    """Like `translated`, for the TLS handshake: certificates and versions need an administrator."""
    with translated(where, "the TLS handshake", interrupted):
        try:
            yield
        except (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError):
            raise  # the connection broke
        except ssl.SSLError as error:
            raise explain_network_error(error, where) from error


def interruption(where: str) -> TransientError:
    """Return the error of a session that was told to stop."""
    return TransientError(codes.CONNECTION_LOST, f"The session with {where} was interrupted.")


def busy(where: str, at: str, reply: Reply) -> TransientError:
    """Return the error of a 4yz answer."""
    return TransientError(
        codes.SERVER_BUSY, f"{where} asked to come back later, at {at}: {reply.words}"
    )


def unexpected(where: str, at: str, reply: Reply) -> TransientError:
    """Return the error of an answer that does not fit the question."""
    return TransientError(
        codes.PROTOCOL, f"{where} gave an answer that does not fit, at {at}: {reply.words}"
    )


def _translate(error: Exception, where: str, at: str) -> TransportError:
    match error:
        case MalformedReply():
            sentence = shortened(f"{where} did not speak SMTP, at {at}: {error}")
            return TransientError(codes.PROTOCOL, sentence)
        case socket.gaierror() | ConnectionRefusedError():
            return explain_network_error(error, where)
        case TimeoutError():
            return TransientError(codes.TIMEOUT, f"{where} did not answer in time, at {at}.")
    reason = printable(getattr(error, "strerror", None) or "closed")
    return TransientError(
        codes.CONNECTION_LOST, f"The connection to {where} broke at {at} ({reason})."
    )
