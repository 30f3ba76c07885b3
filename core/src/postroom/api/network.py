"""Errors of sockets and TLS, in the administrator's words. One table for all plugins."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from postroom.api import codes
from postroom.api.errors import SettingsError, TransientError, TransportError

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED, _HOSTNAME_MISMATCH, _IP_MISMATCH = 9, 10, 62, 64


def explain_network_error(error: OSError | EOFError, where: str) -> TransportError:
    """Translate what a socket raised into the contract's error; the caller chains it.

    :param where: the server, as ``host:port``
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, where)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TransientError(codes.CONNECTION_LOST, f"{where} closed the connection.")
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "no reason given").replace("_", " ").lower()
        return SettingsError(
            codes.TLS_FAILED, f"No encrypted connection with {where} was possible: {reason}."
        )
    if isinstance(error, socket.gaierror):
        host = where.rpartition(":")[0]
        return TransientError(codes.HOST_UNKNOWN, f"The host {host} cannot be found.")
    if isinstance(error, ConnectionRefusedError):
        return TransientError(codes.PORT_REFUSED, f"{where} refused the connection.")
    if isinstance(error, TimeoutError):
        return TransientError(codes.TIMEOUT, f"{where} did not answer in time.")
    return TransientError(
        codes.CONNECTION_LOST,
        f"The connection with {where} broke ({getattr(error, 'strerror', None) or 'closed'}).",
    )


def _explain_certificate(error: ssl.SSLCertVerificationError, where: str) -> SettingsError:
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        word = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return SettingsError(codes.TLS_EXPIRED, f"The certificate of {where} {word}.")
    if error.verify_code in (_HOSTNAME_MISMATCH, _IP_MISMATCH):
        return SettingsError(
            codes.TLS_WRONG_HOST, f"The certificate of {where} is for another host name."
        )
    reason = error.verify_message or "not trusted"
    return SettingsError(
        codes.TLS_UNTRUSTED, f"The certificate of {where} cannot be trusted: {reason}."
    )


@contextmanager
def network_errors(where: str) -> Iterator[None]:
    """Raise socket and TLS errors of the block as the contract's errors."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise explain_network_error(error, where) from error
