"""What the core lends to a transport's session."""

from __future__ import annotations

import logging
import ssl
from datetime import datetime
from pathlib import Path
from threading import Lock

from postroom import clock
from postroom.api import codes
from postroom.api.context import Context, TlsSettings, Token
from postroom.api.errors import Problem, SettingsError

_contexts: dict[tuple[str | None, float, bool, tuple[str, ...]], ssl.SSLContext] = {}
_contexts_lock = Lock()


class SessionContext(Context):
    """The real one."""

    def __init__(self, mailbox: str, transport: str) -> None:
        self.mailbox = mailbox
        self.logger = logging.getLogger(f"postroom.transport.{transport}")

    def now(self) -> datetime:
        """Return the time."""
        return clock.now()

    def tls(self, settings: TlsSettings, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return a shared context: one each costs 0.7 MB and a tenth of a second."""
        return _shared_context(settings.ca_file, verify=settings.verify_tls, alpn=alpn)

    def token(self, purpose: str, *, rejected: Token | None = None) -> Token:  # noqa: ARG002
        """Refuse: no kind of credential is known yet."""
        raise SettingsError(
            codes.CREDENTIAL_MISSING, f"{self.mailbox} names no credential for {purpose}."
        )


def _shared_context(ca_file: str | None, *, verify: bool, alpn: tuple[str, ...]) -> ssl.SSLContext:
    try:
        changed = Path(ca_file).stat().st_mtime if ca_file else 0.0
        with _contexts_lock:
            key = (ca_file, changed, verify, alpn)
            if key not in _contexts:
                _contexts[key] = _new_context(ca_file, verify=verify)
                if alpn:
                    _contexts[key].set_alpn_protocols(list(alpn))
            return _contexts[key]
    except OSError as error:
        reason = getattr(error, "strerror", None) or "not a certificate in PEM form"
        if isinstance(error, ssl.SSLError):
            reason = "it holds no certificate in PEM form"
        raise SettingsError(
            codes.CA_FILE_UNREADABLE,
            f"The file of certificates {ca_file} cannot be used: {reason}.",
            problems=[Problem("ca_file", reason)],
        ) from error


def _new_context(ca_file: str | None, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
