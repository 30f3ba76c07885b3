"""Logging in: which mechanism, what a refusal means, and that no secret comes out anywhere."""

from __future__ import annotations

import base64
import logging
import traceback

import pytest
from postroom.api import AuthError, SettingsError, Token, TransientError, codes
from postroom_smtp.settings import SmtpSettings
from postroom_test_servers.scripted import Expect, Say

PASSWORD = "geheim-Pässwörd"
ACCOUNT = {"username": "info", "password": PASSWORD}
USERS = {"info": PASSWORD}
ALL = ("CRAM-MD5", "PLAIN", "LOGIN")


@pytest.mark.parametrize("mechanism", ALL)
@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_each_mechanism_logs_in_on_each_connection(
    start_smtp, open_sender, letter, authority, mechanism, security
):
    server = start_smtp(security=security, users=USERS, mechanisms=[mechanism])

    open_sender(server, ca_file=str(authority.ca_file), **ACCOUNT).send(letter(), None)

    assert server.received[0].username == "info"


@pytest.mark.parametrize(
    ("security", "verify", "expected"),
    [("none", True, "CRAM-MD5"), ("tls", True, "PLAIN"), ("tls", False, "CRAM-MD5")],
    ids=["in clear", "verified TLS", "unverified TLS"],
)
def test_password_itself_is_kept_from_listeners_where_it_can_be(
    start_smtp, open_sender, letter, authority, security, verify, expected
):
    server = start_smtp(security=security, users=USERS, mechanisms=ALL)
    sender = open_sender(server, ca_file=str(authority.ca_file), verify_tls=verify, **ACCOUNT)

    details = {step.name: step.detail for step in sender.check()}

    assert details["log in"] == f"as info by {expected}"


def test_nothing_is_said_of_an_account_where_there_is_none(start_smtp, open_sender, letter):
    server = start_smtp()

    open_sender(server).send(letter(), None)

    assert "AUTH" not in server.commands


@pytest.mark.parametrize("mechanism", ALL)
def test_wrong_password_is_an_auth_error(start_smtp, open_sender, letter, mechanism):
    server = start_smtp(users={"info": "another"}, mechanisms=[mechanism])

    with pytest.raises(AuthError, match=r"refused the log-in of info: 535 5\.7\.8") as caught:
        open_sender(server, **ACCOUNT).send(letter(), None)

    assert caught.value.code is codes.AUTH_REFUSED


def test_wrong_password_is_tried_once_only(start_smtp, open_sender, letter):
    server = start_smtp(users={"info": "another"}, mechanisms=ALL)

    with pytest.raises(AuthError):
        open_sender(server, **ACCOUNT).send(letter(), None)

    assert server.commands.count("AUTH") == 1


def test_mechanism_that_is_offered_and_not_known_gives_way_to_the_next(
    start_smtp, open_sender, letter
):
    server = start_smtp(users=USERS, mechanisms=ALL)
    server.answer("AUTH", "504 5.5.4 not that one")

    open_sender(server, **ACCOUNT).send(letter(), None)

    assert server.received[0].username == "info"
    assert server.commands.count("AUTH") == 2


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        ("535 5.7.8 no", AuthError, codes.AUTH_REFUSED),
        ("535 no", AuthError, codes.AUTH_REFUSED),
        ("535 5.7.3 Authentication unsuccessful", AuthError, codes.AUTH_REFUSED),
        ("534 5.7.9 Application-specific password required", AuthError, codes.AUTH_REFUSED),
        ("535 5.7.139 SmtpClientAuthentication is disabled", AuthError, codes.AUTH_NOT_ALLOWED),
        ("525 5.7.13 account disabled", AuthError, codes.AUTH_NOT_ALLOWED),
        ("538 5.7.11 encryption required", AuthError, codes.AUTH_UNSUPPORTED),
        ("530 5.7.0 must issue STARTTLS first", AuthError, codes.AUTH_UNSUPPORTED),
        ("504 5.5.4 unknown mechanism", AuthError, codes.AUTH_UNSUPPORTED),
        ("432 4.7.12 password transition needed", AuthError, codes.AUTH_EXPIRED),
        ("454 4.7.0 temporary failure", TransientError, codes.SERVER_BUSY),
        ("421 4.7.0 too many attempts", TransientError, codes.SERVER_BUSY),
        ("354 what", TransientError, codes.PROTOCOL),
    ],
)
def test_answers_to_a_log_in(start_smtp, open_sender, letter, reply, kind, code):
    server = start_smtp(users=USERS, mechanisms=ALL)
    server.answer("AUTH", reply, times=None)

    with pytest.raises(kind) as caught:
        open_sender(server, **ACCOUNT).send(letter(), None)

    assert caught.value.code is code
    assert reply in str(caught.value)


@pytest.mark.parametrize("offer", ["250 x", "250-x\r\n250 AUTH", "250-x\r\n250 AUTH GSSAPI NTLM"])
def test_server_without_a_fitting_mechanism(start_scripted, open_sender, letter, offer):
    server = start_scripted([Say("220 x"), Expect("EHLO"), Say(offer)])

    with pytest.raises(AuthError) as caught:
        open_sender(server, **ACCOUNT).send(letter(), None)

    assert caught.value.code is codes.AUTH_UNSUPPORTED


def test_offer_of_old_servers_is_understood(start_scripted, open_sender, letter):
    server = start_scripted(
        [
            Say("220 x"),
            Expect("EHLO"),
            Say("250-x", "250-AUTH=LOGIN PLAIN", "250 auth GSSAPI"),
            Expect("AUTH PLAIN "),
            Say("535 5.7.8 no"),
        ]
    )

    with pytest.raises(AuthError):
        open_sender(server, **ACCOUNT).send(letter(), None)


def test_challenge_that_is_not_base64_is_transient(start_scripted, open_sender, letter):
    server = start_scripted(
        [
            Say("220 x"),
            Expect("EHLO"),
            Say("250-x", "250 AUTH CRAM-MD5"),
            Expect("AUTH CRAM-MD5"),
            Say("334 not base64!"),
        ]
    )

    with pytest.raises(TransientError) as caught:
        open_sender(server, **ACCOUNT).send(letter(), None)

    assert caught.value.code is codes.PROTOCOL


class TestTokens:
    """XOAUTH2, for the credential of a mailbox."""

    @pytest.fixture
    def settings(self):
        return {"credential": "contoso"}

    def test_token_logs_in(self, start_smtp, open_sender, letter, context, settings):
        context.tokens["smtp"] = "ya29." + "x" * 2000
        server = start_smtp(
            tokens={"support@example.org": context.tokens["smtp"]}, mechanisms=["XOAUTH2"]
        )

        open_sender(server, **settings).send(letter(), None)

        assert server.received[0].username == "support@example.org"

    def test_refused_token_is_replaced_once(
        self, start_smtp, open_sender, letter, context, settings
    ):
        asked = []

        def token(purpose, *, rejected=None):
            asked.append(rejected)
            return Token("old" if rejected is None else "new")

        context.token = token
        server = start_smtp(tokens={"support@example.org": "new"}, mechanisms=["XOAUTH2"])

        open_sender(server, **settings).send(letter(), None)

        assert asked == [None, Token("old")]

    def test_second_refusal_is_an_auth_error(
        self, start_smtp, open_sender, letter, context, settings
    ):
        context.token = lambda purpose, *, rejected=None: Token("wrong-token-value")
        server = start_smtp(tokens={"support@example.org": "new"}, mechanisms=["XOAUTH2"])

        with pytest.raises(AuthError) as caught:
            open_sender(server, **settings).send(letter(), None)

        assert caught.value.code is codes.AUTH_REFUSED
        assert "wrong-token-value" not in str(caught.value)

    def test_oauthbearer_is_used_where_only_it_is_offered(
        self, start_smtp, open_sender, letter, context, settings
    ):
        context.tokens["smtp"] = "good"
        server = start_smtp(tokens={"support@example.org": "good"}, mechanisms=["OAUTHBEARER"])

        open_sender(server, **settings).send(letter(), None)

        assert server.received[0].username == "support@example.org"

    @pytest.mark.parametrize(
        ("mechanism", "reason"),
        [
            ("XOAUTH2", "(it says: status 401, schemes bearer)"),
            ("OAUTHBEARER", "(it says: status invalid_token, scope mail)"),
        ],
    )
    def test_the_servers_reasons_are_told(
        self, start_smtp, open_sender, letter, context, settings, mechanism, reason
    ):
        context.token = lambda purpose, *, rejected=None: Token("wrong")
        server = start_smtp(tokens={"support@example.org": "good"}, mechanisms=[mechanism])

        with pytest.raises(AuthError) as caught:
            open_sender(server, **settings).send(letter(), None)

        assert reason in caught.value.sentence
        assert "postroom credential check contoso" in caught.value.next_step

    def test_a_token_that_is_repeated_in_part_is_not_quoted(
        self, start_smtp, open_sender, letter, context, settings
    ):
        token = "eyJ0eXAiOiJKV1QiLCJub25jZSI6Im" + "x" * 100
        context.token = lambda purpose, *, rejected=None: Token(token)
        server = start_smtp(tokens={"support@example.org": "good"}, mechanisms=["XOAUTH2"])
        server.answer("AUTH", f"535 5.7.3 no: {token[:40]}", times=2)

        with pytest.raises(AuthError) as caught:
            open_sender(server, **settings).send(letter(), None)

        assert token[:20] not in caught.value.sentence

    def test_mailbox_without_the_credential(self, start_smtp, open_sender, letter, settings):
        server = start_smtp(tokens={"support@example.org": "x"}, mechanisms=["XOAUTH2"])

        with pytest.raises(SettingsError):
            open_sender(server, **settings).send(letter(), None)


class TestSecrets:
    def forms(self) -> list[str]:
        """The password as it is, and as the mechanisms send it."""
        as_plain = base64.b64encode(f"\0info\0{PASSWORD}".encode()).decode()
        return [
            PASSWORD,
            ascii(PASSWORD)[1:-1],
            base64.b64encode(PASSWORD.encode()).decode(),
            as_plain,
        ]

    @pytest.mark.parametrize("mechanism", ALL)
    @pytest.mark.parametrize("reply", ["535 5.7.8 no: {}", "454 4.7.0 {} later", "501 5.5.2 {}"])
    def test_server_that_repeats_the_secret_is_not_quoted(
        self, start_smtp, open_sender, letter, caplog, mechanism, reply
    ):
        server = start_smtp(users=USERS, mechanisms=[mechanism])
        caplog.set_level(logging.DEBUG, logger="postroom")
        for form in self.forms():
            server.clear()
            server.answer("AUTH", reply.format(form))

            with pytest.raises((AuthError, TransientError)) as caught:
                open_sender(server, **ACCOUNT).send(letter(), None)

            if form in self.sent_by(mechanism):
                self.assert_silent("".join(traceback.format_exception(caught.value)))
                assert reply[:9] in str(caught.value)

        self.assert_silent("\n".join(r.getMessage() for r in caplog.records if "post" in r.name))

    def sent_by(self, mechanism: str) -> list[str]:
        return self.forms()[-1:] if mechanism == "PLAIN" else []

    def assert_silent(self, text: str) -> None:
        for form in self.forms():
            assert form not in text

    def test_successful_session_logs_no_secret(self, start_smtp, open_sender, letter, caplog):
        server = start_smtp(users=USERS, mechanisms=ALL)
        caplog.set_level(logging.DEBUG, logger="postroom")
        sender = open_sender(server, **ACCOUNT)

        sender.send(letter(), None)
        list(sender.check())

        self.assert_silent("\n".join(r.getMessage() for r in caplog.records if "post" in r.name))

    def test_settings_and_sender_show_no_secret(self, open_sender):
        settings = SmtpSettings(host="x", **ACCOUNT)
        sender = open_sender(None, host="x", **ACCOUNT)

        for text in (repr(settings), str(settings), settings.model_dump_json(), repr(sender)):
            self.assert_silent(text)
