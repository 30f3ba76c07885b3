"""Certificates that an application proves itself with: PEM, or PFX as base64."""

from __future__ import annotations

import base64
import binascii
import functools
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AppCertificate:
    """What msal needs, and when it ends (UTC)."""

    private_key: str = field(repr=False)
    """PEM, not encrypted."""
    certificate: str
    """PEM."""
    expires_at: datetime


@functools.lru_cache(maxsize=32)
def read(text: str, password: str | None) -> AppCertificate:
    """Read a certificate with its private key.

    :raises ValueError: a sentence that says what is wrong
    """
    from cryptography.hazmat.primitives import serialization

    key, certificate = (
        _from_pem(text, password) if "-----BEGIN" in text else _from_pfx(text, password)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    return AppCertificate(private.decode(), public.decode(), certificate.not_valid_after_utc)


def _from_pem(text: str, password: str | None):  # type: ignore[no-untyped-def]  # cryptography's
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    content = text.encode()
    if b"PRIVATE KEY-----" not in content:
        raise ValueError("holds no private key")
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ValueError("holds a private key, but no certificate")
    try:
        key = serialization.load_pem_private_key(content, password.encode() if password else None)
    except TypeError:
        need = "no password, but one is given" if password else "a password, and none is given"
        raise ValueError(f"needs {need}") from None
    except ValueError:
        reason = "the password does not open it" if password else "it is no usable key"
        raise ValueError(f"cannot be read: {reason}") from None
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ValueError("holds a certificate that cannot be read") from None
    for certificate in certificates:
        if certificate.public_key() == key.public_key():
            return key, certificate
    raise ValueError("holds a key and a certificate that do not belong together")


def _from_pfx(text: str, password: str | None):  # type: ignore[no-untyped-def]  # cryptography's
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is neither PEM nor PFX") from None
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(
            content, password.encode() if password else None
        )
    except ValueError:
        raise ValueError("is no PFX that this password opens") from None
    if key is None or certificate is None:
        raise ValueError("holds no certificate with its private key")
    return key, certificate
