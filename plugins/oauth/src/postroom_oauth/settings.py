"""What an administrator sets."""

from __future__ import annotations

import json
import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from postroom.api.settings import CredentialSettings, FileContent
from pydantic import Field, SecretStr, field_validator, model_validator

from postroom_oauth import certificates
from postroom_oauth.certificates import AppCertificate
from postroom_oauth.clouds import DEFAULT_AUTHORITY

Purpose = Literal["imap", "pop", "smtp", "ews", "graph"]
_TENANT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_NO_TENANT: Final = ("common", "organizations", "consumers")


def _https(address: str) -> str:
    """Return an address of https without a slash at the end."""
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an address like https://login.microsoftonline.com")
    if parts.username is not None:
        raise ValueError("must hold no user name")
    return address.rstrip("/")


class MicrosoftSettings(CredentialSettings):
    """An app registration of a Microsoft 365 tenant."""

    tenant_id: Annotated[
        str, Field(description="Directory (tenant) ID, or a domain of the tenant", min_length=1)
    ]
    client_id: Annotated[
        str,
        Field(
            description="Application (client) ID", min_length=1, max_length=100, pattern=r"^\S+$"
        ),
    ]
    client_secret: Annotated[
        SecretStr | None, Field(description="Value of a client secret of the application")
    ] = None
    certificate: Annotated[
        SecretStr | None,
        FileContent(),
        Field(description="Certificate with its private key, PEM or PFX, instead of a secret"),
    ] = None
    certificate_password: Annotated[
        SecretStr | None, Field(description="Password of the certificate's file")
    ] = None
    account: Annotated[
        str | None,
        Field(
            description="Account that signs in with a device code; without one the application "
            "acts for itself, by secret or certificate"
        ),
    ] = None
    sign_in_for: Annotated[
        list[Purpose],
        Field(
            description="What an account signs in for: graph, ews, imap, pop or smtp", min_length=1
        ),
    ] = ["graph"]  # noqa: RUF012 - pydantic copies it
    authority: Annotated[str, Field(description="Address of the login of your cloud")] = (
        DEFAULT_AUTHORITY
    )
    graph_resource: Annotated[
        str | None, Field(description="Microsoft Graph's name in scopes; by default your cloud's")
    ] = None
    exchange_resource: Annotated[
        str | None, Field(description="Exchange's name in scopes; by default your cloud's")
    ] = None

    @field_validator("tenant_id", "client_id", "account")
    @classmethod
    def _tidy(cls, value: str | None) -> str | None:
        return value.strip() or None if value is not None else None

    @field_validator("tenant_id")
    @classmethod
    def _is_a_tenant(cls, value: str | None) -> str | None:
        if value is None or not _TENANT.fullmatch(value) or value.lower() in _NO_TENANT:
            raise ValueError("must be the id of your tenant, or one of its domains")
        return value

    @field_validator("authority", "graph_resource", "exchange_resource")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        return None if value is None else _https(value)

    @model_validator(mode="after")
    def _proves_itself_once(self) -> MicrosoftSettings:
        given = [
            name
            for name in ("client_secret", "certificate", "account")
            if getattr(self, name) is not None
        ]
        if len(given) != 1:
            there = " and ".join(given) or "none of them"
            raise ValueError(
                f"one of client_secret, certificate and account is wanted: {there} is there"
            )
        if self.client_secret is not None and not self.client_secret.get_secret_value().strip():
            raise ValueError("client_secret is empty")
        self.app_certificate()
        return self

    def app_certificate(self) -> AppCertificate | None:
        """Return the certificate, read; None if there is none.

        :raises ValueError: it cannot be used; says why
        """
        if self.certificate is None:
            return None
        password = self.certificate_password
        try:
            return certificates.read(
                self.certificate.get_secret_value(),
                password.get_secret_value() if password else None,
            )
        except ValueError as error:
            raise ValueError(f"the certificate {error}") from None

    def base(self) -> str:
        """Return the tenant's address at the login."""
        authority = self.authority.removesuffix(f"/{self.tenant_id}")
        return f"{authority}/{self.tenant_id}"


class GoogleSettings(CredentialSettings):
    """A service account of Google with domain-wide delegation, or the consent of one account."""

    service_account: Annotated[
        SecretStr | None,
        FileContent(),
        Field(description="JSON key of a service account, as Google gives it"),
    ] = None
    subject: Annotated[
        str | None,
        Field(description="Account that the service account acts for; by default the mailbox's"),
    ] = None
    client_id: Annotated[
        str | None, Field(description="Client id of the application that was consented to")
    ] = None
    client_secret: Annotated[SecretStr | None, Field(description="The client's secret")] = None
    refresh_token: Annotated[
        SecretStr | None, Field(description="Refresh token that the consent gave")
    ] = None
    token_uri: Annotated[
        str | None, Field(description="Address of the token endpoint; by default Google's")
    ] = None

    @field_validator("token_uri")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        return None if value is None else _https(value)

    @field_validator("service_account")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            found = json.loads(value.get_secret_value())
        except ValueError:
            raise ValueError("is no JSON") from None
        if not isinstance(found, dict) or found.get("type") != "service_account":
            raise ValueError("is no key of a service account")
        missing = [k for k in ("client_email", "private_key") if not isinstance(found.get(k), str)]
        if missing:
            raise ValueError(f"lacks {' and '.join(missing)}")
        if "token_uri" in found:
            _https(str(found["token_uri"]))
        return value

    @model_validator(mode="after")
    def _is_one_of_both(self) -> GoogleSettings:
        names = ("client_id", "client_secret", "refresh_token")
        given = [name for name in names if getattr(self, name) is not None]
        if self.service_account is not None and given:
            raise ValueError(f"service_account and {given[0]} exclude each other")
        if self.service_account is None and len(given) < len(names):
            raise ValueError(
                "service_account is wanted, or client_id, client_secret and refresh_token together"
            )
        return self
