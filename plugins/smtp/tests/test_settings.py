"""What an administrator may write, and what is said about the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest
from postroom.api import Capability
from postroom_smtp.plugin import postroom_transports
from postroom_smtp.settings import SmtpSettings
from pydantic import ValidationError


def test_defaults_are_the_safe_ones():
    settings = SmtpSettings(host="smtp.example.org")

    assert settings.security == "tls"
    assert settings.verify_tls
    assert settings.data_timeout_seconds == 600


@pytest.mark.parametrize(("security", "port"), [("tls", 465), ("starttls", 587), ("none", 25)])
def test_port_follows_the_security(security, port):
    assert SmtpSettings(host="x", security=security).effective_port == port
    assert SmtpSettings(host="x", security=security, port=2525).effective_port == 2525


@pytest.mark.parametrize(
    "values",
    [
        {"username": "info"},
        {"password": "x"},
        {"username": "info", "password": "x", "credential": "y"},
        {"username": "", "password": "x"},
        {"username": "a\0b", "password": "x"},
        {"helo_name": "a b"},
        {"helo_name": "a\r\nMAIL"},
        {"helo_name": ""},
        {"security": "ssl"},
        {"port": 0},
        {"data_timeout_seconds": 0},
        {"unknown": 1},
    ],
    ids=repr,
)
def test_what_cannot_work_is_refused(values):
    with pytest.raises(ValidationError) as caught:
        SmtpSettings(host="smtp.example.org", **values)

    assert "x" not in [error.get("input") for error in caught.value.errors(include_input=False)]


@pytest.mark.parametrize("name", ["desk.example.org", "[192.0.2.1]", "[IPv6:2001:db8::1]", "desk"])
def test_name_to_greet_with_is_sent(smtp_server, open_sender, letter, name):
    open_sender(smtp_server, helo_name=name).send(letter(), None)

    assert f"EHLO {name}" in smtp_server.commands


@pytest.mark.parametrize("host", ["smtp.example.org", "büro.example", "192.0.2.1", "2001:db8::1"])
def test_host_may_be_a_name_or_an_address(host):
    assert SmtpSettings(host=host).host == host


@pytest.mark.parametrize(
    "host", ["smtp://mx.example.org", "mx.example.org:587", "ann@mx.example.org", "a b", " "]
)
def test_what_is_more_than_a_host_is_refused(host):
    with pytest.raises(ValidationError, match="host name or IP address alone"):
        SmtpSettings(host=host)


def test_every_field_is_described():
    schema = SmtpSettings.model_json_schema()

    for field in schema["properties"].values():
        assert field["description"]
        assert not field["description"].endswith(".")


def test_transport_is_described_without_a_mail_library():
    [transport] = postroom_transports()
    assert (transport.name, transport.title) == ("smtp", "SMTP")
    assert transport.capabilities == Capability.EXACT_BYTES | Capability.ENVELOPE
    assert transport.sender_settings() is SmtpSettings
    assert transport.receiver_settings() is None

    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, postroom_smtp.plugin as p; p.postroom_transports();"
         "print(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.split()  # fmt: skip

    assert not {"smtplib", "pydantic", "postroom_smtp.wire", "postroom_smtp.sender"} & set(loaded)
