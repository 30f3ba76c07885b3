"""The translation of what goes wrong on the wire: one table, used by `Wire` alone.

What a server *answers* is judged where it was asked: `connection`, `login`, `transaction`.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from postroom.api import Code, SettingsError, TransientError, TransportError, codes

from postroom_smtp.reply import MalformedReply, Reply, printable, shortened

SMTP_CLIENT_REFUSED = Code(
    "SMTP-CLIENT-REFUSED",
    "The outgoing server does not talk to this machine, or not in this way.",
    "Read the server's words; check host, port, helo_name, and the server's list of clients.",
)

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_WRONG_HOST: Final = 62
_WRONG_ADDRESS: Final = 64


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
        except ssl.SSLCertVerificationError as error:
            raise _certificate_error(error, where) from error
        except (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError):
            raise  # the connection broke
        except ssl.SSLError as error:
            reason = (error.reason or "unknown reason").replace("_", " ").lower()
            raise SettingsError(
                codes.TLS_FAILED, f"The TLS handshake with {where} failed: {reason}."
            ) from error


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
        case socket.gaierror():
            host = where.rpartition(":")[0]
            return TransientError(codes.HOST_UNKNOWN, f"The host {host} cannot be found.")
        case ConnectionRefusedError():
            return TransientError(codes.PORT_REFUSED, f"Nothing accepts connections at {where}.")
        case TimeoutError():
            return TransientError(codes.TIMEOUT, f"{where} did not answer in time, at {at}.")
    reason = printable(getattr(error, "strerror", None) or "closed")
    return TransientError(
        codes.CONNECTION_LOST, f"The connection to {where} broke at {at} ({reason})."
    )


def _certificate_error(error: ssl.SSLCertVerificationError, where: str) -> SettingsError:
    reason = printable(error.verify_message)
    match error.verify_code:
        case code if code in (_EXPIRED, _NOT_YET_VALID):
            return SettingsError(codes.TLS_EXPIRED, f"The certificate of {where}: {reason}.")
        case code if code in (_WRONG_HOST, _WRONG_ADDRESS):
            return SettingsError(
                codes.TLS_WRONG_HOST, f"The certificate of {where} is for another name: {reason}"
            )
    return SettingsError(
        codes.TLS_UNTRUSTED, f"The certificate of {where} is not trusted here: {reason}."
    )
