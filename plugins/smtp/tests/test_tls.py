"""Certificates are checked, and a refused STARTTLS never becomes clear text."""

from __future__ import annotations

import base64
import datetime
import ssl

import pytest
from postroom.api import SettingsError, TransientError, codes
from postroom_test_servers.scripted import Encrypt, Expect, ReadUntil, Say, Stall
from postroom_test_servers.tls import PrivateAuthority

SECRET = "hunter2-änary"
ACCOUNT = {"username": "info", "password": SECRET}


def assert_nothing_leaked(*conversations: bytes) -> None:
    """No log-in, no message, no secret in any form."""
    for heard in conversations:
        for trace in (b"AUTH", b"MAIL", b"Subject", SECRET.encode(), b64(SECRET), b64("\0info")):
            assert trace not in heard


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode()).rstrip(b"=")[:-1]


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_message_goes_through_tls(start_smtp, open_sender, letter, authority, security):
    server = start_smtp(security=security)

    open_sender(server, host="localhost", ca_file=str(authority.ca_file)).send(letter(), None)

    assert server.received[0].tls


@pytest.mark.parametrize("security", ["tls", "starttls"])
class TestCertificates:
    def test_untrusted_authority_is_refused(self, start_smtp, open_sender, letter, security):
        server = start_smtp(security=security, users={"info": SECRET})

        with pytest.raises(SettingsError, match="cannot be trusted") as caught:
            open_sender(server, host="localhost", **ACCOUNT).send(letter(), None)

        assert caught.value.code is codes.TLS_UNTRUSTED
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert "AUTH" not in server.commands

    def test_wrong_host_is_refused(self, start_smtp, open_sender, letter, authority, security):
        server = start_smtp(security=security, tls=authority.server_context("mail.example.org"))

        with pytest.raises(SettingsError) as caught:
            open_sender(server, host="localhost", ca_file=str(authority.ca_file)).send(
                letter(), None
            )

        assert caught.value.code is codes.TLS_WRONG_HOST

    def test_wrong_address_is_refused(self, start_smtp, open_sender, letter, authority, security):
        server = start_smtp(security=security, tls=authority.server_context("localhost"))

        with pytest.raises(SettingsError) as caught:
            open_sender(server, ca_file=str(authority.ca_file)).send(letter(), None)

        assert caught.value.code is codes.TLS_WRONG_HOST

    def test_expired_is_refused(self, start_smtp, open_sender, letter, authority, security):
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.issue("localhost", expires_at=past))
        server = start_smtp(security=security, tls=context)

        with pytest.raises(SettingsError, match="expired") as caught:
            open_sender(server, host="localhost", ca_file=str(authority.ca_file)).send(
                letter(), None
            )

        assert caught.value.code is codes.TLS_EXPIRED

    def test_unverified_is_taken_when_the_settings_say_so(
        self, start_smtp, open_sender, letter, security
    ):
        server = start_smtp(security=security)

        open_sender(server, verify_tls=False).send(letter(), None)

        assert server.received[0].tls

    def test_unreadable_authority_file_is_named(
        self, start_smtp, open_sender, letter, tmp_path, security
    ):
        server = start_smtp(security=security)

        with pytest.raises(SettingsError) as caught:
            open_sender(server, ca_file=str(tmp_path / "none.pem")).send(letter(), None)

        assert caught.value.code is codes.CA_FILE_UNREADABLE


def test_tls_on_a_port_in_clear_is_a_matter_of_settings(smtp_server, open_sender, letter):
    with pytest.raises(SettingsError) as caught:
        open_sender(smtp_server, security="tls").send(letter(), None)

    assert caught.value.code is codes.TLS_FAILED


def test_clear_text_on_a_tls_port_times_out_or_breaks(start_smtp, open_sender, letter):
    server = start_smtp(security="tls")

    with pytest.raises(TransientError):
        open_sender(server, security="none", timeout_seconds=0.3).send(letter(), None)


def test_server_that_closes_in_the_handshake_is_transient(start_scripted, open_sender, letter):
    server = start_scripted([ReadUntil(b"\x01")])

    with pytest.raises(TransientError):
        open_sender(server, security="tls").send(letter(), None)


def test_silent_handshake_times_out(start_scripted, open_sender, letter):
    server = start_scripted([Stall()])

    with pytest.raises(TransientError) as caught:
        open_sender(server, security="tls", timeout_seconds=0.2).send(letter(), None)

    assert caught.value.code is codes.TIMEOUT


class TestStrippedStarttls:
    """What a man in the middle may do (USENIX Security 2021), and what we say then: nothing."""

    @pytest.mark.parametrize(
        ("after_ehlo", "code"),
        [
            ([Say("250-x", "250 AUTH PLAIN"), Stall()], "STARTTLS-REFUSED"),
            ([Say("250 x"), Stall()], "STARTTLS-REFUSED"),
            (
                [Say("250-x", "250 STARTTLS"), Expect("STARTTLS"), Say("454 4.7.0 no"), Stall()],
                "STARTTLS-REFUSED",
            ),
            (
                [Say("250-x", "250 STARTTLS"), Expect("STARTTLS"), Say("502 5.5.1 no"), Stall()],
                "STARTTLS-REFUSED",
            ),
            (
                [Say("250-x", "250 STARTTLS"), Expect("STARTTLS"), Say("250 fine"), Stall()],
                "STARTTLS-REFUSED",
            ),
            (
                [
                    Say("250-x", "250 STARTTLS"),
                    Expect("STARTTLS"),
                    Say("220 go", "250-x", "250 AUTH PLAIN"),
                    Stall(),
                ],
                "PROTOCOL",
            ),
            (
                [Say("250-x", "250 STARTTLS", "220 go", "250 AUTH PLAIN"), Stall()],
                "PROTOCOL",
            ),
            ([Say("502 what"), Expect("HELO"), Say("250 x"), Stall()], "STARTTLS-REFUSED"),
        ],
        ids=[
            "not offered, AUTH offered",
            "not offered",
            "refused for now",
            "refused",
            "wrong success",
            "injected after 220",
            "answered ahead",
            "no EHLO",
        ],
    )
    def test_nothing_is_said_in_clear(self, start_scripted, open_sender, letter, after_ehlo, code):
        server = start_scripted([Say("220 x"), Expect("EHLO"), *after_ehlo])
        sender = open_sender(server, security="starttls", **ACCOUNT)

        with pytest.raises((SettingsError, TransientError)) as caught:
            sender.send(letter(), None)
        sender.close()

        server.finish()
        assert str(caught.value.code) == code
        assert_nothing_leaked(*server.heard)

    def test_injection_that_comes_later_breaks_the_handshake(
        self, start_scripted, open_sender, letter
    ):
        server = start_scripted(
            [
                Say("220 x"),
                Expect("EHLO"),
                Say("250-x", "250 STARTTLS"),
                Expect("STARTTLS"),
                Say("220 go"),
                ReadUntil(b"\x01"),
                Say("250-x", "250 AUTH PLAIN"),
                Stall(),
            ]
        )

        with pytest.raises(SettingsError) as caught:
            open_sender(server, security="starttls", **ACCOUNT).send(letter(), None)

        assert caught.value.code is codes.TLS_FAILED
        assert_nothing_leaked(*server.heard)

    def test_what_was_offered_in_clear_is_forgotten(
        self, start_scripted, open_sender, letter, authority: PrivateAuthority
    ):
        server = start_scripted(
            [
                Say("220 x"),
                Expect("EHLO"),
                Say("250-x", "250-SIZE 1", "250-SMTPUTF8", "250-8BITMIME", "250 STARTTLS"),
                Expect("STARTTLS"),
                Say("220 go"),
                Encrypt(authority.server_context("localhost", "127.0.0.1")),
                Expect("EHLO"),
                Say("250 x"),
                Expect("MAIL FROM:<support@example.org>\r\n"),
                Say("250 x"),
                Expect("RCPT"),
                Say("250 x"),
                Expect("DATA"),
                Say("354 x"),
                ReadUntil(b"\r\n.\r\n"),
                Say("250 x"),
                Expect("QUIT"),
            ]
        )
        sender = open_sender(server, security="starttls", ca_file=str(authority.ca_file))

        assert sender.send(letter(), None).accepted
        sender.close()

        server.finish()
