"""Connecting and logging in: what is refused becomes the right error, and no secret gets out."""

import datetime
import logging
import traceback

import pytest
from postroom.api import AuthError, SettingsError, TransientError, TransportError, codes
from postroom_pop_imap.errors import quote_reply
from postroom_pop_imap.settings import ImapSettings, PopSettings
from postroom_test_servers.dovecot import Dovecot, running_dovecot
from postroom_test_servers.responder import CUT, TLS
from pydantic import ValidationError

ODD_PASSWORDS = [
    'quote " and backslash \\',
    " spaces around ",
    "{5}",
    "%s * ( )",
    "pässwörd ✓",
    "~" * 300,
]


def failure(receiver):
    """Return the error that the receiver's first call raises."""
    with pytest.raises(TransportError) as caught:
        list(receiver.list_refs())
    return caught.value


@pytest.fixture(params=["imap", "pop3"])
def protocol(request):
    return request.param


@pytest.fixture
def open_it(request, protocol):
    return request.getfixturevalue("open_imap" if protocol == "imap" else "open_pop")


@pytest.fixture
def start_it(request, protocol):
    return request.getfixturevalue("start_imap" if protocol == "imap" else "start_pop")


def tls_port(server: Dovecot, protocol: str) -> int:
    return server.imaps if protocol == "imap" else server.pop3s


@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_odd_passwords_arrive_as_they_are(dovecot, open_it, password):
    account = dovecot.new_user(password=password)

    assert list(open_it(account).list_refs()) == []


def test_odd_user_name_is_quoted(start_imap, open_imap):
    server = start_imap()

    list(open_imap(port=server.port, username='o"dd name)').list_refs())

    assert any(b' LOGIN "o\\"dd name)" "hunter2"\r\n' in heard for heard in server.heard)


def test_wrong_password_is_an_auth_error(dovecot, open_it):
    error = failure(open_it(dovecot.new_user(), password="wrong-guess"))

    assert isinstance(error, AuthError)
    assert error.code is codes.AUTH_REFUSED
    assert "localhost:" in error.sentence


def test_untrusted_certificate_is_a_settings_error(dovecot, open_it):
    error = failure(open_it(dovecot.new_user(), security="tls"))

    assert isinstance(error, SettingsError)
    assert error.code is codes.TLS_UNTRUSTED


def test_untrusted_certificate_passes_if_the_administrator_says_so(dovecot, open_it):
    receiver = open_it(dovecot.new_user(), security="tls", verify_tls=False)

    assert list(receiver.list_refs()) == []


def test_certificate_of_another_host_is_a_settings_error(authority, open_it, protocol):
    with running_dovecot(authority.issue("elsewhere.example")) as server:
        error = failure(
            open_it(port=tls_port(server, protocol), security="tls", ca_file=str(authority.ca_file))
        )

    assert error.code is codes.TLS_WRONG_HOST


def test_expired_certificate_is_a_settings_error(authority, open_it, protocol):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with running_dovecot(authority.issue("localhost", expires_at=yesterday)) as server:
        error = failure(
            open_it(port=tls_port(server, protocol), security="tls", ca_file=str(authority.ca_file))
        )

    assert error.code is codes.TLS_EXPIRED


def test_tls_on_a_port_in_clear_is_a_settings_error(dovecot, open_it, protocol):
    port = dovecot.imap if protocol == "imap" else dovecot.pop3

    assert failure(open_it(port=port, security="tls")).code is codes.TLS_FAILED


def test_port_in_clear_on_a_tls_port_ends_in_time(dovecot, open_it, protocol):
    error = failure(open_it(port=tls_port(dovecot, protocol), timeout_seconds=1))

    assert isinstance(error, TransientError)


def test_unknown_host_is_transient(open_it):
    assert failure(open_it(host="no-such-host.invalid", port=1)).code is codes.HOST_UNKNOWN
    assert failure(open_it(host="a..b", port=1)).code is codes.HOST_UNKNOWN


def test_refused_port_is_transient(open_it, unused_port):
    assert failure(open_it(port=unused_port)).code is codes.PORT_REFUSED


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


# ---------------------------------------------------------------- STARTTLS


@pytest.mark.parametrize(
    "changes",
    [{}, {"STARTTLS": b"TAG NO not now\r\n"}, {"STARTTLS": b"TAG BAD what?\r\n"}],
    ids=["absent", "refused", "unknown"],
)
def test_refused_starttls_is_never_plain(start_imap, open_imap, changes):
    if changes:
        changes = {**changes, "CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n"}
    server = start_imap(changes)

    error = failure(open_imap(port=server.port, security="starttls"))

    assert isinstance(error, SettingsError)
    assert error.code is codes.STARTTLS_REFUSED
    assert not any(b"LOGIN" in heard or b"hunter2" in heard for heard in server.heard)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"TAG NO not now\r\n", "not now"),
        (b'TAG NO [UNAVAILABLE] it\'s "off"\r\n', 'it\'s "off"'),
        (b"TAG BAD what?\r\n", "what?"),
        (b"TAG BAD \r\n", "no reason given"),
    ],
)
def test_refused_starttls_is_told_in_the_servers_words(start_imap, open_imap, answer, said):
    offered = b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n"
    server = start_imap({"STARTTLS": answer, "CAPABILITY": offered})

    error = failure(open_imap(port=server.port, security="starttls"))

    assert error.sentence.endswith(f" refused STARTTLS: {said}")


@pytest.mark.parametrize(
    ("password", "told"),
    [
        ("p", "Temporary problem of pop, you said *** or <***>"),
        ("prob", "Temporary problem of pop, you said *** or <***>"),
        ("problem", "Temporary *** of pop, you said *** or <***>"),
    ],
)
def test_short_password_is_hidden_where_it_stands_alone(password, told):
    reply = f"Temporary problem of pop, you said {password} or <{password}>"

    assert quote_reply(reply.encode(), password) == told


def test_refused_stls_is_never_plain(start_pop, open_pop):
    server = start_pop()

    error = failure(open_pop(port=server.port, security="starttls"))

    assert error.code is codes.STARTTLS_REFUSED
    assert not any(b"PASS" in heard for heard in server.heard)


def test_preauth_is_refused(start_imap, open_imap):
    server = start_imap(greeting=b"* PREAUTH welcome\r\n")

    assert failure(open_imap(port=server.port, security="starttls")).code is codes.STARTTLS_REFUSED
    assert failure(open_imap(port=server.port)).code is codes.AUTH_UNSUPPORTED


def test_answers_injected_before_tls_end_the_session(start_imap, open_imap, authority):
    offered = b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n"
    injected = b"TAG OK go\r\n* CAPABILITY IMAP4rev1 AUTH=EVIL\r\n" + TLS
    server = start_imap(
        {"CAPABILITY": offered, "STARTTLS": injected},
        tls=authority.server_context("localhost"),
    )
    receiver = open_imap(port=server.port, security="starttls", ca_file=str(authority.ca_file))

    error = failure(receiver)

    assert isinstance(error, TransientError)
    assert "in clear" in error.sentence


def test_answers_injected_before_pop_tls_end_the_session(start_pop, open_pop, authority):
    injected = b"+OK go\r\n+OK evil\r\n" + TLS
    server = start_pop({"STLS": injected}, tls=authority.server_context("localhost"))
    receiver = open_pop(port=server.port, security="starttls", ca_file=str(authority.ca_file))

    assert "in clear" in failure(receiver).sentence


# ---------------------------------------------------------------- answers to the log-in

IMAP_REFUSALS = {
    "NO [AUTHENTICATIONFAILED] no": (AuthError, codes.AUTH_REFUSED),
    "NO bad credentials": (AuthError, codes.AUTH_REFUSED),
    "NO [AUTHORIZATIONFAILED] no": (AuthError, codes.AUTH_NOT_ALLOWED),
    "NO [EXPIRED] change it": (AuthError, codes.AUTH_EXPIRED),
    "NO [PRIVACYREQUIRED] encrypt": (AuthError, codes.AUTH_UNSUPPORTED),
    "BAD User is authenticated but not connected.": (AuthError, codes.AUTH_NOT_ALLOWED),
    "NO [UNAVAILABLE] back-end down": (TransientError, codes.SERVER_BUSY),
    "NO [INUSE] locked": (TransientError, codes.SERVER_BUSY),
    "NO [LIMIT] enough": (TransientError, codes.SERVER_BUSY),
    "NO [ALERT] Too many simultaneous connections. (Failure)": (TransientError, codes.SERVER_BUSY),
    "BAD Request is throttled. Suggested Backoff Time: 1000 milliseconds": (
        TransientError,
        codes.SERVER_BUSY,
    ),
}


@pytest.mark.parametrize(("reply", "expected"), IMAP_REFUSALS.items(), ids=list(IMAP_REFUSALS))
def test_refused_imap_login(start_imap, open_imap, reply, expected):
    server = start_imap({"LOGIN": f"TAG {reply}\r\n".encode()})

    error = failure(open_imap(port=server.port))

    assert (type(error), error.code) == expected


POP_REFUSALS = {
    "-ERR [AUTH] no": (AuthError, codes.AUTH_REFUSED),
    "-ERR no": (AuthError, codes.AUTH_REFUSED),
    "-ERR [SYS/PERM] no": (AuthError, codes.AUTH_NOT_ALLOWED),
    "-ERR [IN-USE] somebody else": (TransientError, codes.SERVER_BUSY),
    "-ERR [LOGIN-DELAY] wait": (TransientError, codes.SERVER_BUSY),
    "-ERR [SYS/TEMP] later": (TransientError, codes.SERVER_BUSY),
}


@pytest.mark.parametrize(("reply", "expected"), POP_REFUSALS.items(), ids=list(POP_REFUSALS))
def test_refused_pop_login(start_pop, open_pop, reply, expected):
    server = start_pop({"PASS": f"{reply}\r\n".encode()})

    error = failure(open_pop(port=server.port))

    assert (type(error), error.code) == expected


def test_logindisabled_is_told_without_sending_the_password(start_imap, open_imap):
    offered = b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK done\r\n"
    server = start_imap({"CAPABILITY": offered})

    error = failure(open_imap(port=server.port))

    assert error.code is codes.AUTH_UNSUPPORTED
    assert not any(b"hunter2" in heard for heard in server.heard)


def test_connection_cut_during_login_is_no_refused_password(start_it, open_it):
    server = start_it({"LOGIN|PASS": CUT})

    assert failure(open_it(port=server.port)).code is codes.CONNECTION_LOST


def test_goodbye_during_login_is_no_refused_password(start_imap, open_imap):
    server = start_imap({"LOGIN": b"* BYE shutting down\r\n" + CUT})

    error = failure(open_imap(port=server.port))

    assert isinstance(error, TransientError)
    assert "shutting down" in error.sentence


@pytest.mark.parametrize(
    "greeting",
    [b"220 smtp.example.org ESMTP\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100 + b"\r\n"],
    ids=["smtp", "http", "nul"],
)
def test_server_of_another_protocol_is_told(start_it, open_it, greeting):
    server = start_it(greeting=greeting)

    assert failure(open_it(port=server.port)).code is codes.PROTOCOL


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"+OK Dovecot ready.\r\n", "does not speak IMAP: it greeted with a +."),
        (b"220 ESMTP\r\n", 'does not speak IMAP: unexpected response: "220 ESMTP".'),
    ],
    ids=["pop3", "smtp"],
)
def test_what_greets_in_place_of_imap_is_quoted_as_words(start_imap, open_imap, greeting, words):
    server = start_imap(greeting=greeting)

    assert failure(open_imap(port=server.port)).sentence.endswith(words)


def test_id_is_sent_where_it_is_offered(start_imap, open_imap):
    server = start_imap({"CAPABILITY": b"* CAPABILITY IMAP4rev1 ID\r\nTAG OK done\r\n"})

    list(open_imap(port=server.port).list_refs())

    assert any(b'ID ("name" "postroom")' in heard for heard in server.heard)


def test_pop_login_uses_auth_plain_where_user_is_not_offered(start_pop, open_pop):
    server = start_pop(
        {"CAPA": b"+OK\r\nSASL PLAIN\r\n.\r\n", "AUTH PLAIN AGphbmUAaHVudGVyMg==": b"+OK\r\n"}
    )

    assert len(list(open_pop(port=server.port).list_refs())) == 2


# ---------------------------------------------------------------- settings and secrets


@pytest.mark.parametrize("field", ["host", "username", "password", "folders"])
@pytest.mark.parametrize("letter", ["\r", "\n", "\0"], ids=["CR", "LF", "NUL"])
def test_line_breaks_are_refused_in_settings(field, letter):
    values = {"host": "h", "username": "u", "password": "p", "folders": ["INBOX"]}
    values[field] = [f"a{letter}b"] if field == "folders" else f"a{letter}b"

    with pytest.raises(ValidationError) as caught:
        ImapSettings.model_validate(values)

    assert [problem["loc"] for problem in caught.value.errors()] == [(field,)]


def test_account_is_needed():
    with pytest.raises(ValidationError, match="username and password must be given"):
        PopSettings(host="h")


@pytest.mark.parametrize("folders", [[], [""], ["INBOX", "inbox"], ["A", "A"]], ids=str)
def test_folders_are_at_least_one_and_different(folders):
    with pytest.raises(ValidationError):
        ImapSettings(host="h", username="u", password="p", folders=folders)


def test_port_follows_the_security():
    ports = {
        (model, security): model(
            host="h", username="u", password="p", security=security
        ).effective_port()
        for model in (ImapSettings, PopSettings)
        for security in ("tls", "starttls", "none")
    }

    assert list(ports.values()) == [993, 143, 143, 995, 110, 110]


def test_no_secret_gets_out(start_it, open_it, protocol, caplog):
    """A server that repeats the command, as some do, in all the ways it can be told."""
    caplog.set_level(logging.DEBUG)
    echo = (
        (lambda command: b"TAG NO you said " + command)
        if protocol == "imap"
        else (lambda command: b"-ERR you said " + command)
    )
    server = start_it({"LOGIN|PASS": echo})
    receiver = open_it(port=server.port)

    error = failure(receiver)

    assert any(b"hunter2" in heard for heard in server.heard)
    told = "".join(traceback.format_exception(error)) + repr(receiver) + caplog.text
    assert "hunter2" not in told + repr(vars(error)) + repr(vars(receiver))
