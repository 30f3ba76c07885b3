"""A private certificate authority."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme


class PrivateAuthority:
    """Issues certificates; `ca_file` is what a client trusts."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, *names: str, expires_at: datetime.datetime | None = None) -> Path:
        """Return a PEM file with key and certificate for host names and IP addresses."""
        issued = self._ca.issue_cert(*names, not_after=expires_at)
        path = self._folder / f"{'-'.join(names)}{'-expired' if expires_at else ''}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server's TLS context for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(*names))
        return context
