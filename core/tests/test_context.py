"""What the core lends to sessions."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from postroom.api import SettingsError, codes
from postroom.credentials.context import SessionContext


@dataclass(frozen=True)
class Tls:
    ca_file: str | None = None
    verify_tls: bool = True


def test_tls_contexts_are_shared_by_those_who_offer_the_same_protocols():
    one, other = SessionContext("a@example.org", "imap"), SessionContext("b@example.org", "graph")

    plain, http = one.tls(Tls()), other.tls(Tls(), alpn=("http/1.1",))

    assert plain is other.tls(Tls())
    assert http is one.tls(Tls(), alpn=("http/1.1",))
    assert plain is not http


def test_file_of_certificates_that_is_missing_is_a_settings_error():
    with pytest.raises(SettingsError) as caught:
        SessionContext("a@example.org", "graph").tls(Tls(ca_file="/nowhere/ca.pem"))

    assert caught.value.code is codes.CA_FILE_UNREADABLE
